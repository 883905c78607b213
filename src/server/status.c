/* BLOCK_STATUS: one question to the volume for each context in force, answered together. */
#include <assert.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "server/private.h"

#define SECTOR         512u
#define ENOUGH_FOR_ONE 8u /* segments that a first extent may be made of */

/* The questions of one request: what is allocated, then what differs from each base; for the depth, from
 * the last one. */
struct status {
    struct request *request;
    void (*done)(struct request *);
    size_t count, pending;
    enum err err;
    struct volume_req parts[];
};

static void part_done(struct volume_req *v)
{
    struct status *s = v->ctx;
    if (v->err && !s->err)
        s->err = v->err;
    if (--s->pending)
        return;
    s->request->volume.err = s->err;
    s->done(s->request);
}

void block_status_submit(struct request *r, void (*done)(struct request *))
{
    struct connection *c = r->connection;
    size_t count = 1 + c->base_count;
    struct status *s = mem_calloc(1, sizeof *s + count * sizeof *s->parts);
    *s = (struct status){.request = r, .done = done, .count = count, .pending = count};
    r->status = s;
    for (size_t i = 0; i < count; i++) {
        struct volume_req *v = &s->parts[i];
        *v = (struct volume_req){.verb = i ? VOLUME_CHANGES : VOLUME_STATUS,
                                 .offset = r->volume.offset,
                                 .bytes = r->volume.bytes,
                                 .status_limit =
                                     r->volume.flags & VOLUME_REQ_ONE ? ENOUGH_FOR_ONE : NBD_STATUS_MAX,
                                 .ctx = s,
                                 .done = part_done};
        if (i)
            v->base = c->bases[i - 1].base->volume_base;
    }
    for (size_t i = 0; i < count; i++)
        volume_submit(c->user.export->volume, &s->parts[i]);
}

static uint32_t allocation_flags(enum volume_kind kind)
{
    if (kind == VOLUME_DATA)
        return 0;
    return kind == VOLUME_HOLE ? NBD_STATE_HOLE | NBD_STATE_ZERO : NBD_STATE_ZERO;
}

static uint32_t change_flags(enum volume_kind kind)
{
    return kind == VOLUME_CHANGED ? NBD_STATE_DIRTY : 0;
}

static bool matters(enum volume_kind kind)
{
    return kind == VOLUME_DATA || kind == VOLUME_CHANGED;
}

/* Where what comes next and matters begins, or what is told ends: from the i-th segment on, which begins at
 * `at`. */
static uint64_t next_that_matters(const struct volume_req *v, size_t i, uint64_t at)
{
    while (i < v->segment_count && !matters(v->segments[i].kind))
        at += v->segments[i++].bytes;
    return at;
}

/* Data and changes by whole sectors. qemu-img reckons in sectors, and takes one that a hole or a clean
 * range ends in for part of that. */
static void tell(struct nbd *n, const struct volume_req *v, uint32_t (*flags)(enum volume_kind))
{
    uint64_t at = v->offset, told = at, end = v->offset + v->bytes, stop = 0;
    for (size_t i = 0; i < v->segment_count && at < end; at += v->segments[i++].bytes) {
        enum volume_kind kind = v->segments[i].kind;
        uint64_t to = at + v->segments[i].bytes;
        if (matters(kind)) {
            to = (to + SECTOR - 1) / SECTOR * SECTOR;
        } else {
            if (stop <= at)
                stop = next_that_matters(v, i, at);
            to = MIN(to, stop < end ? stop / SECTOR * SECTOR : end);
        }
        to = MIN(to, end);
        if (to > told)
            nbd_status_extent(n, to - told, flags(kind));
        told = MAX(told, to);
    }
    if (told == v->offset) /* a sector of which not all is known */
        nbd_status_extent(n, MIN(at, end) - told,
                          flags(v->verb == VOLUME_CHANGES ? VOLUME_CHANGED : VOLUME_DATA));
}

/* 0: a hole; 1: written since the last snapshot, or there is none; 2: shared with it. */
static void tell_depth(struct nbd *n, const struct volume_req *allocation, const struct volume_req *changes)
{
    uint64_t left_a = 0, left_c = 0;
    size_t a = 0, c = 0;
    for (;;) {
        if (!left_a && a < allocation->segment_count)
            left_a = allocation->segments[a++].bytes;
        if (changes && !left_c && c < changes->segment_count)
            left_c = changes->segments[c++].bytes;
        uint64_t bytes = changes ? MIN(left_a, left_c) : left_a;
        if (!bytes)
            return;
        bool hole = allocation->segments[a - 1].kind == VOLUME_HOLE;
        bool shared = changes && changes->segments[c - 1].kind == VOLUME_UNCHANGED;
        nbd_status_extent(n, bytes, hole ? 0 : shared ? 2 : 1);
        left_a -= bytes;
        left_c -= changes ? bytes : 0;
    }
}

static void answer(struct nbd *n, struct request *r)
{
    const struct connection *c = r->connection;
    const struct status *s = r->status;
    struct volume_info info;
    volume_info(c->user.export->volume, &info);
    nbd_status_begin(n, &r->nbd);
    for (size_t i = 0; i < nbd_context_count(n); i++) {
        const struct nbd_context *context = nbd_context(n, i);
        nbd_status_context(n, i);
        switch (context->kind) {
        case NBD_CONTEXT_ALLOCATION:
            tell(n, &s->parts[0], allocation_flags);
            break;
        case NBD_CONTEXT_BREAKS:
            nbd_status_extent(n, r->nbd.length, info.breaks);
            break;
        case NBD_CONTEXT_DEPTH:
            tell_depth(n, &s->parts[0], c->base_of[i] ? &s->parts[c->base_of[i]] : NULL);
            break;
        case NBD_CONTEXT_CHANGED_SINCE:
        case NBD_CONTEXT_DIRTY_BITMAP:
            tell(n, &s->parts[c->base_of[i]], change_flags);
            break;
        }
    }
    nbd_status_end(n);
}

void block_status_answer(struct request *r)
{
    struct nbd *n = &r->connection->nbd;
    if (r->volume.err)
        nbd_reply(n, &r->nbd, error_to_nbd(r->volume.err));
    else
        answer(n, r);
}

void block_status_finish(struct request *r)
{
    struct status *s = r->status;
    r->status = NULL;
    for (size_t i = 0; s && i < s->count; i++)
        volume_req_finish(&s->parts[i]);
    mem_free(s);
}
