#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "nbd/private.h"

static const struct {
    const char *name; /* or what it begins with: */
    bool of_snapshot;
} kinds[] = {
    [NBD_CONTEXT_ALLOCATION] = {"base:allocation", false},
    [NBD_CONTEXT_BREAKS] = {"ashlar:breaks", false},
    [NBD_CONTEXT_DEPTH] = {"qemu:allocation-depth", false},
    [NBD_CONTEXT_CHANGED_SINCE] = {"ashlar:changed-since:", true},
    [NBD_CONTEXT_DIRTY_BITMAP] = {"qemu:dirty-bitmap:", true},
};

#define QUERIES_MAX 256u

void contexts_forget(struct nbd *n)
{
    for (size_t i = 0; i < n->context_count; i++)
        mem_free(n->contexts[i].snapshot);
    n->context_count = 0;
    mem_free(n->context_name);
    n->context_name = NULL;
}

void queries_forget(struct nbd *n)
{
    for (size_t i = 0; i < n->query_count; i++)
        mem_free(n->queries[i]);
    mem_free(n->queries);
    n->queries = NULL;
    n->query_count = 0;
}

size_t nbd_context_count(const struct nbd *n)
{
    bool opening = n->state == NBD_OPTION_ASKED;
    return opening && (!n->context_name || strcmp(n->context_name, n->name) != 0) ? 0 : n->context_count;
}

const struct nbd_context *nbd_context(const struct nbd *n, size_t i)
{
    assert(i < n->context_count);
    return &n->contexts[i];
}

/* ---------------------------------------------------------------------- the option */

static const char *parse_queries(struct nbd *n, const uint8_t *data, const uint8_t *end)
{
    const char *fault = NULL;
    if (end - data < 4)
        return "the number of queries is missing";
    uint32_t count = get_be32(data);
    data += 4;
    if (count > (size_t)(end - data) / 4)
        return "there are fewer queries than stated";
    if (count > QUERIES_MAX)
        return "there are more than 256 queries";
    n->queries = MEM_ARRAY(char *, count + 1);
    for (uint32_t i = 0; i < count && !fault; i++) {
        char *query = option_string(&data, end, &fault);
        if (query && !strchr(query, ':'))
            fault = "a query has no namespace, as in \"base:allocation\"";
        if (query)
            n->queries[n->query_count++] = query;
    }
    if (!fault && data != end)
        fault = "there is more data than queries";
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
        fault = parse_queries(n, data, end);
    if (fault)
        option_error(n, NBD_REP_ERR_INVALID, fault);
    else
        option_ask(n, n->ops->look);
}

/* ---------------------------------------------------------------------- the answer */

struct answering {
    struct nbd *n;
    bool set;
    uint32_t next_id; /* of those of snapshots */
};

/* A query for a name that ends in ':' lists all that begin with it, and selects nothing. */
static bool is_asked_for(const struct answering *a, const char *kind, const char *snapshot)
{
    const struct nbd *n = a->n;
    size_t kind_bytes = strlen(kind);
    if (!n->query_count)
        return !a->set;
    for (size_t i = 0; i < n->query_count; i++) {
        const char *q = n->queries[i];
        size_t bytes = strlen(q);
        if (strncmp(q, kind, kind_bytes) == 0 && strcmp(q + kind_bytes, snapshot) == 0)
            return true;
        if (!a->set && q[bytes - 1] == ':' && bytes <= kind_bytes && strncmp(q, kind, bytes) == 0)
            return true;
    }
    return false;
}

static void offer(struct answering *a, enum nbd_context_kind kind, const char *snapshot)
{
    struct nbd *n = a->n;
    size_t kind_bytes = strlen(kinds[kind].name), bytes = strnlen(snapshot, NBD_STRING_MAX - kind_bytes);
    if (!is_asked_for(a, kinds[kind].name, snapshot) || (a->set && n->context_count == NBD_CONTEXTS_MAX))
        return;
    uint32_t id = kinds[kind].of_snapshot ? a->next_id++ : (uint32_t)kind + 1;
    uint8_t *data = mem_alloc(4 + kind_bytes + bytes);
    put_be32(data, a->set ? id : 0);
    memcpy(data + 4, kinds[kind].name, kind_bytes);
    memcpy(data + 4 + kind_bytes, snapshot, bytes);
    option_reply(n, NBD_REP_META_CONTEXT, data, 4 + kind_bytes + bytes);
    mem_free(data);
    if (a->set)
        n->contexts[n->context_count++] = (struct nbd_context){
            .kind = kind, .id = id, .snapshot = kinds[kind].of_snapshot ? mem_strdup(snapshot) : NULL};
}

void meta_context_found(struct nbd *n, const struct nbd_export *e)
{
    struct answering a = {
        .n = n, .set = n->option == NBD_OPT_SET_META_CONTEXT, .next_id = COUNT_OF(kinds) + 1};
    for (size_t kind = 0; kind < COUNT_OF(kinds); kind++)
        for (size_t i = 0; i < (kinds[kind].of_snapshot ? e->snapshot_count : 1); i++)
            offer(&a, (enum nbd_context_kind)kind, kinds[kind].of_snapshot ? e->snapshots[i] : "");
    option_reply(n, NBD_REP_ACK, NULL, 0);
    if (a.set) {
        n->context_name = n->name;
        n->name = NULL;
    }
    option_done(n);
}
