/* A checkpoint: a flush; then what the log holds is packed and folded into the map, the manifest replaced,
 * the log before its new position deleted.
 *
 *   TOKEN    one checkpoint at a time in an engine, so that what it takes in memory is bounded
 *   FLUSH    everything changed until now is being logged (left out when the log is full: it is folded as
 *            it is)
 *   PACK     `logged` has become `folding`; the position is fixed: the log holds exactly what is before it
 *   FOLD     the pages
 *   SWAP     the manifest, when no other swap is under way and this server is not fenced
 *   TRIM     the log. The token is given back before.
 */
#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/log/trim_log.h"
#include "volume/map/fold.h"
#include "volume/map/pack.h"
#include "volume/volume_state.h"

struct checkpoint {
    struct volume *volume;
    struct link turn;
    struct hold *hold; /* from the freeze to the swap */
    enum { CK_TOKEN, CK_FLUSH, CK_PACK, CK_FOLD, CK_WAIT_SWAP, CK_SWAP, CK_TRIM } state;
    bool closing, stopped;
    uint64_t flushed_at; /* FLUSH is over when so many batches were applied */
    struct list changes; /* struct volume_change: waited when FLUSH began, and are made in SWAP */
    const struct log_folder *folder;
    uint64_t slot;           /* the position */
    uint64_t bytes, records; /* of log, before it */
    struct pack pack;
    struct fold fold;
    unsigned level; /* of the root to be */
    struct map_root root;
    struct manifest next;
    struct swap swap;
    struct trim_log trim;
};

static bool holds_token(const struct checkpoint *c)
{
    return c->volume->engine->checkpointing == c->volume;
}

static void give_back_token(struct checkpoint *c)
{
    struct engine *e = c->volume->engine;
    if (!holds_token(c))
        return;
    e->checkpointing = NULL;
    struct checkpoint *next = LIST_ENTRY(list_pop(&e->checkpoints_waiting), struct checkpoint, turn);
    if (!next)
        return;
    e->checkpointing = next->volume;
    loop_post(e->loop, &next->volume->pump);
}

/* What was not made waits for the next checkpoint, before what has come since. */
static void put_back_changes(struct checkpoint *c)
{
    for (struct link *k; (k = list_last(&c->changes)); list_push_front(&c->volume->changes, k))
        list_remove(k);
}

static void end(struct checkpoint *c)
{
    struct volume *v = c->volume;
    give_back_token(c);
    put_back_changes(c);
    list_remove(&c->turn);
    hold_give(c->hold);
    manifest_finish(&c->next);
    v->checkpoint = NULL;
    mem_free(c);
    if (v->lost || v->abandoned)
        changes_refuse(v, &v->changes, v->lost ? ERR_FENCED : ERR_CANCELED);
    if ((v->checkpoint_wanted || !list_empty(&v->changes)) && !v->lost && !v->abandoned)
        checkpoint_want(v);
    else if (v->log_records && !v->lost)
        timer_start(v->engine->loop, &v->checkpoint_timer, v->engine->config.checkpoint_interval_ns);
    loop_post(v->engine->loop, &v->pump);
}

/* What was to be folded goes back above what was logged since; nothing of it was dropped. */
static void undo_folding(struct volume *v)
{
    struct extents newer;
    extents_init(&newer, &v->engine->inline_budget);
    extents_move(&newer, &v->logged);
    extents_move(&v->logged, &v->folding);
    extents_overlay(&v->logged, &newer);
}

/* ------------------------------------------------------------------------------- trimming */

static void trimmed(struct trim_log *t)
{
    struct checkpoint *c = CONTAINER_OF(t, struct checkpoint, trim);
    struct volume *v = c->volume;
    if (c->folder == v->folder)
        v->deleted_to = t->from;
    if (t->complete && t->older_epochs)
        v->older_epochs_clean = true;
    end(c);
}

static void start_trim(struct checkpoint *c)
{
    struct volume *v = c->volume;
    c->state = CK_TRIM;
    give_back_token(c);
    c->trim = (struct trim_log){.volume = v,
                                .folder = c->folder,
                                .from = c->folder == v->folder ? v->deleted_to : c->slot,
                                .to = c->slot,
                                .older_epochs = !v->older_epochs_clean && c->records,
                                .done = trimmed};
    trim_log_start(&c->trim);
}

/* -------------------------------------------------------------------------------- swapping */

/* Flushes of any export may have waited for the inline budget. */
static void wake_all(struct engine *e)
{
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        if (!extents_empty(&v->queued))
            loop_post(e->loop, &v->pump);
    }
}

