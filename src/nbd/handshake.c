#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "nbd/private.h"

/* ---------------------------------------------------------------- replies */

static uint8_t *reply_head(struct nbd *n, uint32_t rep, size_t bytes)
{
    uint8_t *at = output_header(&n->output, NBD_OPTION_REPLY_BYTES + bytes);
    put_be64(at, NBD_REP_MAGIC);
    put_be32(at + 8, n->option);
    put_be32(at + 12, rep);
    put_be32(at + 16, (uint32_t)bytes);
    return at + NBD_OPTION_REPLY_BYTES;
}

void option_reply(struct nbd *n, uint32_t rep, const void *data, size_t bytes)
{
    uint8_t *at = reply_head(n, rep, bytes);
    if (bytes)
        memcpy(at, data, bytes);
}

void option_error(struct nbd *n, uint32_t rep, const char *text)
{
    option_reply(n, rep, text, text ? strnlen(text, NBD_STRING_MAX) : 0);
    option_done(n);
}

void option_done(struct nbd *n)
{
    handshake_forget(n);
    n->state = NBD_OPTION_HEAD;
}

void option_ask(struct nbd *n, void (*ask)(struct nbd *, const char *))
{
    n->state = NBD_OPTION_ASKED;
    ask(n, n->name);
}

static void reply_info(struct nbd *n, uint16_t type, const void *data, size_t bytes)
{
    uint8_t *at = reply_head(n, NBD_REP_INFO, 2 + bytes);
    put_be16(at, type);
    memcpy(at + 2, data, bytes);
}

static void reply_info_text(struct nbd *n, uint16_t type, const char *text)
{
    if (text && n->infos & 1u << type)
        reply_info(n, type, text, strnlen(text, NBD_STRING_MAX));
}

/* ------------------------------------------------------- answers to options */

static uint16_t transmission_flags(const struct nbd *n, const struct nbd_export *e)
{
    unsigned flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_CAN_MULTI_CONN |
                     NBD_FLAG_SEND_CACHE;
    if (n->structured)
        flags |= NBD_FLAG_SEND_DF;
    if (e->read_only)
        flags |= NBD_FLAG_READ_ONLY;
    else
        flags |= NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_FAST_ZERO;
    return (uint16_t)flags;
}

static void start_transmission(struct nbd *n, const struct nbd_export *e)
{
    if (!nbd_context_count(n))
        contexts_forget(n);
    mem_free(n->context_name);
    n->context_name = NULL;
    n->size = e->size;
    n->read_only = e->read_only;
    handshake_forget(n);
    n->state = NBD_REQUEST;
}

static void info_found(struct nbd *n, const struct nbd_export *e)
{
    uint8_t export[10], block_size[12];
    put_be64(export, e->size);
    put_be16(export + 8, transmission_flags(n, e));
    put_be32(block_size, 1);
    put_be32(block_size + 4, e->block_size);
    put_be32(block_size + 8, NBD_PAYLOAD_MAX);
    reply_info(n, NBD_INFO_EXPORT, export, sizeof export);
    reply_info_text(n, NBD_INFO_NAME, e->name);
    reply_info_text(n, NBD_INFO_DESCRIPTION, e->description);
    if (n->infos & 1u << NBD_INFO_BLOCK_SIZE)
        reply_info(n, NBD_INFO_BLOCK_SIZE, block_size, sizeof block_size);
    option_reply(n, NBD_REP_ACK, NULL, 0);
    if (n->option == NBD_OPT_GO)
        start_transmission(n, e);
    else
        option_done(n);
}

static void export_name_found(struct nbd *n, const struct nbd_export *e)
{
    size_t bytes = 10 + (n->no_zeroes ? 0 : 124);
    uint8_t *at = output_header(&n->output, bytes);
    memset(at, 0, bytes);
    put_be64(at, e->size);
    put_be16(at + 8, transmission_flags(n, e));
    start_transmission(n, e);
}

void nbd_found(struct nbd *n, const struct nbd_export *e)
{
    assert(n->state == NBD_OPTION_ASKED);
    if (n->option == NBD_OPT_EXPORT_NAME)
        export_name_found(n, e);
    else if (n->option == NBD_OPT_INFO || n->option == NBD_OPT_GO)
        info_found(n, e);
    else
        meta_context_found(n, e);
}

