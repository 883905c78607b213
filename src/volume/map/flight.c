#include "volume/map/flight.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/format/page.h"
#include "volume/format/record.h"

#define HASH_HERE_MAX         (32 * KIB) /* more is checked on a worker thread */
#define PASSED_OVER_MAX       16u
#define FOLLOWERS_LOOKED_AT   64u
#define FETCH_KEPT_FOR_DEMAND (FETCH_BYTES_MAX / 4)

/* -------------------------------------------------------------------- completing */

static void fetches_wake(struct engine *e)
{
    loop_post(e->loop, &e->fetches.serve);
}

static void flight_finish(struct flight *fl, enum err err)
{
    struct engine *e = fl->engine;
    struct link *k;
    list_remove(&fl->link);
    budget_give(&e->fetches.budget, fl->want.bytes);
    fetches_wake(e);
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

/* What a condemned page refers to may have been deleted and be off the list already: who reads such a page
 * has a view of the past. */
static void flight_learn(struct flight *fl)
{
    const uint8_t *page = fl->content->data;
    if (fl->want.kind != FLIGHT_PAGE || page_level(page, fl->content->bytes) != 0 ||
        turns_condemned(&fl->engine->turns, OBJECT_MAP, &fl->want.object))
        return;
    for (uint32_t i = 0, n = leaf_pieces(page); i < n; i++) {
        struct piece_ref piece;
        leaf_piece(page, i, &piece);
        if (piece.bytes == fl->want.block_size)
            turns_learn(&fl->engine->turns, &piece, fl->age);
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
    if (fl->got == ERR_NOTFOUND && w->kind == FLIGHT_RECORD)
        return;
    if (fl->got == ERR_NOTFOUND)
        log_error("fetch", "%s: missing: %u bytes at offset %u with hash %s are lost", w->key.text, w->bytes,
                  w->offset, expected);
    else if (w->kind == FLIGHT_RECORD)
        log_error("fetch", "%s: damaged: larger than a log record can be", w->key.text);
    else
        log_error("fetch", "%s: damaged: cut short, %u bytes at offset %u with hash %s are lost", w->key.text,
                  w->bytes, w->offset, expected);
}

static void flight_arrived(struct flight *fl)
{
    if (fl->abandoned || fl->got == ERR_CANCELED) {
        flight_finish(fl, ERR_CANCELED);
    } else if (fl->got == ERR_NOTFOUND || fl->got == ERR_CORRUPT) {
        flight_log_missing(fl);
        flight_distrust(fl);
        flight_finish(fl, fl->got);
    } else if (fl->got) {
        flight_finish(fl, ERR_CORRUPT);
    } else if (fl->content->bytes <= HASH_HERE_MAX) {
        flight_check(fl);
        flight_checked(fl);
    } else {
        fl->job = (struct job){.work = check_work, .done = check_done};
        job_start(fl->engine->loop, &fl->job);
    }
}

static void flight_ask_alone(struct flight *fl)
{
    struct engine *e = fl->engine;
    fl->state = FLIGHT_WAITS;
    fl->alone = true;
    budget_give(&e->fetches.budget, fl->want.bytes);
    list_push_front(&e->fetches.waiting[fl->priority], &fl->waiting);
    fetches_wake(e);
}

static struct buf *part_of(const struct buf *span, uint32_t offset, uint32_t bytes)
{
    struct buf *part = buf_create(bytes);
    memcpy(part->data, span->data + offset, bytes);
    return part;
}

/* Each of the span has its part and its state before any is answered: answers may cancel the others. */
static void span_got(struct objstore_req *r)
{
    struct flight *lead = CONTAINER_OF(r, struct flight, req), *next;
    struct buf *span = r->content;
    uint32_t begin = lead->want.offset;
    bool shared = lead->next != NULL;
    r->content = NULL;
    if (r->err && r->err != ERR_NOTFOUND && r->err != ERR_CORRUPT && r->err != ERR_CANCELED)
        log_error("fetch", "%s: the store will not hand it out: %s: %s", r->key, err_text(r->err),
                  r->complaint.text);
    for (struct flight *fl = lead; fl; fl = fl->next) {
        fl->state = FLIGHT_CHECKS;
        fl->got = r->err;
        if (span)
            fl->content = shared ? part_of(span, fl->want.offset - begin, fl->want.bytes) : buf_ref(span);
    }
    buf_unref(span);
    for (struct flight *fl = lead; fl; fl = next) {
        next = fl->next;
        fl->next = NULL;
        if (shared && fl->got == ERR_CORRUPT && !fl->abandoned)
            flight_ask_alone(fl);
        else
            flight_arrived(fl);
    }
}

static bool follows(const struct flight *next, const struct flight *last)
{
    const struct want *a = &last->want, *b = &next->want;
    return b->kind == FLIGHT_PIECE && !next->alone && b->offset == a->offset + a->bytes &&
           object_name_equal(&a->object, &b->object);
}

static struct flight *find_follower(const struct flight *last)
{
    unsigned looked_at = 0;
    LIST_EACH(&last->engine->fetches.waiting[last->priority], k)
    {
        struct flight *fl = CONTAINER_OF(k, struct flight, waiting);
        if (follows(fl, last))
            return fl;
        if (++looked_at == FOLLOWERS_LOOKED_AT)
            return NULL;
    }
    return NULL;
}

static void gather_span(struct flight *lead)
{
    struct flight *last = lead, *next;
    if (lead->want.kind != FLIGHT_PIECE || lead->alone)
        return;
    while ((next = find_follower(last)) && next->want.bytes <= SPAN_BYTES_MAX - lead->span_bytes &&
           budget_try(&lead->engine->fetches.budget, next->want.bytes)) {
        list_remove(&next->waiting);
        next->state = FLIGHT_GETS;
        next->lead = lead;
        lead->span_bytes += next->want.bytes;
        last->next = next;
        last = next;
    }
}

static void flight_get(struct flight *fl)
{
    const struct want *w = &fl->want;
    bool whole = w->kind == FLIGHT_RECORD;
    fl->state = FLIGHT_GETS;
    fl->lead = fl;
    fl->span_bytes = w->bytes;
    if (w->bytes < SPAN_BYTES_MAX)
        gather_span(fl);
    if (fl->next)
        mark_hit("fetch.span");
    fl->req = (struct objstore_req){
        .verb = OBJSTORE_GET,
        .priority = fl->priority,
        .key = w->key.text,
        .offset = w->offset,
        .length = whole ? 0 : fl->span_bytes,
        .limit = fl->span_bytes,
        .done = span_got,
    };
    objstore_submit(fl->engine->store, &fl->req);
}

static struct flight *first_of(const struct fetches *fs, enum objstore_priority priority)
{
    return LIST_ENTRY(list_first(&fs->waiting[priority]), struct flight, waiting);
}

/* What nobody waits for yet leaves room for what somebody will. */
static bool leaves_room(const struct fetches *fs, const struct flight *fl)
{
    return !fs->budget.used || fs->budget.used + fl->want.bytes <= fs->budget.limit - FETCH_KEPT_FOR_DEMAND;
}

/* NULL: nothing waits, or what is next does not fit yet. */
static struct flight *next_to_get(struct fetches *fs)
{
    struct flight *demand = first_of(fs, OBJSTORE_DEMAND), *background = first_of(fs, OBJSTORE_BACKGROUND);
    bool overdue = background && fs->passed_over >= PASSED_OVER_MAX;
    if (!demand && background && !overdue && !leaves_room(fs, background))
        return NULL;
    struct flight *next = demand && !overdue ? demand : background;
    if (!next || !budget_try(&fs->budget, next->want.bytes))
        return NULL;
    fs->passed_over = next == demand && background ? fs->passed_over + 1 : 0;
    return next;
}

void flights_serve(struct engine *e)
{
    struct flight *fl;
    while ((fl = next_to_get(&e->fetches))) {
        list_remove(&fl->waiting);
        flight_get(fl);
    }
}

void flight_abandon(struct flight *fl)
{
    if (fl->state != FLIGHT_GETS)
        return;
    for (const struct flight *other = fl->lead; other; other = other->next)
        if (!other->abandoned)
            return;
    objstore_cancel(&fl->lead->req);
}
