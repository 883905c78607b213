#include <assert.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/format/record.h"
#include "volume/log/batch.h"

static void answer_all(struct volume *v, struct list *waiters, enum err err)
{
    struct link *k;
    while ((k = list_pop(waiters)))
        volume_answer(v, CONTAINER_OF(k, struct volume_req, link), err);
}

static struct batch *first_batch(const struct volume *v)
{
    return LIST_ENTRY(list_first(&v->batches), struct batch, link);
}

static struct batch *last_batch(const struct volume *v)
{
    return LIST_ENTRY(list_last(&v->batches), struct batch, link);
}

bool log_idle(const struct volume *v)
{
    return extents_empty(&v->dirty) && extents_empty(&v->queued) && list_empty(&v->batches);
}

void log_flush(struct volume *v, struct volume_req *waiter)
{
    struct list *waiters = NULL;
    if (!extents_empty(&v->dirty)) {
        extents_overlay(&v->queued, &v->dirty);
        timer_stop(&v->flush_timer);
        write_back_forget(v);
    }
    if (!extents_empty(&v->queued))
        waiters = &v->queued_waiters;
    else if (last_batch(v))
        waiters = &last_batch(v)->waiters;
    if (waiter && waiters)
        list_push(waiters, &waiter->link);
    else if (waiter)
        volume_answer(v, waiter, ERR_OK);
    loop_post(v->engine->loop, &v->pump);
}

/* ------------------------------------------------------------------- applying */

static void put_inline(struct volume *v, struct extents *layer, const struct log_folder *folder,
                       struct buf *encoded, uint64_t slot, const struct record_entry *entry, bool keep)
{
    uint64_t block_size = v->params.block_size;
    struct content c = {.kind = keep ? CONTENT_DATA : CONTENT_LOGGED, .skip = entry->skip};
    if (keep) {
        c.data.buf = encoded;
        c.data.generation = ++v->engine->generations;
    } else {
        c.logged.folder = folder;
        c.logged.slot = slot;
    }
    for (uint64_t at = entry->offset, end = at + entry->bytes; at < end;) {
        uint64_t stop = MIN(end, (at / block_size + 1) * block_size);
        extents_put(layer, at, stop, &c);
        c.skip += (uint32_t)(stop - at);
        at = stop;
    }
}

static bool fits_inline(struct engine *e, size_t bytes)
{
    return e->inline_budget.used + bytes <= e->inline_budget.limit;
}

enum err log_apply_record(struct volume *v, struct extents *layer, const struct log_folder *folder,
                          struct buf *encoded)
{
    enum log_object what;
    struct record r;
    enum err err = record_parse(encoded->data, encoded->bytes, &what, &r);
    if (err)
        return err;
    if (what != LOG_RECORD || memcmp(r.head.export_id, v->export_id, sizeof v->export_id) != 0)
        return ERR_CORRUPT;
    bool keep = fits_inline(v->engine, buf_cost(encoded->bytes));
    for (uint32_t i = 0; i < r.entries; i++) {
        struct record_entry entry;
        record_entry(&r, i, &entry);
        if (entry.offset >= v->params.size || entry.bytes > v->params.size - entry.offset)
            return ERR_CORRUPT;
        struct content c = {.kind = entry.kind == ENTRY_HOLE ? CONTENT_HOLE : CONTENT_ZEROS};
        switch (entry.kind) {
        case ENTRY_INLINE:
            put_inline(v, layer, folder, encoded, r.head.slot, &entry, keep);
            break;
        case ENTRY_PIECE:
            c = (struct content){
                .kind = CONTENT_PIECE, .skip = entry.skip, .piece = piece_create(&entry.piece)};
            extents_put(layer, entry.offset, entry.offset + entry.bytes, &c);
            piece_unref(c.piece);
            break;
        case ENTRY_HOLE:
        case ENTRY_ZEROS:
            extents_put(layer, entry.offset, entry.offset + entry.bytes, &c);
            break;
        }
    }
    return ERR_OK;
}

/* Its changes go into `logged`; data for which there is no budget is left in the log and read from there. */
static void apply_changes(struct volume *v, struct batch *b)
{
    if (fits_inline(v->engine, (size_t)b->changes.data_bytes)) {
        extents_overlay(&v->logged, &b->changes);
        return;
    }
    mark_hit("inline-over-budget");
    for (size_t i = 0; i < b->record_count; i++) {
        enum err err = log_apply_record(v, &v->logged, v->folder, batch_record(b, i));
        assert(err == ERR_OK);
        (void)err;
    }
}