void nbd_refused(struct nbd *n, uint32_t rep, const char *text)
{
    assert(n->state == NBD_OPTION_ASKED && rep >= NBD_REP_ERR(0));
    if (n->option == NBD_OPT_EXPORT_NAME)
        nbd_break(n, "export \"%.100s\" refused: %s", n->name, text && *text ? text : "it cannot be opened");
    else
        option_error(n, rep, text);
}

void nbd_list_entry(struct nbd *n, const char *name, const char *description)
{
    assert(n->state == NBD_OPTION_ASKED && n->option == NBD_OPT_LIST);
    size_t name_bytes = strnlen(name, NBD_STRING_MAX);
    size_t text_bytes = description ? strnlen(description, NBD_STRING_MAX) : 0;
    uint8_t *at = reply_head(n, NBD_REP_SERVER, 4 + name_bytes + text_bytes);
    put_be32(at, (uint32_t)name_bytes);
    memcpy(at + 4, name, name_bytes);
    if (text_bytes)
        memcpy(at + 4 + name_bytes, description, text_bytes);
}

void nbd_list_end(struct nbd *n)
{
    assert(n->state == NBD_OPTION_ASKED && n->option == NBD_OPT_LIST);
    option_reply(n, NBD_REP_ACK, NULL, 0);
    option_done(n);
}

/* ---------------------------------------------------------- options, parsed */

static char *check_string(const uint8_t *at, size_t bytes, const char **fault)
{
    if (bytes > NBD_STRING_MAX)
        *fault = "a string is longer than 4096 bytes";
    else if (memchr(at, '\0', bytes))
        *fault = "a string contains a NUL byte";
    else {
        char *text = mem_alloc(bytes + 1);
        memcpy(text, at, bytes);
        text[bytes] = '\0';
        return text;
    }
    return NULL;
}

char *option_string(const uint8_t **data, const uint8_t *end, const char **fault)
{
    if (end - *data < 4 || get_be32(*data) > (size_t)(end - *data) - 4) {
        *fault = "a string is longer than the option that holds it";
        return NULL;
    }
    uint32_t bytes = get_be32(*data);
    char *text = check_string(*data + 4, bytes, fault);
    if (text)
        *data += 4 + bytes;
    return text;
}

static void option_info(struct nbd *n, const uint8_t *data, uint32_t bytes)
{
    const uint8_t *end = data + bytes;
    const char *fault = NULL;
    n->name = option_string(&data, end, &fault);
    if (!fault && (end - data < 2 || (size_t)(end - data) != 2 + 2 * (size_t)get_be16(data)))
        fault = "the number of information requests does not fit the option's length";
    if (fault) {
        option_error(n, NBD_REP_ERR_INVALID, fault);
        return;
    }
    n->infos = 0;
    for (data += 2; data < end; data += 2)
        if (get_be16(data) <= NBD_INFO_BLOCK_SIZE)
            n->infos |= (uint16_t)(1u << get_be16(data));
    if (n->shutting_down)
        option_error(n, NBD_REP_ERR_SHUTDOWN, "the server is shutting down");
    else
        option_ask(n, n->option == NBD_OPT_GO ? n->ops->open : n->ops->look);
}

static void option_export_name(struct nbd *n, const uint8_t *data, uint32_t bytes)
{
    const char *fault = NULL;
    n->name = check_string(data, bytes, &fault);
    if (!n->name)
        nbd_break(n, "EXPORT_NAME: %s", fault);
    else if (n->shutting_down)
        nbd_break(n, "EXPORT_NAME: the server is shutting down");
    else
        option_ask(n, n->ops->open);
}

static void option_list(struct nbd *n, uint32_t bytes)
{
    if (bytes) {
        option_error(n, NBD_REP_ERR_INVALID, "LIST takes no data");
        return;
    }
    n->state = NBD_OPTION_ASKED;
    n->ops->list(n);
}