static void swapped(struct swap *s)
{
    struct checkpoint *c = CONTAINER_OF(s, struct checkpoint, swap);
    struct volume *v = c->volume;
    v->swapping = false;
    if (s->err) {
        if (s->err == ERR_CONFLICT) {
            changes_compare(v, &c->changes, &c->next, &s->found);
            manifest_finish(&s->found);
        } else if (s->err == ERR_UNKNOWN) {
            changes_refuse(v, &c->changes, ERR_UNKNOWN);
        }
        undo_folding(v);
        if (!c->stopped)
            retake_start(v, "its manifest was replaced by somebody else");
        end(c);
        return;
    }
    mark_hit("checkpoint-swapped");
    manifest_finish(&v->manifest);
    v->manifest = c->next;
    memset(&c->next, 0, sizeof c->next);
    snprintf(v->etag, sizeof v->etag, "%s", s->etag);
    v->root = v->manifest.root;
    v->params.size = v->manifest.params.size;
    extents_settle(&v->folding);
    extents_clear(&v->folding);
    hold_give(c->hold);
    c->hold = NULL;
    wake_all(v->engine);
    v->log_bytes -= c->bytes;
    v->log_records -= c->records;
    v->checkpoint_first = false;
    v->closed = c->closing;
    v->checkpoints++;
    if (!list_empty(&c->changes))
        mark_hit("change-made");
    changes_confirm(v, &c->changes);
    loop_post(v->engine->loop, &v->pump);
    if (c->stopped)
        end(c);
    else
        start_trim(c);
}

/* Everything before the position is folded. Folders of later epochs are there when this server was fenced
 * meanwhile. */
static void cut_segments(const struct checkpoint *c, struct manifest *m)
{
    size_t kept = 0;
    if (c->folder == c->volume->folder)
        m->position = c->slot;
    for (size_t i = 0; i < m->segment_count; i++) {
        struct segment s = m->segments[i];
        if (s.epoch == c->folder->epoch)
            s.from = c->slot;
        if (s.epoch >= c->folder->epoch && s.from < s.to)
            m->segments[kept++] = s;
    }
    m->segment_count = kept;
}

static void start_swap(struct checkpoint *c)
{
    struct volume *v = c->volume;
    if (v->swapping || v->fenced)
        return; /* poked again */
    if (!extents_empty(&v->folding) && !volume_may_refer(v) && !volume_asks_to_refer(v))
        return; /* likewise */
    v->swapping = true;
    c->state = CK_SWAP;
    manifest_finish(&c->next);
    manifest_copy(&c->next, &v->manifest);
    c->next.root = c->root;
    cut_segments(c, &c->next);
    changes_make(v, &c->changes, &c->next);
    if (c->closing) {
        c->next.state = MANIFEST_CLOSED;
        c->next.owner[0] = '\0';
        c->next.position = 0;
    }
    manifest_renew(&c->next, v->engine->loop);
    c->swap = (struct swap){.engine = v->engine, .name = v->name, .next = &c->next, .done = swapped};
    snprintf(c->swap.etag, sizeof c->swap.etag, "%s", v->etag);
    snprintf(c->swap.former_nonce, sizeof c->swap.former_nonce, "%s", v->manifest.nonce);
    mark_hit("checkpoint");
    swap_start(&c->swap);
}

/* --------------------------------------------------------------------------------- folding */

static void folded(struct fold *f)
{
    struct checkpoint *c = CONTAINER_OF(f, struct checkpoint, fold);
    if (f->err) {
        undo_folding(c->volume);
        end(c);
        return;
    }
    c->root = f->root;
    c->state = CK_WAIT_SWAP;
    checkpoint_poke(c->volume);
}

static void start_fold(struct checkpoint *c)
{
    c->state = CK_FOLD;
    c->fold = (struct fold){.volume = c->volume, .level = c->level, .done = folded};
    fold_start(&c->fold);
}

static void packed(struct pack *p)
{
    struct checkpoint *c = CONTAINER_OF(p, struct checkpoint, pack);
    if (p->err || c->stopped) {
        undo_folding(c->volume);
        end(c);
        return;
    }
    start_fold(c);
}

/* The root's level is what the size to come needs. */
static unsigned level_to_be(const struct checkpoint *c)
{
    const struct volume *v = c->volume;
    return MAX(v->root.level, page_root_level(v->params.block_size, changes_size(v, &c->changes)));
}

static void freeze(struct checkpoint *c)
{
    struct volume *v = c->volume;
    if (v->batches_applied < c->flushed_at)
        put_back_changes(c); /* a full log cut the flush short */
    c->level = level_to_be(c);
    extents_move(&v->folding, &v->logged);
    c->hold = hold_take(&v->engine->turns.holds);
    c->folder = v->folder;
    c->slot = v->stored_end;
    c->bytes = v->log_bytes;
    c->records = v->log_records;
    c->root = v->root;
    if (v->root.tree.kind == SUBTREE_HOLE)
        c->root.level = c->level;
    if (extents_empty(&v->folding) && c->root.level < c->level) {
        start_fold(c);
        return;
    }
    if (extents_empty(&v->folding)) {
        c->state = CK_WAIT_SWAP;
        start_swap(c);
        return;
    }
    c->state = CK_PACK;
    c->pack = (struct pack){.volume = v, .done = packed};
    pack_start(&c->pack);
}