static void apply(struct batch *b)
{
    struct volume *v = b->volume;
    extents_settle(&b->changes);
    apply_changes(v, b);
    v->batches_applied++;
    v->stored_end = b->end_slot;
    v->log_records += b->record_count;
    v->log_bytes += b->record_bytes;
    v->records_written += b->record_count;
    answer_all(v, &b->waiters, ERR_OK);
    list_remove(&b->link);
    v->batch_count--;
    batch_destroy(b);
}

/* ------------------------------------------------------------------- pumping */

/* Data that is over the inline budget stays in the log, but not what says where it is: of a great many small
 * changes that alone is more than the budget. */
static bool too_many_extents(const struct volume *v)
{
    const struct budget *b = &v->engine->inline_budget;
    size_t more = v->queued.node_bytes;
    LIST_EACH(&v->batches, k)
    more += CONTAINER_OF(k, struct batch, link)->changes.node_bytes;
    return b->used + more > b->limit + b->limit / 2;
}

bool log_is_full(const struct volume *v)
{
    const struct engine_limits *l = &v->engine->config.limits;
    if (v->log_records && too_many_extents(v))
        return true;
    return v->log_bytes >= l->log_bytes_max || v->log_records >= l->log_records_max;
}

static void take_batch(struct volume *v)
{
    if (extents_empty(&v->queued) || v->batch_count == BATCHES_MAX || v->fenced)
        return;
    if (v->checkpoint_first || log_is_full(v)) {
        mark_hit("flush-waits-for-checkpoint");
        if (!v->checkpoint)
            checkpoint_want(v);
        return;
    }
    struct batch *b = batch_create(v);
    list_push(&v->batches, &b->link);
    v->batch_count++;
    v->batches_taken++;
}

static void advance_batches(struct volume *v)
{
    bool earlier_sent = true;
    LIST_EACH(&v->batches, k)
    {
        struct batch *b = CONTAINER_OF(k, struct batch, link);
        if (b->state == BATCH_UPLOADING)
            batch_prepare(b);
        if (b->state == BATCH_READY && earlier_sent && !v->fenced && !v->checkpoint_first &&
            (volume_may_refer(v) || !extents_held(&b->changes) || volume_asks_to_refer(v)))
            batch_send(b);
        earlier_sent = earlier_sent && b->state >= BATCH_SENT;
    }
}

void log_pump(struct volume *v)
{
    if (v->lost)
        return;
    take_batch(v);
    advance_batches(v);
    bool applied = false;
    for (struct batch *b; !v->fenced && (b = first_batch(v)) && b->state == BATCH_STORED; applied = true)
        apply(b);
    if (applied) {
        loop_post(v->engine->loop, &v->pump); /* there is room for another batch */
        checkpoint_consider(v);
    }
}

/* ---------------------------------------------------------------- bad weather */

void log_out_of_space(struct volume *v)
{
    struct engine *e = v->engine;
    if (!e->store_full)
        log_warn("store", "%s: no space left: FLUSH answers ENOSPC until there is room; nothing is dropped",
                 objstore_name(e->store));
    e->store_full = true;
    mark_hit("log-out-of-space");
    LIST_EACH(&v->batches, k)
    answer_all(v, &CONTAINER_OF(k, struct batch, link)->waiters, ERR_NOSPACE);
    answer_all(v, &v->queued_waiters, ERR_NOSPACE);
    if (!timer_started(&v->retry_timer))
        timer_start(e->loop, &v->retry_timer, RETRY_NS);
    loop_post(e->loop, &e->pressure);
}

void log_retry(struct volume *v)
{
    if (v->lost)
        return;
    if (v->fenced) { /* uploads that found no space wait on until the retake is done */
        timer_start(v->engine->loop, &v->retry_timer, RETRY_NS);
        return;
    }
    LIST_EACH(&v->batches, k)
    batch_retry(CONTAINER_OF(k, struct batch, link));
    loop_post(v->engine->loop, &v->pump);
}

void log_restart(struct volume *v, uint64_t old_end)
{
    for (struct batch *b; (b = first_batch(v)) && b->state >= BATCH_SENT && b->end_slot <= old_end;)
        apply(b);
    LIST_EACH(&v->batches, k)
    batch_recall(CONTAINER_OF(k, struct batch, link));
    v->next_slot = v->stored_end = v->deleted_to = 0;
    loop_post(v->engine->loop, &v->pump);
}

void log_stop(struct volume *v, enum err why)
{
    LIST_EACH(&v->batches, k)
    {
        struct batch *b = CONTAINER_OF(k, struct batch, link);
        answer_all(v, &b->waiters, why);
        batch_stop(b);
    }
    answer_all(v, &v->queued_waiters, why);
    timer_stop(&v->retry_timer);
}

bool log_stopped(const struct volume *v)
{
    LIST_EACH(&v->batches, k)
    if (batch_busy(CONTAINER_OF(k, struct batch, link)))
        return false;
    return true;
}