static void option_structured_reply(struct nbd *n, uint32_t bytes)
{
    if (bytes) {
        option_error(n, NBD_REP_ERR_INVALID, "STRUCTURED_REPLY takes no data");
        return;
    }
    n->structured = true;
    option_reply(n, NBD_REP_ACK, NULL, 0);
    option_done(n);
}

static void option_whole(struct nbd *n, const uint8_t *data, uint32_t bytes)
{
    switch (n->option) {
    case NBD_OPT_EXPORT_NAME:
        option_export_name(n, data, bytes);
        break;
    case NBD_OPT_LIST:
        option_list(n, bytes);
        break;
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
        option_info(n, data, bytes);
        break;
    case NBD_OPT_STRUCTURED_REPLY:
        option_structured_reply(n, bytes);
        break;
    default:
        option_meta_context(n, data, bytes);
        break;
    }
}

/* ------------------------------------------------------------------- steps */

static bool take_client_flags(struct nbd *n)
{
    const uint8_t *at = input_peek(n, NBD_CLIENT_FLAGS_BYTES);
    if (!at)
        return false;
    uint32_t flags = get_be32(at);
    input_consume(n, NBD_CLIENT_FLAGS_BYTES);
    if (flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) {
        nbd_break(n, "unknown client flags 0x%x", flags);
        return true;
    }
    n->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
    n->state = NBD_OPTION_HEAD;
    return true;
}

/* How the option is taken in: gathered, or thrown away and answered with drain_rep. */
static void begin_option(struct nbd *n)
{
    n->drain_rep = n->left > NBD_OPTION_MAX ? NBD_REP_ERR_TOO_BIG : 0;
    switch (n->option) {
    case NBD_OPT_EXPORT_NAME:
        if (n->left > NBD_STRING_MAX) {
            nbd_break(n, "EXPORT_NAME: a name of %u bytes", n->left);
            return;
        }
        break;
    case NBD_OPT_ABORT:
        n->drain_rep = NBD_REP_ACK;
        break;
    case NBD_OPT_SET_META_CONTEXT: /* replaces the earlier set even when it fails */
        contexts_forget(n);
        break;
    case NBD_OPT_LIST:
    case NBD_OPT_INFO:
    case NBD_OPT_GO:
    case NBD_OPT_STRUCTURED_REPLY:
    case NBD_OPT_LIST_META_CONTEXT:
        break;
    default:
        n->drain_rep = NBD_REP_ERR_UNSUP;
        break;
    }
    n->state = n->drain_rep ? NBD_OPTION_DRAIN : NBD_OPTION_DATA;
}

static bool take_option_head(struct nbd *n)
{
    const uint8_t *at = input_peek(n, NBD_OPTION_BYTES);
    if (!at)
        return false;
    uint64_t magic = get_be64(at);
    n->option = get_be32(at + 8);
    n->left = get_be32(at + 12);
    input_consume(n, NBD_OPTION_BYTES);
    if (magic != NBD_IHAVEOPT)
        nbd_break(n, "an option begins with 0x%016llx and not with IHAVEOPT", (unsigned long long)magic);
    else if (++n->options > NBD_OPTIONS_MAX)
        nbd_break(n, "more than %d options in one handshake", NBD_OPTIONS_MAX);
    else
        begin_option(n);
    return true;
}

static bool drain_option(struct nbd *n)
{
    if (!input_drain(n))
        return false;
    if (n->option == NBD_OPT_ABORT) {
        option_reply(n, NBD_REP_ACK, NULL, 0);
        nbd_stop(n);
    } else if (n->drain_rep == NBD_REP_ERR_TOO_BIG) {
        option_error(n, n->drain_rep, "the option's data is longer than 16 KiB");
    } else {
        option_error(n, n->drain_rep, "this server does not have that option");
    }
    return true;
}

bool handshake_step(struct nbd *n)
{
    const uint8_t *at;
    switch (n->state) {
    case NBD_CLIENT_FLAGS:
        return take_client_flags(n);
    case NBD_OPTION_HEAD:
        return take_option_head(n);
    case NBD_OPTION_DRAIN:
        return drain_option(n);
    default:
        at = input_peek(n, n->left);
        if (!at)
            return false;
        input_consume(n, n->left);
        option_whole(n, at, n->left);
        return true;
    }
}
