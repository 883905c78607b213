/* world.h - what tests of the engine's parts run in: a loop whose clock jumps, a bucket in RAM, and between
 * them a store that loses answers, is late, refuses, or lets a request wait until it is told.
 *
 *     world_init(&w);
 *     world_fault(&w, OBJSTORE_PUT, FAULT_LOST_APPLIED, 2);    the next two PUTs
 *     swap_start(&s);
 *     world_run_until(&w, &done);
 */
#ifndef WORLD_H
#define WORLD_H

#include "unit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/prng.h"
#include "loop/loop.h"
#include "objstore/mem.h"
#include "objstore/objstore.h"
#include "volume/dedup.h"
#include "volume/engine_state.h"
#include "volume/map/cache.h"

enum fault {
    FAULT_NONE,
    FAULT_LOST_APPLIED,     /* done, answered UNKNOWN */
    FAULT_LOST,             /* not done, answered UNKNOWN */
    FAULT_LATE,             /* answered UNKNOWN, done world.late_ns later */
    FAULT_CONFLICT_APPLIED, /* done, and then refused as if by a repetition below */
    FAULT_UNCONDITIONAL,    /* PUT: done whatever its condition */
    FAULT_NOSPACE,
    FAULT_UNAVAILABLE,
    FAULT_DENIED,
    FAULT_DAMAGE,  /* GET: a byte is other than it was */
    FAULT_NO_DATE, /* GET: the store says no time */
    FAULT_SLOW,    /* answered world.slow_ns later */
    FAULT_STUCK,   /* waits for world_unstick or its cancel */
};

#define WORLD_FAULTS_MAX 64

struct world {
    struct loop loop;
    struct prng prng;
    struct objstore store; /* the one in between */
    struct objstore *bucket;
    struct engine engine;
    struct host host;
    bool process_gone;
    enum fault faults[5][WORLD_FAULTS_MAX]; /* by verb, in order */
    size_t fault_first[5], fault_count[5];
    enum fault always[5];
    uint64_t late_ns, slow_ns;
    unsigned requests[5], canceled, errors_logged;
    unsigned under_way, under_way_max;
    struct list stuck;
    char last_error[1200];
};

static struct world *world; /* the one there is */

/* ------------------------------------------------------------------------- loop */

static uint64_t world_fresh_ns(const struct loop *l)
{
    return l->now_ns;
}

static int64_t world_wall_ms(struct loop *l)
{
    return (int64_t)(UINT64_C(1700000000000) + l->now_ns / NS_PER_MS);
}

static void world_random(struct loop *l, void *to, size_t n)
{
    (void)l;
    prng_fill(&world->prng, to, n);
}

static void world_wake(struct loop *l)
{
    (void)l;
}

struct world_job {
    struct task task;
    struct job *job;
};

static void world_job_run(struct task *t)
{
    struct world_job *w = CONTAINER_OF(t, struct world_job, task);
    struct job *j = w->job;
    mem_free(w);
    j->work(j);
    j->done(j);
}

static void world_job_start(struct loop *l, struct job *j)
{
    struct world_job *w = MEM_NEW(struct world_job);
    w->job = j;
    w->task.run = world_job_run;
    loop_post(l, &w->task);
}

static const struct loop_ops world_loop_ops = {
    .fresh_ns = world_fresh_ns,
    .wall_ms = world_wall_ms,
    .random = world_random,
    .wake = world_wake,
    .job_start = world_job_start,
};

/* One round; false when nothing will ever happen. */
static inline bool world_step(struct world *w)
{
    uint64_t due_ns;
    if (!loop_next_due(&w->loop, &due_ns))
        return false;
    loop_run_ready(&w->loop, MAX(due_ns, w->loop.now_ns));
    return true;
}

static inline void world_run_until(struct world *w, const bool *done)
{
    for (unsigned rounds = 0; !*done; rounds++) {
        assert_true(rounds < 2000000);
        assert_true(world_step(w));
    }
}

static inline void world_run_for(struct world *w, uint64_t ns)
{
    uint64_t due_ns, end_ns = w->loop.now_ns + ns;
    while (loop_next_due(&w->loop, &due_ns) && due_ns <= end_ns)
        world_step(w);
    loop_run_ready(&w->loop, end_ns);
}

/* ------------------------------------------------------------------------ store */

struct carried {
    struct objstore_req inner;
    struct objstore_req *outer; /* NULL: nobody waits for it any more */
    struct world *w;
    enum fault fault;
    struct timer timer;
    struct link link; /* stuck */
    struct buf *body;
    struct iovec iov;
    char key[OBJSTORE_KEY_MAX];
};

static void carried_free(struct carried *c)
{
    buf_unref(c->body);
    buf_unref(c->inner.content);
    objstore_entries_free(c->inner.entries, c->inner.entry_count);
    mem_free(c);
}

static void carried_answer(struct carried *c, enum err err)
{
    struct objstore_req *r = c->outer;
    if (r) {
        r->err = err;
        r->impl = NULL;
        c->w->under_way--;
        objstore_answer(r);
    }
    c->outer = NULL;
}

