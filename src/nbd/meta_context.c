#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "nbd/private.h"

static const struct {
    unsigned bit; /* also the context's id */
    const char *name;
    size_t namespace_bytes; /* with its colon */
} contexts[] = {
    {NBD_BASE_ALLOCATION, "base:allocation", 5},
    {NBD_ASHLAR_BREAKS, "ashlar:breaks", 7},
};

unsigned nbd_contexts(const struct nbd *n)
{
    return n->contexts;
}

/* A namespace alone lists what is in it and selects nothing. */
static unsigned matches(const char *query, bool list)
{
    for (size_t i = 0; i < COUNT_OF(contexts); i++)
        if (strcmp(query, contexts[i].name) == 0 ||
            (list && strlen(query) == contexts[i].namespace_bytes &&
             strncmp(query, contexts[i].name, contexts[i].namespace_bytes) == 0))
            return contexts[i].bit;
    return 0;
}

static const char *parse_queries(const uint8_t *data, const uint8_t *end, bool list, unsigned *found)
{
    const char *fault = NULL;
    if (end - data < 4)
        return "the number of queries is missing";
    uint32_t count = get_be32(data);
    data += 4;
    if (count > (size_t)(end - data) / 4)
        return "there are fewer queries than stated";
    unsigned bits = list && !count ? NBD_BASE_ALLOCATION | NBD_ASHLAR_BREAKS : 0;
    for (uint32_t i = 0; i < count && !fault; i++) {
        char *query = option_string(&data, end, &fault);
        if (query && !strchr(query, ':'))
            fault = "a query has no namespace, as in \"base:allocation\"";
        if (query)
            bits |= matches(query, list);
        mem_free(query);
    }
    if (!fault && data != end)
        fault = "there is more data than queries";
    if (!fault)
        *found = bits;
    return fault;
}

void option_meta_context(struct nbd *n, const uint8_t *data, uint32_t bytes)
{
    const uint8_t *end = data + bytes;
    const char *fault = NULL;
    if (!n->structured)
        fault = "metadata contexts need STRUCTURED_REPLY first";
    else
        n->name = option_string(&data, end, &fault);
    if (!fault)
        fault = parse_queries(data, end, n->option == NBD_OPT_LIST_META_CONTEXT, &n->asked_contexts);
    if (fault)
        option_error(n, NBD_REP_ERR_INVALID, fault);
    else
        option_ask(n, n->ops->look);
}

void meta_context_found(struct nbd *n)
{
    bool set = n->option == NBD_OPT_SET_META_CONTEXT;
    for (size_t i = 0; i < COUNT_OF(contexts); i++) {
        if (!(n->asked_contexts & contexts[i].bit))
            continue;
        uint8_t data[32];
        size_t bytes = strlen(contexts[i].name);
        put_be32(data, set ? contexts[i].bit : 0);
        memcpy(data + 4, contexts[i].name, bytes);
        option_reply(n, NBD_REP_META_CONTEXT, data, 4 + bytes);
    }
    option_reply(n, NBD_REP_ACK, NULL, 0);
    if (set) {
        n->contexts = n->asked_contexts;
        n->context_name = n->name;
        n->name = NULL;
    }
    option_done(n);
}
