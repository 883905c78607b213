#include "nbd/output.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

#define BLOCK_BYTES ((size_t)4096)

static const uint8_t zeros[64 << 10];

static struct nbd_output_item *push(struct nbd_output *o)
{
    if (o->end == o->room && o->first >= o->room / 2 && o->first) {
        memmove(o->items, o->items + o->first, (o->end - o->first) * sizeof *o->items);
        o->end -= o->first;
        o->compact -= MIN(o->compact, o->first);
        o->first = 0;
    }
    if (o->end == o->room) {
        o->room = o->room ? 2 * o->room : 32;
        o->items = mem_realloc(o->items, o->room * sizeof *o->items);
    }
    return &o->items[o->end++];
}

static uint8_t *room(struct nbd_output *o, size_t bytes)
{
    if (!o->block || bytes > o->block->bytes - o->block_used) {
        buf_unref(o->block);
        o->block = buf_create(MAX(bytes, BLOCK_BYTES));
        o->block_used = 0;
    }
    uint8_t *at = o->block->data + o->block_used;
    o->block_used += bytes;
    return at;
}

/* The last item before `end`, when what comes from the block at `at` continues it. */
static struct nbd_output_item *continued(struct nbd_output *o, size_t end, const uint8_t *at)
{
    struct nbd_output_item *last = end > o->first ? &o->items[end - 1] : NULL;
    return last && last->buf == o->block && last->at + last->bytes == at ? last : NULL;
}

uint8_t *output_header(struct nbd_output *o, size_t bytes)
{
    uint8_t *at = room(o, bytes);
    o->bytes += bytes;
    struct nbd_output_item *last = continued(o, o->end, at);
    if (last)
        last->bytes += bytes;
    else
        *push(o) = (struct nbd_output_item){at, bytes, buf_ref(o->block), 0};
    return at;
}

void output_data(struct nbd_output *o, struct buf *buf, size_t skip, size_t bytes)
{
    assert(skip <= buf->bytes && bytes <= buf->bytes - skip);
    if (!bytes)
        return;
    *push(o) = (struct nbd_output_item){buf->data + skip, bytes, buf_ref(buf), buf->bytes};
    o->bytes += bytes;
    o->held += buf->bytes;
}

void output_zeros(struct nbd_output *o, uint64_t bytes)
{
    o->bytes += bytes;
    for (uint64_t n; bytes; bytes -= n) {
        n = MIN(bytes, sizeof zeros);
        *push(o) = (struct nbd_output_item){zeros, n, NULL, 0};
    }
}

size_t output_iovecs(const struct nbd_output *o, struct iovec *iov, size_t max)
{
    size_t count = MIN(o->end - o->first, max);
    for (size_t i = 0; i < count; i++) {
        const struct nbd_output_item *item = &o->items[o->first + i];
        /* NOLINTNEXTLINE(performance-no-int-to-ptr): writev takes no const */
        iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)item->at, .iov_len = item->bytes};
    }
    return count;
}

void output_sent(struct nbd_output *o, size_t bytes)
{
    assert(bytes <= o->bytes);
    o->bytes -= bytes;
    while (bytes) {
        struct nbd_output_item *item = &o->items[o->first];
        if (bytes < item->bytes) {
            item->at += bytes;
            item->bytes -= bytes;
            return;
        }
        bytes -= item->bytes;
        o->held -= item->held;
        buf_unref(item->buf);
        o->first++;
    }
    if (o->first < o->end)
        return;
    o->first = o->end = o->compact = 0;
    o->block_used = 0; /* every item is gone, so nothing refers to the block any more */
}

void output_compact(struct nbd_output *o)
{
    size_t to = MAX(o->compact, o->first);
    for (size_t from = to; from < o->end; from++) {
        struct nbd_output_item item = o->items[from];
        if (!item.buf || item.bytes > item.buf->bytes / 2) {
            o->items[to++] = item;
            continue;
        }
        uint8_t *at = room(o, item.bytes);
        memcpy(at, item.at, item.bytes);
        o->held -= item.held;
        buf_unref(item.buf);
        struct nbd_output_item *last = continued(o, to, at);
        if (last)
            last->bytes += item.bytes;
        else
            o->items[to++] = (struct nbd_output_item){at, item.bytes, buf_ref(o->block), 0};
    }
    o->end = o->compact = to;
}

void output_rest(struct nbd_output *o)
{
    assert(!o->bytes);
    output_finish(o);
}

void output_finish(struct nbd_output *o)
{
    for (; o->first < o->end; o->first++)
        buf_unref(o->items[o->first].buf);
    buf_unref(o->block);
    mem_free(o->items);
    memset(o, 0, sizeof *o);
}
