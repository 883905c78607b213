#include "volume/map/fetch.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/format/page.h"
#include "volume/format/record.h"

#define HASH_HERE_MAX   (32 * KIB) /* more is checked on a worker thread */
#define PASSED_OVER_MAX 16u

enum flight_kind { FLIGHT_PIECE, FLIGHT_PAGE, FLIGHT_RECORD };

/* What somebody waits for, and what makes two of them the same. */
struct want {
    enum flight_kind kind;
    struct sha256 id; /* its name in the cache: a piece's or page's own hash */
    struct key key;
    struct object_name object; /* a piece's */
    uint32_t offset, bytes;    /* of the object; a record is wanted whole, of at most so many bytes */
    unsigned level;            /* a page's */
    uint32_t block_size;
};

struct flight {
    struct link link;    /* in its bucket, while others may join */
    struct link waiting; /* for room */
    struct engine *engine;
    struct want want;
    enum { FLIGHT_WAITS, FLIGHT_GETS, FLIGHT_CHECKS } state;
    enum objstore_priority priority;
    bool abandoned;      /* the last one who waits has canceled */
    struct list waiters; /* struct fetch */
    struct objstore_req req;
    struct job job;
    struct buf *content;
    struct sha256 found;
    enum err err;
};

/* --------------------------------------------------------------------- the table */

