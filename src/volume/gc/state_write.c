#include "volume/gc/state_write.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/swap.h"

static void step(struct state_write *);

static void answered(struct objstore_req *r)
{
    step(CONTAINER_OF(r, struct state_write, req));
}

static void paused(struct timer *t)
{
    step(CONTAINER_OF(t, struct state_write, timer));
}

static void finish(struct state_write *w, enum err err)
{
    timer_stop(&w->timer);
    buf_unref(w->body);
    w->body = NULL;
    mem_free(w->next);
    w->next = NULL;
    w->err = err;
    w->done(w);
}

static void put(struct state_write *w, const char *key, enum objstore_condition condition)
{
    w->iov = (struct iovec){.iov_base = w->body->data, .iov_len = w->body->bytes};
    w->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .key = key,
                                   .body = &w->iov,
                                   .body_count = 1,
                                   .condition = condition,
                                   .done = answered};
    memcpy(w->req.etag, w->etag, sizeof w->etag);
    objstore_submit(w->engine->store, &w->req);
}

static void swap(struct state_write *w)
{
    w->state = STATE_SWAP;
    put(w, GC_STATE_KEY, w->former->serial ? OBJSTORE_MATCH : OBJSTORE_CREATE);
}

static void look(struct state_write *w)
{
    w->state = STATE_LOOK;
    w->req = (struct objstore_req){
        .verb = OBJSTORE_GET, .key = GC_STATE_KEY, .limit = GC_STATE_BYTES_MAX, .done = answered};
    objstore_submit(w->engine->store, &w->req);
}

static void pause_a_while(struct state_write *w)
{
    uint64_t random;
    loop_random(w->engine->loop, &random, sizeof random);
    w->state = STATE_PAUSE;
    timer_start(w->engine->loop, &w->timer, NS_PER_S / 4 + random % NS_PER_S);
}

static void begin_swap(struct state_write *w)
{
    buf_unref(w->body);
    w->body = gc_state_encode(w->next);
    mark_hit("gc-turns-the-page");
    swap(w);
}

/* The next names, as many as a list takes. */
static void put_list(struct state_write *w)
{
    size_t blocks = w->blocks->count, all = blocks + w->maps->count, from = w->at;
    size_t to = MIN(all, from + GC_LIST_NAMES_MAX);
    struct gc_list l = {.turn = w->next->turn};
    if (from < blocks) {
        l.blocks = w->blocks->names + from;
        l.block_count = (uint32_t)(MIN(to, blocks) - from);
    }
    if (to > blocks) {
        l.maps = w->maps->names + (MAX(from, blocks) - blocks);
        l.map_count = (uint32_t)(to - MAX(from, blocks));
    }
    w->at = to;
    buf_unref(w->body);
    w->body = gc_list_encode(&l);
    assert(w->next->list_count < GC_LISTS_MAX);
    struct gc_list_ref *ref = &w->next->lists[w->next->list_count++];
    ref->object = (struct object_name){.hash = sha256_of(w->body->data, w->body->bytes), .turn = l.turn};
    ref->bytes = (uint32_t)w->body->bytes;
    key_gc_list(&w->key, &ref->object);
    w->state = STATE_LIST;
    put(w, w->key.text, OBJSTORE_ANY);
}

static void next_list(struct state_write *w)
{
    if (w->at < w->blocks->count + w->maps->count)
        put_list(w);
    else
        begin_swap(w);
}

static void swapped(struct state_write *w)
{
    switch (w->req.err) {
    case ERR_OK:
        finish(w, ERR_OK);
        return;
    case ERR_CONFLICT:
    case ERR_UNKNOWN:
    case ERR_CANCELED:
        if (w->canceled) /* whoever looks next sees how it went */
            finish(w, ERR_CANCELED);
        else
            look(w);
        return;
    default:
        if (w->canceled)
            finish(w, ERR_CANCELED);
        else
            pause_a_while(w);
    }
}

static void compare(struct state_write *w)
{
    struct gc_state *there = MEM_NEW(struct gc_state);
    struct buf *content = w->req.content;
    enum err err = w->req.err;
    if (!err) {
        err = gc_state_parse(content->data, content->bytes, there, NULL);
        buf_unref(content);
    }
    bool ours = !err && strcmp(there->nonce, w->next->nonce) == 0;
    bool former =
        err == ERR_NOTFOUND ? !w->former->serial : !err && strcmp(there->nonce, w->former->nonce) == 0;
    mem_free(there);
    if (ours) {
        finish(w, ERR_OK);
    } else if (former && !w->canceled) {
        memcpy(w->etag, w->req.etag, sizeof w->etag);
        pause_a_while(w);
    } else if (!err || err == ERR_NOTFOUND || err == ERR_CORRUPT || err == ERR_UNSUPPORTED) {
        mark_hit("gc-beaten");
        finish(w, former ? ERR_CANCELED : ERR_CONFLICT);
    } else {
        pause_a_while(w);
    }
}

static void step(struct state_write *w)
{
    if (w->canceled && w->state != STATE_SWAP && w->state != STATE_LOOK) {
        finish(w, ERR_CANCELED);
        return;
    }
    switch (w->state) {
    case STATE_LIST:
        if (w->req.err == ERR_OK)
            next_list(w);
        else
            put(w, w->key.text, OBJSTORE_ANY); /* NOSPACE: there is room when something was deleted */
        return;
    case STATE_SWAP:
        swapped(w);
        return;
    case STATE_LOOK:
        compare(w);
        return;
    case STATE_PAUSE:
        swap(w);
        return;
    }
}

void state_write_start(struct state_write *w)
{
    assert(w->done && w->blocks->count + w->maps->count <= GC_NAMES_MAX);
    w->next = MEM_NEW(struct gc_state);
    w->next->serial = w->former->serial + 1;
    w->next->turn = w->former->turn + 1;
    random_id(w->engine->loop, w->next->nonce);
    w->at = 0;
    w->body = NULL;
    w->canceled = false;
    w->timer = (struct timer){.fire = paused};
    next_list(w);
}

void state_write_cancel(struct state_write *w)
{
    w->canceled = true;
    if (w->state == STATE_PAUSE)
        timer_start(w->engine->loop, &w->timer, 0);
    else
        objstore_cancel(&w->req);
}