static void carried_done(struct objstore_req *i)
{
    struct carried *c = CONTAINER_OF(i, struct carried, inner);
    struct objstore_req *r = c->outer;
    if (r) {
        memcpy(r->etag, i->etag, sizeof r->etag);
        r->complaint = i->complaint;
        r->content = i->content;
        i->content = NULL;
        r->object_bytes = i->object_bytes;
        r->modified_ms = i->modified_ms;
        r->date_ms = c->fault == FAULT_NO_DATE ? 0 : i->date_ms;
        r->entries = i->entries;
        r->entry_count = i->entry_count;
        r->truncated = i->truncated;
        i->entries = NULL;
        i->entry_count = 0;
        if (c->fault == FAULT_DAMAGE && r->content && r->content->bytes)
            r->content->data[r->content->bytes / 2] ^= 1;
        enum err err = i->err;
        if (c->fault == FAULT_LOST_APPLIED)
            err = ERR_UNKNOWN;
        if (c->fault == FAULT_CONFLICT_APPLIED)
            err = ERR_CONFLICT;
        carried_answer(c, err);
    }
    carried_free(c);
}

static void carried_go(struct carried *c)
{
    objstore_submit(c->w->bucket, &c->inner);
}

static void carried_due(struct timer *t)
{
    carried_go(CONTAINER_OF(t, struct carried, timer));
}

static enum fault world_next_fault(struct world *w, enum objstore_verb verb)
{
    if (w->fault_first[verb] < w->fault_count[verb])
        return w->faults[verb][w->fault_first[verb]++];
    return w->always[verb];
}

static void world_submit(struct objstore *s, struct objstore_req *r)
{
    struct world *w = CONTAINER_OF(s, struct world, store);
    struct carried *c = MEM_NEW(struct carried);
    size_t bytes = 0;
    w->requests[r->verb]++;
    w->under_way++;
    w->under_way_max = MAX(w->under_way_max, w->under_way);
    c->w = w;
    c->outer = r;
    r->impl = c;
    c->fault = world_next_fault(w, r->verb);
    c->inner = *r;
    c->inner.store = NULL;
    c->inner.impl = NULL;
    c->inner.content = NULL;
    memset(&c->inner.task, 0, sizeof c->inner.task);
    c->inner.done = carried_done;
    snprintf(c->key, sizeof c->key, "%s", r->key);
    c->inner.key = c->key;
    for (size_t i = 0; i < r->body_count; i++)
        bytes += r->body[i].iov_len;
    c->body = buf_create(bytes);
    for (size_t i = 0, at = 0; i < r->body_count; at += r->body[i++].iov_len)
        memcpy(c->body->data + at, r->body[i].iov_base, r->body[i].iov_len);
    c->iov = (struct iovec){.iov_base = c->body->data, .iov_len = bytes};
    c->inner.body = &c->iov;
    c->inner.body_count = 1;
    c->timer.fire = carried_due;
    switch (c->fault) {
    case FAULT_LOST:
        carried_answer(c, ERR_UNKNOWN);
        carried_free(c);
        break;
    case FAULT_LATE:
        carried_answer(c, ERR_UNKNOWN);
        timer_start(&w->loop, &c->timer, w->late_ns);
        break;
    case FAULT_NOSPACE:
    case FAULT_UNAVAILABLE:
    case FAULT_DENIED:
        carried_answer(c, c->fault == FAULT_NOSPACE  ? ERR_NOSPACE
                          : c->fault == FAULT_DENIED ? ERR_DENIED
                                                     : ERR_UNAVAILABLE);
        carried_free(c);
        break;
    case FAULT_SLOW:
        timer_start(&w->loop, &c->timer, w->slow_ns);
        break;
    case FAULT_STUCK:
        list_push(&w->stuck, &c->link);
        break;
    case FAULT_UNCONDITIONAL:
        c->inner.condition = OBJSTORE_ANY;
        carried_go(c);
        break;
    default:
        carried_go(c);
    }
}

static void world_cancel(struct objstore *s, struct objstore_req *r)
{
    struct world *w = CONTAINER_OF(s, struct world, store);
    struct carried *c = r->impl;
    if (!c || (c->fault != FAULT_STUCK && c->fault != FAULT_SLOW))
        return;
    w->canceled++;
    list_remove(&c->link);
    timer_stop(&c->timer);
    carried_answer(c, r->verb == OBJSTORE_PUT && r->condition != OBJSTORE_ANY ? ERR_UNKNOWN : ERR_CANCELED);
    carried_free(c);
}

static void world_unstick(struct world *w)
{
    struct link *k;
    while ((k = list_pop(&w->stuck))) {
        struct carried *c = CONTAINER_OF(k, struct carried, link);
        c->fault = FAULT_NONE;
        carried_go(c);
    }
}

static void world_store_destroy(struct objstore *s)
{
    (void)s;
}

static const char *world_store_name(const struct objstore *s)
{
    (void)s;
    return "mem: with faults";
}

static const struct objstore_ops world_store_ops = {
    .submit = world_submit,
    .cancel = world_cancel,
    .destroy = world_store_destroy,
    .name = world_store_name,
};

