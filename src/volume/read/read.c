#include "base/bytes.h"
#include "base/mem.h"
#include "volume/read/range_read.h"
#include "volume/read/requests.h"

struct read {
    struct volume_req *req;
    struct range_read range;
};

static void read_done(struct range_read *r)
{
    struct read *op = CONTAINER_OF(r, struct read, range);
    struct volume_req *req = op->req;
    struct volume *v = req->volume;
    enum err err = r->err;
    if (err == ERR_OK && req->verb == VOLUME_READ) {
        req->segments = r->segments;
        req->segment_count = r->count;
    } else if (err == ERR_OK) {
        range_segments_drop(r->segments, r->count);
        mem_free(r->segments);
    }
    mem_free(op);
    req->impl = NULL;
    volume_answer(v, req, err);
}

static struct range_read range_of(const struct volume_req *req)
{
    return (struct range_read){.volume = req->volume,
                               .layers = RESOLVE_ALL,
                               .start = req->offset,
                               .end = req->offset + req->bytes,
                               .done = read_done};
}

void read_submit(struct volume_req *req)
{
    struct read *op = MEM_NEW(struct read);
    op->req = req;
    op->range = range_of(req);
    req->impl = op;
    range_read_start(&op->range);
    if (req->verb == VOLUME_READ)
        readahead_note(req->volume, req->offset, req->bytes, true);
}

bool volume_read_now(struct volume *v, struct volume_req *req)
{
    if (v->lost || v->fenced || !req->bytes || !engine_may_answer(v->engine))
        return false;
    req->volume = v;
    struct range_read range = range_of(req);
    if (!range_read_now(&range, req->few, COUNT_OF(req->few)))
        return false;
    req->err = ERR_OK;
    req->segments = range.segments;
    req->segment_count = range.count;
    readahead_note(v, req->offset, req->bytes, false);
    return true;
}
