#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "nbd/private.h"

/* Flags each command may carry; FUA means something only to changes but is allowed everywhere. */
static const uint16_t flags_allowed[] = {
    [NBD_CMD_READ] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_DF,
    [NBD_CMD_WRITE] = NBD_CMD_FLAG_FUA,
    [NBD_CMD_FLUSH] = NBD_CMD_FLAG_FUA,
    [NBD_CMD_TRIM] = NBD_CMD_FLAG_FUA,
    [NBD_CMD_CACHE] = NBD_CMD_FLAG_FUA,
    [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
    [NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_REQ_ONE,
};

static bool is_change(uint16_t cmd)
{
    return cmd == NBD_CMD_WRITE || cmd == NBD_CMD_TRIM || cmd == NBD_CMD_WRITE_ZEROES;
}

static bool in_range(const struct nbd *n, const struct nbd_request *r)
{
    return r->offset <= n->size && r->length <= n->size - r->offset;
}

static enum nbd_error check(const struct nbd *n, const struct nbd_request *r)
{
    if (r->cmd >= COUNT_OF(flags_allowed) || r->flags & ~flags_allowed[r->cmd])
        return NBD_EINVAL;
    if (r->flags & NBD_CMD_FLAG_DF && !n->structured)
        return NBD_EINVAL;
    if (is_change(r->cmd) && n->read_only)
        return NBD_EPERM;
    if (r->cmd == NBD_CMD_FLUSH && (r->offset || r->length))
        return NBD_EINVAL;
    if (r->cmd == NBD_CMD_BLOCK_STATUS && (!n->context_count || !r->length))
        return NBD_EINVAL;
    if (!in_range(n, r))
        return r->cmd == NBD_CMD_WRITE || r->cmd == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL;
    if ((r->cmd == NBD_CMD_READ || r->cmd == NBD_CMD_WRITE) && r->length > NBD_PAYLOAD_MAX)
        return n->structured ? NBD_EOVERFLOW : NBD_EINVAL;
    return n->shutting_down ? NBD_ESHUTDOWN : NBD_OK;
}

/* Answers what was not handed to anybody, once its payload is gone. */
static void answer_here(struct nbd *n, enum nbd_error error)
{
    n->under_way++;
    if (n->head.cmd == NBD_CMD_READ && error == NBD_OK) {
        nbd_read_begin(n, &n->head);
        nbd_read_end(n);
    } else {
        nbd_reply(n, &n->head, error);
    }
    n->state = NBD_REQUEST;
}

static void refuse(struct nbd *n, enum nbd_error error)
{
    if (n->head.cmd != NBD_CMD_WRITE || !n->head.length) {
        answer_here(n, error);
        return;
    }
    n->drain_error = error;
    n->left = n->head.length;
    n->state = NBD_PAYLOAD_DRAIN;
}

static void begin_payload(struct nbd *n)
{
    n->left = n->head.length;
    n->part = n->part_done = 0;
    n->state = NBD_PAYLOAD;
}

static bool begin(struct nbd *n)
{
    struct nbd_request *r = n->ops->take(n, n->head.cmd, n->head.length);
    if (!r)
        return false;
    input_consume(n, NBD_REQUEST_BYTES);
    *r = n->head;
    n->under_way++;
    if (r->cmd != NBD_CMD_WRITE || !r->length) {
        n->ops->submit(n, r);
        return true;
    }
    n->writing = r;
    n->state = NBD_ADMISSION;
    if (n->ops->admit(n, r))
        begin_payload(n);
    return true;
}

static bool take_request(struct nbd *n)
{
    const uint8_t *at = input_peek(n, NBD_REQUEST_BYTES);
    if (!at)
        return false;
    if (get_be32(at) != NBD_REQUEST_MAGIC) {
        nbd_break(n, "a request begins with 0x%08x and not with the request magic", get_be32(at));
        return true;
    }
    n->head = (struct nbd_request){
        .flags = get_be16(at + 4),
        .cmd = get_be16(at + 6),
        .cookie = get_be64(at + 8),
        .offset = get_be64(at + 16),
        .length = get_be32(at + 24),
    };
    if (n->head.cmd == NBD_CMD_DISC) {
        nbd_stop(n);
        return true;
    }
    enum nbd_error error = check(n, &n->head);
    if (!error && (n->head.cmd != NBD_CMD_READ || n->head.length))
        return begin(n);
    input_consume(n, NBD_REQUEST_BYTES);
    refuse(n, error);
    return true;
}

/* What came into the receive buffer together with the header is copied out; the rest is received in place. */
static bool take_payload(struct nbd *n)
{
    while (n->left && input_bytes(n)) {
        struct iovec v = n->ops->payload(n, n->writing, n->part);
        uint32_t bytes = (uint32_t)MIN(v.iov_len - n->part_done, MIN(input_bytes(n), n->left));
        memcpy((uint8_t *)v.iov_base + n->part_done, input_peek(n, bytes), bytes);
        input_consume(n, bytes);
        n->left -= bytes;
        n->part_done += bytes;
        if (n->part_done == v.iov_len) {
            n->part++;
            n->part_done = 0;
        }
    }
    if (n->left)
        return false;
    struct nbd_request *r = n->writing;
    n->writing = NULL;
    n->state = NBD_REQUEST;
    n->ops->submit(n, r);
    return true;
}

bool transmission_step(struct nbd *n)
{
    switch (n->state) {
    case NBD_REQUEST:
        return take_request(n);
    case NBD_PAYLOAD:
        return take_payload(n);
    default:
        if (!input_drain(n))
            return false;
        answer_here(n, n->drain_error);
        return true;
    }
}

void nbd_admitted(struct nbd *n, struct nbd_request *r, enum nbd_error error)
{
    assert(n->state == NBD_ADMISSION && n->writing == r);
    if (!error) {
        begin_payload(n);
        return;
    }
    n->writing = NULL;
    n->under_way--;
    refuse(n, error);
}
