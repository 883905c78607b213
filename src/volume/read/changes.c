/* CHANGES: where the volume differs from a root. What lies in a layer above the map was written since. */
#include <assert.h>

#include "base/mem.h"
#include "volume/base.h"
#include "volume/map/diff.h"
#include "volume/read/requests.h"
#include "volume/read/resolve.h"

#define CHANGES_LIMIT 1024

struct part {
    uint64_t start, end;
    bool layered;
};

struct changes {
    struct volume_req *req;
    size_t limit, room;
    struct part *parts; /* as the layers were when it began */
    size_t part_count, part_room, part;
    struct map_root root;
    uint64_t size, at;
    struct diff diff;
    bool enough;
};

/* False: there is no room for another kind. */
static bool tell(struct changes *op, uint64_t end, enum volume_kind kind)
{
    struct volume_req *req = op->req;
    struct volume_segment *last = req->segment_count ? &req->segments[req->segment_count - 1] : NULL;
    if (end == op->at)
        return true;
    if (!last || last->kind != kind) {
        if (req->segment_count == op->limit) {
            op->enough = true;
            return false;
        }
        if (req->segment_count == op->room) {
            op->room = op->room ? 2 * op->room : 8;
            req->segments = mem_realloc(req->segments, op->room * sizeof *req->segments);
        }
        assert(req->segments);
        last = &req->segments[req->segment_count++];
        *last = (struct volume_segment){.kind = kind};
    }
    last->bytes += end - op->at;
    op->at = end;
    return true;
}

/* Zeros are zeros, allocated or not; what cannot be read has to be read again. */
static bool found(struct diff *d, const struct difference *x)
{
    struct changes *op = CONTAINER_OF(d, struct changes, diff);
    bool changed = x->kind != DIFFERENCE_ALLOCATION;
    return tell(op, x->start, VOLUME_UNCHANGED) &&
           tell(op, x->start + x->bytes, changed ? VOLUME_CHANGED : VOLUME_UNCHANGED);
}

static void changes_step(struct changes *);

static void compared(struct diff *d)
{
    struct changes *op = CONTAINER_OF(d, struct changes, diff);
    if (!op->enough)
        tell(op, d->end, VOLUME_UNCHANGED);
    changes_step(op);
}

static void compare_part(struct changes *op, const struct part *p)
{
    struct volume_req *req = op->req;
    const struct volume *v = req->volume;
    op->diff = (struct diff){.engine = v->engine,
                             .block_size = v->params.block_size,
                             .sides = {{.root = op->root, .size = op->size},
                                       {.root = req->base->pinned.root, .size = req->base->pinned.size}},
                             .start = p->start,
                             .end = p->end,
                             .found = found,
                             .done = compared};
    diff_start(&op->diff);
}

static void changes_step(struct changes *op)
{
    struct volume_req *req = op->req;
    while (op->part < op->part_count && !op->enough) {
        const struct part *p = &op->parts[op->part++];
        if (!p->layered) {
            compare_part(op, p);
            return;
        }
        tell(op, p->end, VOLUME_CHANGED);
    }
    mem_free(op->parts);
    mem_free(op);
    req->impl = NULL;
    volume_answer(req->volume, req, ERR_OK);
}

static void add_part(struct changes *op, uint64_t start, uint64_t end, bool layered)
{
    struct part *last = op->part_count ? &op->parts[op->part_count - 1] : NULL;
    if (last && last->layered == layered) {
        last->end = end;
        return;
    }
    if (op->part_count == op->part_room) {
        op->part_room = op->part_room ? 2 * op->part_room : 8;
        op->parts = mem_realloc(op->parts, op->part_room * sizeof *op->parts);
    }
    assert(op->parts);
    op->parts[op->part_count++] = (struct part){.start = start, .end = end, .layered = layered};
}

void changes_submit(struct volume_req *req)
{
    struct volume *v = req->volume;
    struct changes *op = MEM_NEW(struct changes);
    uint64_t end = req->offset + req->bytes;
    assert(req->base);
    op->req = req;
    op->limit = req->flags & VOLUME_REQ_ONE ? 1 : req->status_limit ? req->status_limit : CHANGES_LIMIT;
    op->root = v->root;
    op->size = v->params.size;
    op->at = req->offset;
    for (uint64_t at = req->offset, next; at < end; at = next) {
        bool layered = resolve_is_layered(v, at, end, &next);
        add_part(op, at, next, layered);
    }
    req->impl = op;
    changes_step(op); /* the answer comes from the loop, whoever gives it */
}
