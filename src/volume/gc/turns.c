#include "volume/gc/turns.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "volume/format/table.h"
#include "volume/volume_state.h"

#define PAUSE_NS (500 * NS_PER_MS)

static void read_state(struct turns *);

/* ------------------------------------------------------------------ acknowledging */

static void acknowledge_if_settled(struct turns *t)
{
    struct engine *e = t->engine;
    if (!t->fresh || t->acknowledged >= e->turn || holds_oldest(&t->holds) < e->turn)
        return;
    t->acknowledged = e->turn;
    mark_hit("turn-acknowledged");
    lease_beat_soon(&e->lease);
}

static void settled(struct holds *h)
{
    acknowledge_if_settled(CONTAINER_OF(h, struct turns, holds));
}

/* What was begun before this turn gets into the log soon. */
static void drain(struct turns *t)
{
    struct engine *e = t->engine;
    if (holds_oldest(&t->holds) >= e->turn)
        return;
    mark_hit("turn-drains");
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        if (v->opening || v->lost || v->abandoned)
            continue;
        log_flush(v, NULL);
        if (extents_held(&v->logged)) /* laid there by a checkpoint that failed */
            checkpoint_want(v);
    }
}

/* -------------------------------------------------------------------- a new turn */

static void begin_lists(struct state_read *r)
{
    struct turns *t = CONTAINER_OF(r, struct turns, read);
    uint64_t bytes = 0;
    for (size_t i = 0; i < r->state->list_count; i++)
        bytes += r->state->lists[i].bytes;
    condemned_clear(&t->loading);
    t->overflow = false;
    condemned_reserve(&t->loading, (size_t)MIN(bytes / OBJECT_ENTRY_BYTES, GC_NAMES_MAX));
}

static void take_list(struct state_read *r, const struct gc_list_view *l)
{
    struct turns *t = CONTAINER_OF(r, struct turns, read);
    struct object_name name;
    t->overflow |= t->loading.count + l->block_count + l->map_count >= t->loading.slot_count;
    if (t->overflow)
        return;
    for (uint32_t i = 0; i < l->block_count; i++) {
        gc_list_block(l, i, &name);
        condemned_add(&t->loading, OBJECT_BLOCK, &name);
        dedup_forget(t->engine->dedup, &name);
    }
    for (uint32_t i = 0; i < l->map_count; i++) {
        gc_list_map(l, i, &name);
        condemned_add(&t->loading, OBJECT_MAP, &name);
    }
}

/* What lists of turns that passed meanwhile condemned cannot be told from the rest. */
static void forget_all(struct turns *t)
{
    t->age++;
    dedup_clear(t->engine->dedup);
}

static void new_turn(struct turns *t)
{
    struct engine *e = t->engine;
    t->age++;
    condemned_clear(&t->condemned);
    t->condemned = t->loading;
    t->loading = (struct condemned){0};
    e->turn = t->read.state->turn;
    holds_turn(&t->holds, e->turn);
    mark_hit("turn-seen");
    log_debug("gc", "turn %u, %zu names condemned", e->turn, t->condemned.count);
    drain(t);
}

static void end_reading(struct turns *t, enum err err)
{
    struct engine_step *step = t->joining;
    bool again = !t->fresh && !step;
    t->state = TURNS_REST;
    t->fresh = !err;
    if (step) {
        t->joining = NULL;
        if (err && t->read.complaint.text[0])
            step->complaint = t->read.complaint;
        step->err = err;
        step->done(step);
    } else if (!err && again) {
        forget_all(t);
        t->refreshed(t->engine);
    }
    if (!err)
        acknowledge_if_settled(t);
}

static bool out_of_patience(const struct turns *t)
{
    uint64_t patience_ns = t->engine->config.patience_ns;
    return patience_ns && loop_now_ns(t->engine->loop) - t->started_ns >= patience_ns;
}

/* A list that is gone: gc/state is another one by now. The rest may pass. */
static void read_later(struct turns *t, enum err err)
{
    condemned_clear(&t->loading);
    t->etag[0] = '\0';
    if (t->fresh || t->dead) { /* at the next heartbeat */
        t->state = TURNS_REST;
        return;
    }
    bool final = err == ERR_UNSUPPORTED || (err == ERR_CORRUPT && !t->read.state->serial);
    if (t->joining && (final || out_of_patience(t))) {
        end_reading(t, err == ERR_NOTFOUND ? ERR_UNAVAILABLE : err);
        return;
    }
    t->state = TURNS_PAUSE;
    timer_start(t->engine->loop, &t->timer, PAUSE_NS);
}

