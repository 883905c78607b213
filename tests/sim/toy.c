#include "toy.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "base/mem.h"
#include "seal.h"
#include "volume/collect.h"
#include "volume/exports.h"
#include "volume/volume.h"

enum toy_bug toy_bug;
const char *const toy_bug_names[TOY_BUGS] = {"none",
                                             "flush_without_storing",
                                             "flush_joins_late",
                                             "torn",
                                             "stale_read",
                                             "no_condition",
                                             "unknown_is_ok",
                                             "no_breaks",
                                             "reorder",
                                             "holes_lie",
                                             "leak",
                                             "hang"};

#define HEADER 40 /* epoch, breaks, closed, nonce */

struct engine {
    struct loop *loop;
    struct objstore *store;
    struct task task;
    struct engine_step *step;
};

struct put {
    uint8_t *bytes;
    struct iovec iov;
    bool closing, busy, reading_back, other_half;
};

struct volume {
    struct engine *engine;
    char *key, *half_key;
    struct export_params params;
    struct volume_open *open;
    struct volume_close *close;
    uint8_t *image, *flushed;
    uint32_t epoch, breaks;
    char etag[OBJSTORE_ETAG_MAX];
    struct objstore_req req;
    struct put put;
    struct list waiting, sent; /* durable requests: for the next PUT, for the one under way */
    struct task answer;
    struct list answers;
    bool fenced, told, opening_create;
    unsigned count;
    void (*lost)(struct volume *, void *, enum err);
    void *ctx;
};

static bool now_and_then(struct volume *v)
{
    return ++v->count % 13 == 0;
}

/* ----------------------------------------------------------------------------- engine */

void engine_config_defaults(struct engine_config *c)
{
    memset(c, 0, sizeof *c);
    c->lease_ttl_ns = 30 * NS_PER_S;
}

static void stepped(struct task *t)
{
    struct engine *e = CONTAINER_OF(t, struct engine, task);
    e->step->err = ERR_OK;
    e->step->done(e->step);
}

static void step(struct engine *e, struct engine_step *s)
{
    e->step = s;
    e->task.run = stepped;
    loop_post(e->loop, &e->task);
}

struct engine *engine_create(struct loop *l, struct objstore *s, const struct engine_config *c)
{
    (void)c;
    struct engine *e = MEM_NEW(struct engine);
    e->loop = l;
    e->store = s;
    return e;
}

void engine_destroy(struct engine *e)
{
    mem_free(e);
}

void engine_join(struct engine *e, struct engine_step *s)
{
    step(e, s);
}

void engine_leave(struct engine *e, struct engine_step *s)
{
    step(e, s);
}

void engine_stats(const struct engine *e, struct engine_stats *s)
{
    (void)e;
    memset(s, 0, sizeof *s);
}

void volume_stats(const struct volume *v, struct volume_stats *s)
{
    (void)v;
    memset(s, 0, sizeof *s);
}

/* ------------------------------------------------------------------------------ answers */

static void give_answers(struct task *t)
{
    struct volume *v = CONTAINER_OF(t, struct volume, answer);
    struct link *k;
    while ((k = list_pop(&v->answers))) {
        struct volume_req *r = CONTAINER_OF(k, struct volume_req, link);
        r->done(r);
    }
    if (v->fenced && !v->told && v->lost) {
        v->told = true;
        v->lost(v, v->ctx, ERR_FENCED);
    }
}

static void answer(struct volume *v, struct volume_req *r, enum err err)
{
    r->err = err;
    if (toy_bug == TOY_HANG && v->count % 97 == 96)
        return;
    list_push(&v->answers, &r->link);
    v->answer.run = give_answers;
    loop_post(v->engine->loop, &v->answer);
}

static void volume_free(struct volume *v)
{
    assert(list_empty(&v->answers) && list_empty(&v->waiting) && list_empty(&v->sent));
    task_cancel(&v->answer);
    mem_free(v->put.bytes);
    if (toy_bug != TOY_LEAK)
        mem_free(v->image);
    mem_free(v->flushed);
    mem_free(v->key);
    mem_free(v->half_key);
    mem_free(v);
}

