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
    assert(!n->answering && n->under_way > 0 && n->context_count);
    n->answering = r;
    n->chunk = NULL;
    n->status = buf_create((size_t)8 * NBD_STATUS_MAX);
    n->status_count = 0;
}

/* The chunk of the context that is at hand, when there is one. */
static void status_flush(struct nbd *n)
{
    if (!n->status_count)
        return;
    size_t bytes = 8 * (size_t)n->status_count;
    n->chunk = output_header(&n->output, NBD_CHUNK_BYTES + 4 + bytes);
    chunk_header(n->chunk, n->answering->cookie, 0, NBD_REPLY_TYPE_BLOCK_STATUS, (uint32_t)(4 + bytes));
    put_be32(n->chunk + NBD_CHUNK_BYTES, n->status_id);
    memcpy(n->chunk + NBD_CHUNK_BYTES + 4, n->status->data, bytes);
    n->status_count = 0;
}

void nbd_status_context(struct nbd *n, size_t i)
{
    assert(n->answering && i < n->context_count);
    status_flush(n);
    n->status_id = n->contexts[i].id;
    n->answered_bytes = 0;
}

void nbd_status_extent(struct nbd *n, uint64_t bytes, uint32_t flags)
{
    bytes = MIN(bytes, n->answering->length - n->answered_bytes);
    if (!bytes)
        return;
    size_t used = 8 * (size_t)n->status_count;
    uint8_t *next = n->status->data + used;
    if (used && get_be32(next - 4) == flags) {
        put_be32(next - 8, get_be32(next - 8) + (uint32_t)bytes);
    } else if (n->status_count == (n->answering->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : NBD_STATUS_MAX)) {
        n->answered_bytes = n->answering->length; /* what follows is left out */
        return;
    } else {
        put_be32(next, (uint32_t)bytes);
        put_be32(next + 4, flags);
        n->status_count++;
    }
    n->answered_bytes += bytes;
}

void nbd_status_end(struct nbd *n)
{
    assert(n->answering);
    status_flush(n);
    assert(n->chunk);
    put_be16(n->chunk + 4, NBD_REPLY_FLAG_DONE);
    n->chunk = NULL;
    buf_unref(n->status);
    n->status = NULL;
    n->answering = NULL;
    n->under_way--;
}
