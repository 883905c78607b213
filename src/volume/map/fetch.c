#include "volume/map/fetch.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/format/page.h"
#include "volume/format/record.h"
#include "volume/map/flight.h"

/* --------------------------------------------------------------------- the table */

static void serve(struct task *t)
{
    struct fetches *fs = CONTAINER_OF(t, struct fetches, serve);
    flights_serve(CONTAINER_OF(fs, struct engine, fetches));
}

void fetches_init(struct fetches *fs)
{
    for (size_t i = 0; i < FETCH_BUCKETS; i++)
        list_init(&fs->flights[i]);
    list_init(&fs->waiting[OBJSTORE_DEMAND]);
    list_init(&fs->waiting[OBJSTORE_BACKGROUND]);
    fs->passed_over = 0;
    fs->serve.run = serve;
    budget_init(&fs->budget, FETCH_BYTES_MAX, NULL);
}

void fetches_finish(struct fetches *fs)
{
    task_cancel(&fs->serve);
}

static struct list *bucket_of(struct engine *e, const struct sha256 *id)
{
    return &e->fetches.flights[id->bytes[0] % FETCH_BUCKETS];
}

static bool want_equal(const struct want *a, const struct want *b)
{
    return a->kind == b->kind && sha256_equal(&a->id, &b->id) && a->offset == b->offset &&
           a->bytes == b->bytes && a->level == b->level && a->block_size == b->block_size &&
           strcmp(a->key.text, b->key.text) == 0;
}

static struct flight *flight_find(struct engine *e, const struct want *want)
{
    struct list *bucket = bucket_of(e, &want->id);
    LIST_EACH(bucket, k)
    {
        struct flight *f = CONTAINER_OF(k, struct flight, link);
        if (want_equal(&f->want, want))
            return f;
    }
    return NULL;
}

/* --------------------------------------------------------------------- answering */

static void fetch_deliver(struct task *t)
{
    struct fetch *f = CONTAINER_OF(t, struct fetch, task);
    f->done(f);
}

/* Answers from the loop, later. */
static void fetch_answer(struct fetch *f, enum err err, struct buf *content)
{
    f->flight = NULL;
    f->err = err;
    f->content = content;
    f->task.run = fetch_deliver;
    loop_post(f->engine->loop, &f->task);
}

/* ------------------------------------------------------------------------ asking */

static void flight_raise(struct flight *fl)
{
    fl->priority = OBJSTORE_DEMAND;
    if (fl->state == FLIGHT_WAITS) {
        list_remove(&fl->waiting);
        list_push(&fl->engine->fetches.waiting[OBJSTORE_DEMAND], &fl->waiting);
    }
}

static void fetch_join(struct fetch *f, struct flight *fl)
{
    f->flight = fl;
    list_push(&fl->waiters, &f->link);
}

/* The cache goes by hash alone: a reference that claims more bytes than have that hash finds nothing. */
static struct buf *cached_whole(struct engine *e, const struct sha256 *id, size_t bytes)
{
    struct buf *cached = cache_get(e->cache, id);
    if (cached && cached->bytes < bytes) {
        buf_unref(cached);
        return NULL;
    }
    return cached;
}

static void fetch_start(struct fetch *f, const struct want *want)
{
    struct engine *e = f->engine;
    struct buf *cached = cached_whole(e, &want->id, want->kind == FLIGHT_RECORD ? 0 : want->bytes);
    assert(f->done && !f->flight);
    if (cached) {
        fetch_answer(f, ERR_OK, cached);
        return;
    }
    struct flight *fl = flight_find(e, want);
    if (fl) {
        mark_hit("fetch.joined");
        fetch_join(f, fl);
        if (f->priority == OBJSTORE_DEMAND && fl->priority != OBJSTORE_DEMAND)
            flight_raise(fl);
        return;
    }
    fl = MEM_NEW(struct flight);
    fl->engine = e;
    fl->want = *want;
    fl->age = e->turns.age;
    fl->priority = f->priority;
    list_init(&fl->waiters);
    list_push(bucket_of(e, &want->id), &fl->link);
    list_push(&e->fetches.waiting[fl->priority], &fl->waiting);
    fetch_join(f, fl);
    loop_post(e->loop, &e->fetches.serve);
}

void fetch_piece(struct fetch *f, const struct piece_ref *p)
{
    struct want want = {.kind = FLIGHT_PIECE,
                        .id = p->hash,
                        .object = p->object,
                        .offset = p->offset,
                        .bytes = p->stored_bytes};
    key_block(&want.key, &p->object);
    if (p->codec || p->cipher || p->key || p->stored_bytes != p->bytes || p->bytes == 0) {
        log_error("fetch",
                  "%s: the piece at offset %u says codec %u, cipher %u, key %u, %u bytes in %u: this version "
                  "reads plain pieces only",
                  want.key.text, p->offset, p->codec, p->cipher, p->key, p->bytes, p->stored_bytes);
        fetch_answer(f, ERR_CORRUPT, NULL);
        return;
    }
    fetch_start(f, &want);
}

void fetch_page(struct fetch *f, const struct page_ref *p, unsigned level, uint32_t block_size)
{
    struct want want = {
        .kind = FLIGHT_PAGE,
        .id = p->hash,
        .object = p->object,
        .offset = p->offset,
        .bytes = p->bytes,
        .level = level,
        .block_size = block_size,
    };
    assert(!p->self);
    key_map(&want.key, &p->object);
    if (p->bytes == 0 || p->bytes > PAGE_BYTES_CAP) {
        log_error("fetch", "%s: the page at offset %u says %u bytes", want.key.text, p->offset, p->bytes);
        fetch_answer(f, ERR_CORRUPT, NULL);
        return;
    }
    fetch_start(f, &want);
}

void fetch_record(struct fetch *f, const char *key)
{
    struct want want = {.kind = FLIGHT_RECORD, .bytes = RECORD_BYTES_MAX};
    char name[sizeof want.key.text + 8];
    int n = snprintf(want.key.text, sizeof want.key.text, "%s", key);
    assert(n > 0 && (size_t)n < sizeof want.key.text);
    n = snprintf(name, sizeof name, "log:%s", key);
    want.id = sha256_of(name, (size_t)n);
    fetch_start(f, &want);
}

struct buf *fetch_piece_now(struct engine *e, const struct piece_ref *p)
{
    return cached_whole(e, &p->hash, p->bytes);
}

struct buf *fetch_page_now(struct engine *e, const struct page_ref *p)
{
    return cached_whole(e, &p->hash, p->bytes);
}

/* --------------------------------------------------------------------- canceling */

void fetch_cancel(struct fetch *f)
{
    struct flight *fl = f->flight;
    if (!fl || fl->abandoned)
        return;
    if (list_first(&fl->waiters) != list_last(&fl->waiters)) {
        list_remove(&f->link);
        fetch_answer(f, ERR_CANCELED, NULL);
        return;
    }
    list_remove(&fl->link);
    if (fl->state == FLIGHT_WAITS) {
        list_remove(&fl->waiting);
        list_remove(&f->link);
        fetch_answer(f, ERR_CANCELED, NULL);
        mem_free(fl);
        return;
    }
    fl->abandoned = true;
    flight_abandon(fl);
}