/* ---------------------------------------------------------------------------- storing */

static void put_done(struct objstore_req *);

static void send(struct volume *v, enum objstore_condition condition)
{
    size_t bytes = HEADER + v->params.size;
    bool half = v->put.other_half;
    v->put.iov = half ? (struct iovec){v->put.bytes + bytes / 2, bytes - bytes / 2}
                      : (struct iovec){v->put.bytes, bytes};
    v->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .key = half ? v->half_key : v->key,
                                   .condition = half ? OBJSTORE_ANY : condition,
                                   .body = &v->put.iov,
                                   .body_count = 1,
                                   .done = put_done};
    strcpy(v->req.etag, v->etag);
    objstore_submit(v->engine->store, &v->req);
}

static void send_image(struct volume *v)
{
    v->put.other_half = toy_bug == TOY_TORN && v->params.size > 64 && !v->open;
    send(v, toy_bug == TOY_NO_CONDITION && !v->open ? OBJSTORE_ANY
            : v->opening_create                     ? OBJSTORE_CREATE
                                                    : OBJSTORE_MATCH);
}

static void prepare(struct volume *v, bool closing)
{
    size_t bytes = HEADER + v->params.size;
    mem_free(v->put.bytes);
    v->put.bytes = mem_alloc(bytes);
    memset(v->put.bytes, 0, HEADER);
    put_le32(v->put.bytes, v->epoch);
    put_le32(v->put.bytes + 4, v->breaks);
    v->put.bytes[8] = closing;
    loop_random(v->engine->loop, v->put.bytes + 16, 16);
    memcpy(v->put.bytes + HEADER, v->image, v->params.size);
    v->put.closing = closing;
    v->put.busy = true;
    send_image(v);
}

static void store_next(struct volume *v)
{
    if (v->put.busy || v->fenced || list_empty(&v->waiting))
        return;
    list_move_all(&v->sent, &v->waiting);
    prepare(v, false);
}

static void finish_close(struct volume *v, enum err err)
{
    struct volume_close *q = v->close;
    volume_free(v);
    q->err = err;
    q->done(q);
}

static void stored(struct volume *v, enum err err)
{
    struct link *k;
    v->put.busy = v->opening_create = false;
    if (err == ERR_FENCED)
        v->fenced = true;
    if (err == ERR_OK)
        memcpy(v->flushed, v->put.bytes + HEADER, v->params.size);
    while ((k = list_pop(&v->sent)))
        answer(v, CONTAINER_OF(k, struct volume_req, link), err);
    while (v->fenced && (k = list_pop(&v->waiting)))
        answer(v, CONTAINER_OF(k, struct volume_req, link), ERR_FENCED);
    if (v->open) {
        struct volume_open *o = v->open;
        v->open = NULL;
        o->err = ERR_OK;
        o->volume = v;
        o->done(o);
        return;
    }
    if (v->close && v->put.closing)
        finish_close(v, err);
    else
        store_next(v);
}

static void read_manifest(struct volume *, void (*)(struct objstore_req *));

static void read_back(struct objstore_req *r)
{
    struct volume *v = CONTAINER_OF(r, struct volume, req);
    assert(r->err == ERR_OK || r->err == ERR_NOTFOUND);
    bool ours = r->err == ERR_OK && memcmp(r->content->data + 16, v->put.bytes + 16, 16) == 0;
    bool before = r->err == ERR_OK ? strcmp(r->etag, v->etag) == 0 : v->opening_create;
    if (ours)
        strcpy(v->etag, r->etag);
    buf_unref(r->content);
    if (ours)
        stored(v, ERR_OK);
    else if (before)
        send_image(v);
    else if (v->open)
        volume_open(v->open), volume_free(v);
    else
        stored(v, ERR_FENCED);
}