/* --------------------------------------------------------------------------------- flushing */

static bool flush_is_over(const struct checkpoint *c)
{
    const struct volume *v = c->volume;
    if (v->fenced)
        return false;
    if (c->closing)
        return log_idle(v) && list_empty(&v->write_backs);
    return v->batches_applied >= c->flushed_at || log_is_full(v) || v->checkpoint_first;
}

static void start_flush(struct checkpoint *c)
{
    struct volume *v = c->volume;
    c->state = CK_FLUSH;
    c->closing = v->closing && !log_is_full(v) && !v->checkpoint_first;
    for (struct link *k; (k = list_pop(&v->changes));)
        list_push(&c->changes, k);
    log_flush(v, NULL);
    c->flushed_at = v->batches_taken + !extents_empty(&v->queued);
}

static bool nothing_to_do(const struct volume *v)
{
    return log_idle(v) && extents_empty(&v->logged) && !v->log_records && !v->manifest.segment_count;
}

void checkpoint_poke(struct volume *v)
{
    struct checkpoint *c = v->checkpoint;
    if (c->state == CK_TOKEN && holds_token(c))
        start_flush(c);
    if (c->stopped && c->state <= CK_FLUSH) {
        end(c);
        return;
    }
    if (c->stopped && c->state == CK_WAIT_SWAP) {
        undo_folding(v);
        end(c);
        return;
    }
    if (c->state == CK_FLUSH && (log_is_full(v) || v->checkpoint_first))
        c->closing =
            false; /* no flush can end before a checkpoint; the close asks for another one after it */
    if (c->state == CK_FLUSH && flush_is_over(c)) {
        if (!c->closing && nothing_to_do(v) && !changes_need_swap(&c->changes)) {
            changes_confirm(v, &c->changes);
            end(c);
        } else {
            freeze(c);
        }
    } else if (c->state == CK_WAIT_SWAP) {
        start_swap(c);
    }
}

/* ----------------------------------------------------------------------------------- public */

void checkpoint_want(struct volume *v)
{
    struct engine *e = v->engine;
    if (v->checkpoint) {
        v->checkpoint_wanted = v->checkpoint->state > CK_FLUSH;
        return;
    }
    if (v->lost || v->abandoned || v->opening || v->closed)
        return;
    struct checkpoint *c = MEM_NEW(struct checkpoint);
    c->volume = v;
    list_init(&c->changes);
    v->checkpoint = c;
    v->checkpoint_wanted = false;
    timer_stop(&v->checkpoint_timer);
    if (e->checkpointing)
        list_push(&e->checkpoints_waiting, &c->turn);
    else
        e->checkpointing = v;
    loop_post(e->loop, &v->pump);
}

static uint64_t inline_bytes(const struct volume *v)
{
    return v->logged.data_bytes + v->logged.node_bytes;
}

static struct volume *holds_most_inline(struct engine *e)
{
    struct volume *most = NULL;
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        if (!v->opening && !v->lost && (!most || inline_bytes(v) > inline_bytes(most)))
            most = v;
    }
    return most;
}

void checkpoint_consider(struct volume *v)
{
    struct engine *e = v->engine;
    const struct engine_limits *l = &e->config.limits;
    uint64_t bytes = v->log_bytes, records = v->log_records;
    if (v->checkpoint && v->checkpoint->state > CK_FLUSH) { /* what it folds does not count */
        bytes -= v->checkpoint->bytes;
        records -= v->checkpoint->records;
    }
    if (bytes >= l->checkpoint_log_bytes || records >= l->checkpoint_log_records || v->checkpoint_first)
        checkpoint_want(v);
    else if (v->log_records && !v->checkpoint && !timer_started(&v->checkpoint_timer))
        timer_start(e->loop, &v->checkpoint_timer, e->config.checkpoint_interval_ns);
    if (e->inline_budget.used > e->inline_budget.limit / 2 && !e->checkpointing) {
        struct volume *most = holds_most_inline(e);
        if (most)
            checkpoint_want(most);
    }
}

bool checkpoint_refers_to_the_past(const struct volume *v, uint32_t turn)
{
    return v->checkpoint && v->checkpoint->hold && v->checkpoint->hold->turn < turn;
}

void checkpoint_stop(struct volume *v)
{
    struct checkpoint *c = v->checkpoint;
    if (!c)
        return;
    c->stopped = true;
    switch (c->state) {
    case CK_PACK:
        pack_cancel(&c->pack);
        return;
    case CK_FOLD:
        fold_cancel(&c->fold);
        return;
    case CK_SWAP:
        swap_cancel(&c->swap);
        return;
    case CK_TRIM:
        trim_log_cancel(&c->trim);
        return;
    case CK_TOKEN:
    case CK_FLUSH:
    case CK_WAIT_SWAP:
        loop_post(v->engine->loop, &v->pump);
        return;
    }
}
