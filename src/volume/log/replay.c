#include "volume/log/replay.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/format/record.h"

#define AHEAD_BYTES (16 * MIB)
#define PAUSE_NS    (200 * NS_PER_MS)

enum { LISTING, READING, SEALING, SEAL_READING, SEAL_PAUSING, ENDED };

struct replay_get {
    struct replay *replay;
    uint64_t slot;
    bool waiting;
    struct objstore_req req;
    struct key key;
};

static void replay_step(struct replay *);

static void slot_key(const struct replay *r, struct key *key, uint64_t slot)
{
    struct volume *v = r->volume;
    key_log_slot(key, v->name, v->manifest.id, r->folder->epoch, r->folder->nonce, slot);
}

static void finish(struct replay *r, enum err err)
{
    r->state = ENDED;
    r->err = r->canceled ? ERR_CANCELED : err;
    if (r->getting)
        return; /* the last one that comes in finishes */
    timer_stop(&r->timer);
    extents_clear(&r->batch);
    for (size_t i = 0; r->gets && i < REPLAY_AHEAD; i++)
        buf_unref(r->gets[i].req.content);
    mem_free(r->gets);
    r->gets = NULL;
    r->end = r->in_batch ? r->batch_first : r->next_apply;
    r->done(r);
}

/* ---------------------------------------------------------------- applying one record */

static enum err check_head(const struct replay *r, const struct record_head *h, uint64_t slot)
{
    uint8_t nonce[8];
    bool ok = hex_decode(r->folder->nonce, nonce, sizeof nonce);
    assert(ok);
    if (!ok || h->epoch != r->folder->epoch || memcmp(h->folder, nonce, sizeof nonce) != 0 ||
        h->slot != slot || memcmp(h->export_id, r->volume->export_id, sizeof h->export_id) != 0)
        return ERR_CORRUPT;
    return h->first == (r->in_batch ? r->batch_first : slot) ? ERR_OK : ERR_CORRUPT;
}

static enum err apply_record(struct replay *r, const struct record_head *h, struct buf *encoded)
{
    if (!r->in_batch) {
        r->batch_first = h->first;
        r->batch_records = r->batch_bytes = 0;
    }
    r->in_batch = true;
    enum err err = r->look ? ERR_OK : log_apply_record(r->volume, &r->batch, r->folder, encoded);
    if (err)
        return err;
    r->batch_records++;
    r->batch_bytes += encoded->bytes;
    if (h->last) {
        extents_overlay(&r->volume->logged, &r->batch);
        r->in_batch = false;
        r->records += r->batch_records;
        r->bytes += r->batch_bytes;
    }
    return ERR_OK;
}

/* The content of slot next_apply: sets sealed, or steps on. */
static enum err take(struct replay *r, struct buf *content)
{
    enum log_object what;
    struct record record;
    enum err err = record_parse(content->data, content->bytes, &what, &record);
    if (err == ERR_OK && what == LOG_SEAL) {
        r->sealed = true;
        return r->seal ? ERR_OK : ERR_CORRUPT;
    }
    if (!err)
        err = check_head(r, &record.head, r->next_apply);
    if (!err)
        err = apply_record(r, &record.head, content);
    if (err) {
        struct key key;
        slot_key(r, &key, r->next_apply);
        log_error("log", "%s: %s", key.text, err_text(err));
        return err;
    }
    r->largest = MAX(r->largest, content->bytes);
    r->next_apply++;
    return ERR_OK;
}

/* -------------------------------------------------------------------------- listing */

static void req_done(struct objstore_req *q)
{
    replay_step(CONTAINER_OF(q, struct replay, req));
}

static void list(struct replay *r)
{
    struct volume *v = r->volume;
    r->state = LISTING;
    key_log_folder(&r->key, v->name, v->manifest.id, r->folder->epoch, r->folder->nonce);
    r->req = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .key = r->key.text,
                                   .after = r->after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .done = req_done};
    objstore_submit(v->engine->store, &r->req);
}