static void put_done(struct objstore_req *r)
{
    struct volume *v = CONTAINER_OF(r, struct volume, req);
    if (v->put.other_half) {
        v->put.other_half = false;
        send(v, OBJSTORE_MATCH);
        return;
    }
    if (r->err == ERR_OK || (r->err == ERR_UNKNOWN && toy_bug == TOY_UNKNOWN_IS_OK && !v->open)) {
        if (r->err == ERR_OK)
            strcpy(v->etag, r->etag);
        stored(v, ERR_OK);
        return;
    }
    if (r->err == ERR_NOSPACE && !v->open && !v->close) {
        stored(v, ERR_NOSPACE);
        return;
    }
    read_manifest(v, read_back);
}

static void read_manifest(struct volume *v, void (*done)(struct objstore_req *))
{
    v->req = (struct objstore_req){.verb = OBJSTORE_GET, .key = v->key, .limit = SIZE_MAX / 2, .done = done};
    objstore_submit(v->engine->store, &v->req);
}

/* --------------------------------------------------------------------- opening, closing */

static void half_read(struct objstore_req *r)
{
    struct volume *v = CONTAINER_OF(r, struct volume, req);
    if (r->err == ERR_OK)
        memcpy(v->image + (HEADER + v->params.size) / 2 - HEADER, r->content->data, r->content->bytes);
    buf_unref(r->content);
    prepare(v, false);
}

static void opened(struct objstore_req *r)
{
    struct volume *v = CONTAINER_OF(r, struct volume, req);
    v->opening_create = r->err == ERR_NOTFOUND;
    v->epoch = 1;
    if (r->err == ERR_OK) {
        v->epoch = get_le32(r->content->data) + 1;
        v->breaks = get_le32(r->content->data + 4) + (toy_bug == TOY_NO_BREAKS ? 0 : !r->content->data[8]);
        memcpy(v->image, r->content->data + HEADER, v->params.size);
        strcpy(v->etag, r->etag);
        buf_unref(r->content);
    }
    if (toy_bug == TOY_TORN && !v->opening_create && v->params.size > 64) {
        v->req = (struct objstore_req){
            .verb = OBJSTORE_GET, .key = v->half_key, .limit = SIZE_MAX / 2, .done = half_read};
        objstore_submit(v->engine->store, &v->req);
        return;
    }
    prepare(v, false);
}

void volume_open(struct volume_open *o)
{
    struct volume *v = MEM_NEW(struct volume);
    v->engine = o->engine;
    v->params = *o->create;
    v->open = o;
    v->lost = o->lost;
    v->ctx = o->ctx;
    v->key = mem_alloc(strlen(o->name) + 32);
    strcat(strcpy(v->key, "exports/"), o->name);
    strcat(v->key, "/manifest");
    v->half_key = mem_alloc(strlen(o->name) + 32);
    strcat(strcpy(v->half_key, "half/"), o->name);
    v->image = mem_calloc(1, v->params.size);
    v->flushed = mem_calloc(1, v->params.size);
    list_init(&v->waiting);
    list_init(&v->sent);
    list_init(&v->answers);
    read_manifest(v, opened);
}

void volume_open_cancel(struct volume_open *o)
{
    (void)o;
}

static void close_fenced(struct task *t)
{
    finish_close(CONTAINER_OF(t, struct volume, answer), ERR_FENCED);
}

void volume_close(struct volume_close *q)
{
    struct volume *v = q->volume;
    v->close = q;
    assert(list_empty(&v->answers) && !v->put.busy);
    if (!v->fenced) {
        prepare(v, true);
        return;
    }
    v->answer.run = close_fenced;
    loop_post(v->engine->loop, &v->answer);
}

void volume_close_abandon(struct volume_close *q)
{
    (void)q;
}

void volume_info(const struct volume *v, struct volume_info *i)
{
    memset(i, 0, sizeof *i);
    i->size = v->params.size;
    i->block_size = v->params.block_size;
    i->epoch = v->epoch;
    i->breaks = v->breaks;
}

/* ----------------------------------------------------------------------------- requests */

bool volume_prepare_write(struct volume *v, struct volume_req *r)
{
    (void)v;
    r->payload = MEM_ARRAY(struct buf *, 1);
    r->payload[0] = buf_create(r->bytes);
    r->payload_count = 1;
    return true;
}

