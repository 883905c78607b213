#include "volume/gc/state_read.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "volume/engine_state.h"

static void state_answered(struct objstore_req *);
static void list_answered(struct objstore_req *);

static void finish(struct state_read *r, enum err err)
{
    r->err = r->canceled ? ERR_CANCELED : err;
    r->done(r);
}

static void get(struct state_read *r, const char *key, size_t limit, void (*done)(struct objstore_req *))
{
    r->req = (struct objstore_req){.verb = OBJSTORE_GET,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = key,
                                   .limit = limit,
                                   .patience_ns = r->patience_ns,
                                   .done = done};
    objstore_submit(r->engine->store, &r->req);
}

static void next_list(struct state_read *r)
{
    const struct gc_state *s = r->state;
    if (r->canceled || r->next == s->list_count || s->turn == r->skip_turn) {
        finish(r, ERR_OK);
        return;
    }
    key_gc_list(&r->key, &s->lists[r->next].object);
    get(r, r->key.text, GC_LIST_BYTES_MAX, list_answered);
}

static enum err take_list(struct state_read *r, const struct buf *content)
{
    const struct gc_list_ref *ref = &r->state->lists[r->next];
    struct sha256 hash = sha256_of(content->data, content->bytes);
    struct gc_list_view view;
    if (!sha256_equal(&hash, &ref->object.hash))
        return complain(&r->complaint, ERR_CORRUPT, "%s: damaged", r->key.text);
    enum err err = gc_list_parse(content->data, content->bytes, &view);
    if (err || view.turn != r->state->turn)
        return complain(&r->complaint, err ? err : ERR_CORRUPT, "%s: not a list of turn %u", r->key.text,
                        r->state->turn);
    if (r->list)
        r->list(r, &view);
    return ERR_OK;
}

static void list_answered(struct objstore_req *req)
{
    struct state_read *r = CONTAINER_OF(req, struct state_read, req);
    if (req->err) {
        r->complaint = req->complaint;
        finish(r, req->err);
        return;
    }
    enum err err = take_list(r, req->content);
    buf_unref(req->content);
    if (err) {
        finish(r, err);
        return;
    }
    r->next++;
    next_list(r);
}

static void state_answered(struct objstore_req *req)
{
    struct state_read *r = CONTAINER_OF(req, struct state_read, req);
    enum err err = req->err;
    if (err == ERR_OK) {
        err = gc_state_parse(req->content->data, req->content->bytes, r->state, &r->complaint);
        buf_unref(req->content);
        memcpy(r->etag, req->etag, sizeof r->etag);
        if (err)
            log_error("gc", "%s: %s", GC_STATE_KEY, r->complaint.text);
    } else if (err == ERR_NOTFOUND) {
        finish(r, ERR_OK); /* nothing was ever collected here */
        return;
    } else {
        r->complaint = req->complaint;
    }
    if (err) {
        finish(r, err);
        return;
    }
    if (r->begin && r->state->turn != r->skip_turn)
        r->begin(r);
    next_list(r);
}

void state_read_start(struct state_read *r)
{
    assert(r->done);
    if (!r->state)
        r->state = MEM_NEW(struct gc_state);
    *r->state = (struct gc_state){0};
    r->etag[0] = r->complaint.text[0] = '\0';
    r->next = 0;
    r->canceled = false;
    get(r, GC_STATE_KEY, GC_STATE_BYTES_MAX, state_answered);
}

void state_read_cancel(struct state_read *r)
{
    r->canceled = true;
    objstore_cancel(&r->req);
}

void state_read_finish(struct state_read *r)
{
    mem_free(r->state);
    r->state = NULL;
}
