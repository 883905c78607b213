#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "nbd/private.h"

static void simple_header(struct nbd *n, const struct nbd_request *r, enum nbd_error error)
{
    uint8_t *at = output_header(&n->output, NBD_SIMPLE_REPLY_BYTES);
    put_be32(at, NBD_SIMPLE_REPLY_MAGIC);
    put_be32(at + 4, error);
    put_be64(at + 8, r->cookie);
}

static void chunk_header(uint8_t *at, uint64_t cookie, uint16_t flags, uint16_t type, uint32_t bytes)
{
    put_be32(at, NBD_STRUCTURED_REPLY_MAGIC);
    put_be16(at + 4, flags);
    put_be16(at + 6, type);
    put_be64(at + 8, cookie);
    put_be32(at + 16, bytes);
}

void nbd_reply(struct nbd *n, const struct nbd_request *r, enum nbd_error error)
{
    assert(n->under_way > 0);
    n->under_way--;
    if (!n->structured || (r->cmd != NBD_CMD_READ && r->cmd != NBD_CMD_BLOCK_STATUS)) {
        simple_header(n, r, error);
        return;
    }
    assert(error);
    uint8_t *at = output_header(&n->output, NBD_CHUNK_BYTES + 6);
    chunk_header(at, r->cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 6);
    put_be32(at + NBD_CHUNK_BYTES, error);
    put_be16(at + NBD_CHUNK_BYTES + 4, 0);
}

/* -------------------------------------------------------------------- READ */

void nbd_read_begin(struct nbd *n, const struct nbd_request *r)
{
    assert(!n->answering && n->under_way > 0);
    n->answering = r;
    n->chunk = NULL;
    n->answered_bytes = 0;
    if (!n->structured)
        simple_header(n, r, NBD_OK);
}

/* Its length is known, and whether it is the last one, when it ends. */
static void close_chunk(struct nbd *n, uint16_t flags)
{
    if (!n->chunk)
        return;
    uint64_t offset = n->answering->offset + n->answered_bytes - n->chunk_bytes;
    if (n->chunk_type == NBD_REPLY_TYPE_OFFSET_DATA) {
        chunk_header(n->chunk, n->answering->cookie, flags, NBD_REPLY_TYPE_OFFSET_DATA,
                     (uint32_t)n->chunk_bytes + 8);
    } else {
        chunk_header(n->chunk, n->answering->cookie, flags, NBD_REPLY_TYPE_OFFSET_HOLE, 12);
        put_be32(n->chunk + NBD_CHUNK_BYTES + 8, (uint32_t)n->chunk_bytes);
    }
    put_be64(n->chunk + NBD_CHUNK_BYTES, offset);
    n->chunk = NULL;
}

static void grow_chunk(struct nbd *n, uint32_t type, uint64_t bytes)
{
    assert(n->answering && bytes <= n->answering->length - n->answered_bytes);
    if (!n->chunk || n->chunk_type != type) {
        close_chunk(n, 0);
        n->chunk = output_header(&n->output, NBD_CHUNK_BYTES + (type == NBD_REPLY_TYPE_OFFSET_HOLE ? 12 : 8));
        n->chunk_type = type;
        n->chunk_bytes = 0;
    }
    n->chunk_bytes += bytes;
    n->answered_bytes += bytes;
}

void nbd_read_data(struct nbd *n, struct buf *buf, size_t skip, size_t bytes)
{
    if (!bytes)
        return;
    if (n->structured)
        grow_chunk(n, NBD_REPLY_TYPE_OFFSET_DATA, bytes);
    else
        n->answered_bytes += bytes;
    output_data(&n->output, buf, skip, bytes);
}

void nbd_read_hole(struct nbd *n, uint64_t bytes)
{
    if (!bytes)
        return;
    bool whole = bytes == n->answering->length;
    if (n->structured && (whole || !(n->answering->flags & NBD_CMD_FLAG_DF))) {
        grow_chunk(n, NBD_REPLY_TYPE_OFFSET_HOLE, bytes);
        return;
    }
    if (n->structured)
        grow_chunk(n, NBD_REPLY_TYPE_OFFSET_DATA, bytes);
    else
        n->answered_bytes += bytes;
    output_zeros(&n->output, bytes);
}

void nbd_read_end(struct nbd *n)
{
    assert(n->answering && n->answered_bytes == n->answering->length);
    if (n->chunk)
        close_chunk(n, NBD_REPLY_FLAG_DONE);
    else if (n->structured)
        chunk_header(output_header(&n->output, NBD_CHUNK_BYTES), n->answering->cookie, NBD_REPLY_FLAG_DONE,
                     NBD_REPLY_TYPE_NONE, 0);
    n->answering = NULL;
    n->under_way--;
}

/* ------------------------------------------------------------ BLOCK_STATUS */

void nbd_status_begin(struct nbd *n, const struct nbd_request *r)
{
    assert(!n->answering && n->under_way > 0 && n->contexts);
    n->answering = r;
    n->answered_bytes = 0;
    n->status = buf_create(NBD_CHUNK_BYTES + 4 + 8 * NBD_STATUS_MAX);
    n->status_count = 0;
}

static uint8_t *descriptor(struct nbd *n, uint32_t i)
{
    return n->status->data + NBD_CHUNK_BYTES + 4 + 8 * (size_t)i;
}

void nbd_status_extent(struct nbd *n, uint64_t bytes, uint32_t flags)
{
    bytes = MIN(bytes, n->answering->length - n->answered_bytes);
    if (!bytes)
        return;
    uint8_t *last = n->status_count ? descriptor(n, n->status_count - 1) : NULL;
    if (last && get_be32(last + 4) == flags) {
        put_be32(last, get_be32(last) + (uint32_t)bytes);
    } else if (n->status_count == (n->answering->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : NBD_STATUS_MAX)) {
        n->answered_bytes = n->answering->length; /* what follows is left out */
        return;
    } else {
        uint8_t *at = descriptor(n, n->status_count++);
        put_be32(at, (uint32_t)bytes);
        put_be32(at + 4, flags);
    }
    n->answered_bytes += bytes;
}

static void status_chunk(struct nbd *n, uint8_t *at, bool last, uint32_t context, uint32_t count)
{
    chunk_header(at, n->answering->cookie, last ? NBD_REPLY_FLAG_DONE : 0, NBD_REPLY_TYPE_BLOCK_STATUS,
                 4 + 8 * count);
    put_be32(at + NBD_CHUNK_BYTES, context);
}

void nbd_status_end(struct nbd *n, uint32_t breaks)
{
    assert(n->answering);
    if (n->contexts & NBD_BASE_ALLOCATION) {
        assert(n->status_count > 0);
        status_chunk(n, n->status->data, !(n->contexts & NBD_ASHLAR_BREAKS), NBD_BASE_ALLOCATION,
                     n->status_count);
        size_t bytes = NBD_CHUNK_BYTES + 4 + 8 * (size_t)n->status_count;
        memcpy(output_header(&n->output, bytes), n->status->data, bytes);
    }
    if (n->contexts & NBD_ASHLAR_BREAKS) {
        uint8_t *at = output_header(&n->output, NBD_CHUNK_BYTES + 12);
        status_chunk(n, at, true, NBD_ASHLAR_BREAKS, 1);
        put_be32(at + NBD_CHUNK_BYTES + 4, n->answering->length);
        put_be32(at + NBD_CHUNK_BYTES + 8, breaks);
    }
    buf_unref(n->status);
    n->status = NULL;
    n->answering = NULL;
    n->under_way--;
}
