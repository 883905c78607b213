#include <assert.h>

#include "base/mem.h"
#include "volume/read/requests.h"
#include "volume/read/resolve.h"

#define STATUS_LIMIT 1024
/* Extents in memory that are looked at for each that is asked for: adjacent ones are often of one kind. */
#define STATUS_PARTS 4

struct status {
    struct volume_req *req;
    size_t limit, room;
    struct resolve resolve;
};

/* What cannot be read is data: reading it says so. */
static enum volume_kind kind_of(enum stretch_kind k)
{
    return k == STRETCH_HOLE ? VOLUME_HOLE : k == STRETCH_ZEROS ? VOLUME_ALLOCATED_ZEROS : VOLUME_DATA;
}

static bool found(struct resolve *r, const struct stretch *s)
{
    struct status *op = CONTAINER_OF(r, struct status, resolve);
    struct volume_req *req = op->req;
    struct volume_segment *last = req->segment_count ? &req->segments[req->segment_count - 1] : NULL;
    if (last && last->kind == kind_of(s->kind)) {
        last->bytes += s->bytes;
        return true;
    }
    if (req->segment_count == op->limit)
        return false;
    if (req->segment_count == op->room) {
        op->room = op->room ? 2 * op->room : 8;
        req->segments = mem_realloc(req->segments, op->room * sizeof *req->segments);
    }
    assert(req->segments);
    req->segments[req->segment_count++] =
        (struct volume_segment){.kind = kind_of(s->kind), .bytes = s->bytes};
    return true;
}

static void status_done(struct resolve *r)
{
    struct status *op = CONTAINER_OF(r, struct status, resolve);
    struct volume_req *req = op->req;
    enum err err = r->err;
    mem_free(op);
    req->impl = NULL;
    volume_answer(req->volume, req, err);
}

void status_submit(struct volume_req *req)
{
    struct status *op = MEM_NEW(struct status);
    op->req = req;
    op->limit = req->flags & VOLUME_REQ_ONE ? 1 : req->status_limit ? req->status_limit : STATUS_LIMIT;
    op->resolve = (struct resolve){.volume = req->volume,
                                   .layers = RESOLVE_ALL,
                                   .start = req->offset,
                                   .end = req->offset + req->bytes,
                                   .parts_max = op->limit * STATUS_PARTS + 16,
                                   .found = found,
                                   .done = status_done};
    req->impl = op;
    resolve_start(&op->resolve);
}