void fetches_init(struct fetches *fs)
{
    for (size_t i = 0; i < FETCH_BUCKETS; i++)
        list_init(&fs->flights[i]);
    list_init(&fs->waiting[OBJSTORE_DEMAND]);
    list_init(&fs->waiting[OBJSTORE_BACKGROUND]);
    fs->passed_over = 0;
    budget_init(&fs->budget, FETCH_BYTES_MAX, NULL);
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

/* -------------------------------------------------------------------- completing */

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

static void fetches_serve(struct engine *);

static void flight_finish(struct flight *fl, enum err err)
{
    struct engine *e = fl->engine;
    struct link *k;
    list_remove(&fl->link);
    budget_give(&e->fetches.budget, fl->want.bytes);
    fetches_serve(e);
    if (fl->abandoned)
        err = ERR_CANCELED;
    if (!err)
        cache_put(e->cache, &fl->want.id, fl->content);
    while ((k = list_pop(&fl->waiters))) {
        struct fetch *f = CONTAINER_OF(k, struct fetch, link);
        f->flight = NULL;
        f->err = err;
        f->content = err ? NULL : buf_ref(fl->content);
        f->done(f);
    }
    buf_unref(fl->content);
    mem_free(fl);
}

/* ---------------------------------------------------------------------- checking */

/* On the loop or on a worker thread: touches the content, the want and the verdict only. */
static void flight_check(struct flight *fl)
{
    const struct buf *c = fl->content;
    const struct want *w = &fl->want;
    enum log_object what;
    struct record record;
    switch (w->kind) {
    case FLIGHT_PIECE:
        fl->found = sha256_of(c->data, c->bytes);
        fl->err = sha256_equal(&fl->found, &w->id) ? ERR_OK : ERR_CORRUPT;
        break;
    case FLIGHT_PAGE: {
        unsigned level = w->level == PAGE_LEVEL_ANY ? page_level(c->data, c->bytes) : w->level;
        fl->err =
            level > MAP_LEVEL_MAX ? ERR_CORRUPT : page_check(c->data, c->bytes, &w->id, level, w->block_size);
        if (fl->err)
            fl->found = sha256_of(c->data, c->bytes);
        break;
    }
    case FLIGHT_RECORD:
        fl->err = record_parse(c->data, c->bytes, &what, &record);
        break;
    }
}

static void flight_log_damage(const struct flight *fl)
{
    const struct want *w = &fl->want;
    char expected[SHA256_HEX], found[SHA256_HEX];
    hex_encode(w->id.bytes, sizeof w->id.bytes, expected);
    hex_encode(fl->found.bytes, sizeof fl->found.bytes, found);
    if (w->kind == FLIGHT_RECORD)
        log_error("fetch", "%s: damaged: this is no log record (%s)", w->key.text, err_text(fl->err));
    else if (sha256_equal(&w->id, &fl->found))
        log_error("fetch",
                  "%s: the page at offset %u, %u bytes, hash %s, is none of the level and block size it "
                  "stands for",
                  w->key.text, w->offset, w->bytes, expected);
    else
        log_error("fetch", "%s: damaged: %u bytes at offset %u have hash %s instead of %s", w->key.text,
                  w->bytes, w->offset, found, expected);
}

static void flight_learn(struct flight *fl)
{
    const uint8_t *page = fl->content->data;
    if (fl->want.kind != FLIGHT_PAGE || page_level(page, fl->content->bytes) != 0)
        return;
    for (uint32_t i = 0, n = leaf_pieces(page); i < n; i++) {
        struct piece_ref piece;
        leaf_piece(page, i, &piece);
        if (piece.bytes == fl->want.block_size)
            turns_learn(&fl->engine->turns, &piece);
    }
}

/* Written anew, the same data must be stored anew. */
static void flight_distrust(struct flight *fl)
{
    if (fl->want.kind == FLIGHT_PIECE)
        dedup_forget(fl->engine->dedup, &fl->want.object);
}

static void flight_checked(struct flight *fl)
{
    if (fl->err) {
        flight_log_damage(fl);
        flight_distrust(fl);
    }
    if (!fl->err && !fl->abandoned)
        flight_learn(fl);
    flight_finish(fl, fl->err);
}

static void check_work(struct job *j)
{
    flight_check(CONTAINER_OF(j, struct flight, job));
}

static void check_done(struct job *j)
{
    flight_checked(CONTAINER_OF(j, struct flight, job));
}

/* ---------------------------------------------------------------------- getting */

static void flight_log_missing(const struct flight *fl)
{
    const struct want *w = &fl->want;
    char expected[SHA256_HEX];
    hex_encode(w->id.bytes, sizeof w->id.bytes, expected);
    if (fl->req.err == ERR_NOTFOUND && w->kind == FLIGHT_RECORD)
        return;
    if (fl->req.err == ERR_NOTFOUND)
        log_error("fetch", "%s: missing: %u bytes at offset %u with hash %s are lost", w->key.text, w->bytes,
                  w->offset, expected);
    else if (w->kind == FLIGHT_RECORD)
        log_error("fetch", "%s: damaged: larger than a log record can be", w->key.text);
    else
        log_error("fetch", "%s: damaged: cut short, %u bytes at offset %u with hash %s are lost", w->key.text,
                  w->bytes, w->offset, expected);
}

static void flight_got(struct objstore_req *r)
{
    struct flight *fl = CONTAINER_OF(r, struct flight, req);
    fl->content = r->content;
    r->content = NULL;
    if (fl->abandoned || r->err == ERR_CANCELED) {
        flight_finish(fl, ERR_CANCELED);
    } else if (r->err == ERR_NOTFOUND || r->err == ERR_CORRUPT) {
        flight_log_missing(fl);
        flight_distrust(fl);
        flight_finish(fl, r->err);
    } else if (r->err) {
        log_error("fetch", "%s: the store will not hand it out: %s: %s", r->key, err_text(r->err),
                  r->complaint.text);
        flight_finish(fl, ERR_CORRUPT);
    } else if (fl->content->bytes <= HASH_HERE_MAX) {
        flight_check(fl);
        flight_checked(fl);
    } else {
        fl->state = FLIGHT_CHECKS;
        fl->job = (struct job){.work = check_work, .done = check_done};
        job_start(fl->engine->loop, &fl->job);
    }
}

static void flight_get(struct flight *fl)
{
    const struct want *w = &fl->want;
    bool whole = w->kind == FLIGHT_RECORD;
    fl->state = FLIGHT_GETS;
    fl->req = (struct objstore_req){
        .verb = OBJSTORE_GET,
        .priority = fl->priority,
        .key = w->key.text,
        .offset = w->offset,
        .length = whole ? 0 : w->bytes,
        .limit = w->bytes,
        .done = flight_got,
    };
    objstore_submit(fl->engine->store, &fl->req);
}

/* Demand first, but every so often what has waited in the background. */
static void fetches_serve(struct engine *e)
{
    struct fetches *fs = &e->fetches;
    for (;;) {
        struct link *demand = list_first(&fs->waiting[OBJSTORE_DEMAND]);
        struct link *background = list_first(&fs->waiting[OBJSTORE_BACKGROUND]);
        bool turn = background && (!demand || fs->passed_over >= PASSED_OVER_MAX);
        struct link *k = turn ? background : demand;
        if (!k)
            return;
        struct flight *fl = CONTAINER_OF(k, struct flight, waiting);
        if (!budget_try(&fs->budget, fl->want.bytes))
            return;
        fs->passed_over = turn || !background ? 0 : fs->passed_over + 1;
        list_remove(k);
        flight_get(fl);
    }
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
    fl->priority = f->priority;
    list_init(&fl->waiters);
    list_push(bucket_of(e, &want->id), &fl->link);
    list_push(&e->fetches.waiting[fl->priority], &fl->waiting);
    fetch_join(f, fl);
    fetches_serve(e);
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
    fl->abandoned = true;
    list_remove(&fl->link);
    if (fl->state == FLIGHT_GETS) {
        objstore_cancel(&fl->req);
    } else if (fl->state == FLIGHT_WAITS) {
        list_remove(&fl->waiting);
        list_remove(&f->link);
        fetch_answer(f, ERR_CANCELED, NULL);
        mem_free(fl);
    }
}