/* How far the listing goes on without a gap. True: the next page may go on. */
static bool take_listing(struct replay *r)
{
    struct volume *v = r->volume;
    bool gap = false;
    for (size_t i = 0; i < r->req.entry_count && !gap; i++) {
        uint32_t epoch;
        char nonce[FOLDER_HEX];
        uint64_t slot;
        snprintf(r->after, sizeof r->after, "%s", r->req.entries[i].key);
        if (!key_parse_log_slot(r->req.entries[i].key, v->name, v->manifest.id, &epoch, nonce, &slot) ||
            slot < r->listed_to)
            continue;
        gap = slot != r->listed_to;
        if (!gap)
            r->listed_to++;
    }
    bool more = r->req.truncated && !gap && r->req.entry_count;
    objstore_entries_free(r->req.entries, r->req.entry_count);
    return more;
}

/* ------------------------------------------------------------------------- reading ahead */

static void get_done(struct objstore_req *q)
{
    struct replay_get *g = CONTAINER_OF(q, struct replay_get, req);
    g->waiting = false;
    g->replay->getting--;
    replay_step(g->replay);
}

static void read_ahead(struct replay *r)
{
    uint64_t ahead = MIN(MAX(AHEAD_BYTES / r->largest, 4), REPLAY_AHEAD);
    for (; r->next_get < r->listed_to && r->next_get < r->next_apply + ahead; r->next_get++) {
        struct replay_get *g = &r->gets[r->next_get % REPLAY_AHEAD];
        g->replay = r;
        g->slot = r->next_get;
        g->waiting = true;
        slot_key(r, &g->key, g->slot);
        g->req = (struct objstore_req){
            .verb = OBJSTORE_GET, .key = g->key.text, .limit = RECORD_BYTES_MAX, .done = get_done};
        r->getting++;
        objstore_submit(r->volume->engine->store, &g->req);
    }
}

static enum err apply_what_came(struct replay *r)
{
    while (r->next_apply < r->next_get && !r->sealed) {
        struct replay_get *g = &r->gets[r->next_apply % REPLAY_AHEAD];
        if (g->waiting)
            return ERR_OK;
        enum err err = g->req.err ? g->req.err : take(r, g->req.content);
        buf_unref(g->req.content);
        g->req.content = NULL;
        if (err)
            return err;
    }
    return ERR_OK;
}

/* -------------------------------------------------------------------------- sealing */

static void put_seal(struct replay *r)
{
    struct volume *v = r->volume;
    uint8_t nonce[16], folder[8];
    bool ok = hex_decode(r->folder->nonce, folder, sizeof folder);
    assert(ok);
    (void)ok;
    loop_random(v->engine->loop, nonce, sizeof nonce);
    seal_encode(r->seal_bytes, v->export_id, r->folder->epoch, folder, r->next_apply, v->engine->server_id,
                nonce);
    r->state = SEALING;
    slot_key(r, &r->key, r->next_apply);
    r->body = (struct iovec){.iov_base = r->seal_bytes, .iov_len = SEAL_BYTES};
    r->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .key = r->key.text,
                                   .body = &r->body,
                                   .body_count = 1,
                                   .condition = OBJSTORE_CREATE,
                                   .done = req_done};
    objstore_submit(v->engine->store, &r->req);
}

static void read_what_is_there(struct replay *r)
{
    r->state = SEAL_READING;
    r->req = (struct objstore_req){
        .verb = OBJSTORE_GET, .key = r->key.text, .limit = RECORD_BYTES_MAX, .done = req_done};
    objstore_submit(r->volume->engine->store, &r->req);
}

static void paused(struct timer *t)
{
    replay_step(CONTAINER_OF(t, struct replay, timer));
}