static void read_image(struct volume *v, struct volume_req *r)
{
    const uint8_t *from = toy_bug == TOY_STALE_READ && now_and_then(v) ? v->flushed : v->image;
    if (!r->bytes)
        return;
    r->segments = MEM_ARRAY(struct volume_segment, 1);
    r->segment_count = 1;
    r->segments[0] = (struct volume_segment){.kind = VOLUME_DATA, .bytes = r->bytes};
    r->segments[0].buf = buf_create(r->bytes);
    memcpy(r->segments[0].buf->data, from + r->offset, r->bytes);
}

static void show_status(struct volume *v, struct volume_req *r)
{
    bool hole = bytes_are_zero(v->image + r->offset, r->bytes) && r->bytes < 600;
    r->segments = MEM_ARRAY(struct volume_segment, 1);
    r->segment_count = 1;
    r->segments[0].bytes = r->bytes;
    r->segments[0].kind = hole ? VOLUME_ALLOCATED_ZEROS : VOLUME_DATA;
    if (toy_bug == TOY_HOLES_LIE && now_and_then(v))
        r->segments[0].kind = VOLUME_HOLE;
}

static void change_image(struct volume *v, struct volume_req *r)
{
    if (r->verb != VOLUME_WRITE)
        memset(v->image + r->offset, 0, r->bytes);
    else if (r->bytes)
        memcpy(v->image + r->offset, r->payload[0]->data, r->bytes);
}

static bool skips_storing(struct volume *v)
{
    return (toy_bug == TOY_FLUSH_WITHOUT_STORING && now_and_then(v)) ||
           (toy_bug == TOY_FLUSH_JOINS_LATE && v->put.busy);
}

void volume_submit(struct volume *v, struct volume_req *r)
{
    bool durable = r->verb == VOLUME_FLUSH;
    if (v->fenced) {
        answer(v, r, ERR_FENCED);
        return;
    }
    switch (r->verb) {
    case VOLUME_READ:
        read_image(v, r);
        break;
    case VOLUME_STATUS:
        show_status(v, r);
        break;
    case VOLUME_WRITE:
    case VOLUME_TRIM:
    case VOLUME_ZERO:
        if (toy_bug == TOY_REORDER && now_and_then(v) && r->bytes > 1)
            r->bytes--, change_image(v, r), r->bytes++;
        else
            change_image(v, r);
        durable = r->flags & VOLUME_FUA || v->params.durable_writes;
        break;
    case VOLUME_CACHE:
    case VOLUME_CHANGES:
    case VOLUME_FLUSH:
        break;
    }
    v->count++;
    if (durable && skips_storing(v))
        durable = false;
    if (!durable) {
        answer(v, r, ERR_OK);
        return;
    }
    list_push(&v->waiting, &r->link);
    store_next(v);
}

void volume_req_finish(struct volume_req *r)
{
    for (size_t i = 0; i < r->payload_count; i++)
        buf_unref(r->payload[i]);
    for (size_t i = 0; i < r->segment_count; i++)
        buf_unref(r->segments[i].buf);
    mem_free(r->payload);
    mem_free(r->segments);
    r->payload = NULL;
    r->segments = NULL;
    r->payload_count = r->segment_count = 0;
}

bool volume_read_now(struct volume *v, struct volume_req *r)
{
    if (v->fenced)
        return false;
    read_image(v, r);
    return true;
}

/* It has no log that could be sealed. */
void seal_something(struct sim *s, const char *export_name)
{
    (void)s;
    (void)export_name;
}

/* Nothing is collected here. */
void collect_start(struct collect *q)
{
    (void)q;
    assert(!"the toy has no collector");
}

void collect_cancel(struct collect *q)
{
    (void)q;
}

void export_fork(struct export_op *op)
{
    (void)op;
    assert(!"the toy forks nothing");
}

void volume_change(struct volume_change *c)
{
    (void)c;
    assert(!"the toy takes no snapshots");
}

void export_remove(struct export_op *op)
{
    (void)op;
    assert(!"the toy removes nothing");
}