static void state_was_read(struct state_read *r)
{
    struct turns *t = CONTAINER_OF(r, struct turns, read);
    struct engine *e = t->engine;
    if (t->leaving) {
        turns_leave(t, t->leaving);
        return;
    }
    if (!r->err && (t->overflow || r->state->turn < e->turn))
        r->err =
            complain(&r->complaint, ERR_CORRUPT, "%s: %s", GC_STATE_KEY,
                     t->overflow ? "more is condemned than can be" : "it says an earlier turn than before");
    if (r->err || t->dead) {
        if (r->err && !t->warned && r->err != ERR_NOTFOUND)
            log_warn("gc", "%s cannot be read (%s): garbage stays until it can", GC_STATE_KEY,
                     r->complaint.text[0] ? r->complaint.text : err_text(r->err));
        t->warned = true;
        read_later(t, r->err);
        return;
    }
    t->warned = false;
    if (r->state->turn > e->turn)
        new_turn(t);
    memcpy(t->etag, r->etag, sizeof t->etag);
    end_reading(t, ERR_OK);
}

static void read_state(struct turns *t)
{
    struct engine *e = t->engine;
    t->state = TURNS_READ;
    t->read.engine = e;
    t->read.skip_turn = e->turn;
    t->read.patience_ns = t->joining ? e->config.patience_ns : MAX(e->lease.ttl_ns / 3, 1);
    t->read.begin = begin_lists;
    t->read.list = take_list;
    t->read.done = state_was_read;
    state_read_start(&t->read);
}

static void paused(struct timer *timer)
{
    read_state(CONTAINER_OF(timer, struct turns, timer));
}

/* ------------------------------------------------------------- is there a new one? */

static void looked(struct objstore_req *r)
{
    struct turns *t = CONTAINER_OF(r, struct turns, head);
    t->state = TURNS_REST;
    if (t->leaving)
        turns_leave(t, t->leaving);
    else if (!t->fresh && !t->dead)
        read_state(t); /* declared dead meanwhile, and back */
    else if (r->err == ERR_OK && strcmp(r->etag, t->etag) != 0)
        read_state(t);
}

void turns_look(struct turns *t)
{
    struct engine *e = t->engine;
    if (t->state != TURNS_REST || !t->fresh)
        return;
    t->state = TURNS_LOOK;
    t->head = (struct objstore_req){.verb = OBJSTORE_HEAD,
                                    .priority = OBJSTORE_BACKGROUND,
                                    .key = GC_STATE_KEY,
                                    .patience_ns = MAX(e->lease.ttl_ns / 3, 1),
                                    .done = looked};
    objstore_submit(e->store, &t->head);
}

/* ------------------------------------------------------------------------- life */

void turns_init(struct turns *t, struct engine *e)
{
    memset(t, 0, sizeof *t);
    t->engine = e;
    holds_init(&t->holds, 0);
    t->holds.settled = settled;
    t->timer.fire = paused;
}

void turns_finish(struct turns *t)
{
    assert(t->state == TURNS_REST);
    state_read_finish(&t->read);
    condemned_clear(&t->condemned);
    condemned_clear(&t->loading);
    holds_finish(&t->holds);
}

void turns_join(struct turns *t, struct engine_step *step)
{
    assert(t->state == TURNS_REST && !t->fresh);
    t->joining = step;
    t->started_ns = loop_now_ns(t->engine->loop);
    step->complaint.text[0] = '\0';
    read_state(t);
}

void turns_died(struct turns *t)
{
    t->dead = true;
    t->fresh = false;
    t->acknowledged = 0;
    forget_all(t);
}

/* Whatever is being read was asked for before: it is read again. */
void turns_revived(struct turns *t)
{
    t->dead = false;
    if (t->state == TURNS_READ)
        state_read_cancel(&t->read);
    else if (t->state == TURNS_REST)
        read_state(t);
}

void turns_leave(struct turns *t, struct engine_step *step)
{
    t->leaving = step;
    t->fresh = false;
    timer_stop(&t->timer);
    if (t->state == TURNS_READ && !t->read.canceled) {
        state_read_cancel(&t->read);
    } else if (t->state == TURNS_LOOK) {
        objstore_cancel(&t->head);
    } else {
        t->state = TURNS_REST;
        t->leaving = NULL;
        lease_leave(&t->engine->lease, step);
    }
}

bool turns_condemned(const struct turns *t, enum object_kind kind, const struct object_name *name)
{
    return condemned_has(&t->condemned, kind, name) || condemned_has(&t->loading, kind, name);
}

void turns_learn(struct turns *t, const struct piece_ref *piece, uint32_t age)
{
    if (age != t->age)
        mark_hit("past-is-not-learned");
    else if (turns_condemned(t, OBJECT_BLOCK, &piece->object))
        mark_hit("condemned-is-not-learned");
    else
        dedup_add(t->engine->dedup, piece);
}