static void seal_later(struct replay *r)
{
    r->state = SEAL_PAUSING;
    r->timer.fire = paused;
    timer_start(r->volume->engine->loop, &r->timer, PAUSE_NS);
}

static void seal_answered(struct replay *r)
{
    switch (r->req.err) {
    case ERR_OK:
        mark_hit("sealed");
        r->sealed = true;
        finish(r, ERR_OK);
        return;
    case ERR_CANCELED:
        finish(r, ERR_CANCELED);
        return;
    case ERR_CONFLICT:
        mark_hit("seal-finds-something");
        read_what_is_there(r);
        return;
    case ERR_UNKNOWN:
        read_what_is_there(r);
        return;
    default:
        log_warn("log", "%s: cannot be sealed yet: %s", r->key.text, err_text(r->req.err));
        seal_later(r);
    }
}

static void seal_read(struct replay *r)
{
    struct buf *content = r->req.content;
    enum err err = r->req.err;
    if (err == ERR_NOTFOUND) {
        seal_later(r);
        return;
    }
    if (!err) {
        err = take(r, content);
        buf_unref(content);
    }
    if (err || r->sealed)
        finish(r, err);
    else
        put_seal(r);
}

/* ------------------------------------------------------------------------- the machine */

static void go_on_reading(struct replay *r)
{
    r->state = READING;
    enum err err = apply_what_came(r);
    if (err || r->sealed) {
        finish(r, err);
        return;
    }
    read_ahead(r);
    if (r->next_apply < r->listed_to)
        return;
    if (r->seal)
        put_seal(r);
    else
        finish(r, ERR_OK);
}

static void replay_step(struct replay *r)
{
    if (r->canceled) {
        if (r->state == LISTING)
            objstore_entries_free(r->req.entries, r->req.entry_count);
        else if (r->state == SEAL_READING)
            buf_unref(r->req.content);
        finish(r, ERR_CANCELED);
        return;
    }
    switch (r->state) {
    case LISTING:
        if (r->req.err)
            finish(r, r->req.err);
        else if (take_listing(r))
            list(r);
        else
            go_on_reading(r);
        return;
    case READING:
        go_on_reading(r);
        return;
    case SEALING:
        seal_answered(r);
        return;
    case SEAL_READING:
        seal_read(r);
        return;
    case SEAL_PAUSING:
        put_seal(r);
        return;
    case ENDED:
        finish(r, r->err);
        return;
    }
}

static void begin(struct timer *t)
{
    struct replay *r = CONTAINER_OF(t, struct replay, timer);
    if (r->seal && !r->canceled)
        list(r);
    else
        replay_step(r);
}

void replay_start(struct replay *r)
{
    struct engine *e = r->volume->engine;
    r->err = ERR_OK;
    r->records = r->bytes = 0;
    r->listed_to = r->seal ? r->from : r->to;
    r->next_get = r->next_apply = r->from;
    r->getting = 0;
    r->gets = MEM_ARRAY(struct replay_get, REPLAY_AHEAD);
    r->largest = 256 * KIB;
    r->in_batch = r->sealed = r->canceled = false;
    r->after[0] = '\0';
    if (r->from)
        slot_key(r, &r->key, r->from - 1);
    if (r->from)
        snprintf(r->after, sizeof r->after, "%s", r->key.text);
    extents_init(&r->batch, &e->inline_budget);
    r->state = READING;
    r->timer = (struct timer){.fire = begin};
    timer_start(e->loop, &r->timer, 0);
}

void replay_cancel(struct replay *r)
{
    if (r->state == ENDED && !r->getting)
        return;
    r->canceled = true;
    objstore_cancel(&r->req);
    for (size_t i = 0; r->gets && i < REPLAY_AHEAD; i++)
        if (r->gets[i].waiting)
            objstore_cancel(&r->gets[i].req);
    if (timer_started(&r->timer)) {
        timer_start(r->volume->engine->loop, &r->timer, 0);
        r->timer.fire = paused;
    }
}