static inline void world_fault(struct world *w, enum objstore_verb verb, enum fault fault, size_t times)
{
    while (times--) {
        assert_true(w->fault_count[verb] < WORLD_FAULTS_MAX);
        w->faults[verb][w->fault_count[verb]++] = fault;
    }
}

/* ----------------------------------------------------- the bucket, seen from outside */

struct world_outside {
    struct objstore_req req;
    bool done;
};

static void world_outside_done(struct objstore_req *r)
{
    CONTAINER_OF(r, struct world_outside, req)->done = true;
}

/* Past the faults, at once. The caller owns the content. */
static inline enum err world_get(struct world *w, const char *key, struct buf **content, char *etag)
{
    struct world_outside o = {
        .req = {.verb = OBJSTORE_GET, .key = key, .limit = 64 * MIB, .done = world_outside_done}};
    objstore_submit(w->bucket, &o.req);
    world_run_until(w, &o.done);
    if (content)
        *content = o.req.content;
    else
        buf_unref(o.req.content);
    if (etag)
        memcpy(etag, o.req.etag, OBJSTORE_ETAG_MAX);
    return o.req.err;
}

static inline int64_t world_modified_ms(struct world *w, const char *key)
{
    struct world_outside o = {.req = {.verb = OBJSTORE_HEAD, .key = key, .done = world_outside_done}};
    objstore_submit(w->bucket, &o.req);
    world_run_until(w, &o.done);
    assert_int_equal(o.req.err, ERR_OK);
    return o.req.modified_ms;
}

static inline void world_put(struct world *w, const char *key, const void *bytes, size_t n)
{
    char *copy = mem_dup(bytes, n);
    struct iovec iov = {.iov_base = copy, .iov_len = n};
    struct world_outside o = {
        .req = {.verb = OBJSTORE_PUT, .key = key, .body = &iov, .body_count = 1, .done = world_outside_done}};
    objstore_submit(w->bucket, &o.req);
    world_run_until(w, &o.done);
    assert_int_equal(o.req.err, ERR_OK);
    mem_free(copy);
}

static inline void world_delete(struct world *w, const char *key)
{
    struct world_outside o = {
        .req = {
            .verb = OBJSTORE_DELETE, .key = "", .keys = &key, .key_count = 1, .done = world_outside_done}};
    objstore_submit(w->bucket, &o.req);
    world_run_until(w, &o.done);
    assert_int_equal(o.req.err, ERR_OK);
}

/* ------------------------------------------------------------------------- all of it */

static bool world_is_gone(const struct host *h, const struct process_id *id)
{
    (void)h;
    (void)id;
    return world->process_gone;
}

static void world_log(void *ctx, const char *line)
{
    struct world *w = ctx;
    if (strstr(line, " ERROR ")) {
        w->errors_logged++;
        snprintf(w->last_error, sizeof w->last_error, "%s", line);
    }
}

static void world_ignore(struct engine *e)
{
    (void)e;
}

/* An engine as the parts see it, whose lease does what the real one does. */
static inline void world_init(struct world *w)
{
    memset(w, 0, sizeof *w);
    world = w;
    loop_init(&w->loop, &world_loop_ops, 1000 * NS_PER_S);
    prng_seed(&w->prng, 1);
    w->bucket = mem_store_create(&w->loop);
    w->store.ops = &world_store_ops;
    w->store.loop = &w->loop;
    w->late_ns = 30 * NS_PER_S;
    w->slow_ns = 10 * NS_PER_S;
    list_init(&w->stuck);
    snprintf(w->host.self.host, sizeof w->host.self.host, "quarry");
    snprintf(w->host.self.boot_id, sizeof w->host.self.boot_id, "b0071d00-0000-4000-8000-000000000000");
    w->host.self.pid = 17;
    w->host.is_gone = world_is_gone;
    struct engine *e = &w->engine;
    e->loop = &w->loop;
    e->store = &w->store;
    e->config.host = &w->host;
    e->config.lease_ttl_ns = 30 * NS_PER_S;
    snprintf(e->addresses, sizeof e->addresses, "127.0.0.1:10809");
    memset(e->server_id, 'a', ID_HEX - 1);
    e->cache = cache_create(MIB);
    e->dedup = dedup_create(MIB);
    list_init(&e->pins);
    list_init(&e->volumes);
    fetches_init(&e->fetches);
    lease_init(&e->lease, e);
    turns_init(&e->turns, e);
    e->lease.confirmed = e->lease.died = e->lease.revived = world_ignore;
    log_set_level(LOG_WARN);
    log_set_sink(world_log, w);
}

static inline void world_finish(struct world *w)
{
    world_unstick(w);
    while (!timer_started(&w->engine.lease.timer) && world_step(w))
        ;
    lease_finish(&w->engine.lease);
    turns_finish(&w->engine.turns);
    cache_destroy(w->engine.cache);
    dedup_destroy(w->engine.dedup);
    objstore_destroy(w->bucket);
    loop_finish(&w->loop);
    log_set_sink(NULL, NULL);
}

#endif
