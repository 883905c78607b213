/* A collector: turns, one after the other, until nothing more can go. */
#include "volume/collect.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/gc/acks.h"
#include "volume/gc/remains.h"
#include "volume/gc/roots.h"
#include "volume/gc/state_read.h"
#include "volume/gc/state_write.h"
#include "volume/gc/sweep.h"

#define PATIENCE_NS (600 * NS_PER_S)
#define BEATEN_MAX  8u

struct collector {
    struct collect *collect;
    struct engine *engine;
    enum {
        COLLECTOR_READS_STATE,
        COLLECTOR_OPENS, /* swaps to a turn in which nothing is condemned yet */
        COLLECTOR_AWAITS,
        COLLECTOR_MARKS,
        COLLECTOR_SWEEPS,
        COLLECTOR_TURNS,
        COLLECTOR_TIDIES
    } state;
    bool canceled, opened;
    unsigned beaten;
    struct state_read read;
    struct names condemned[2];
    struct state_write write;
    struct acks acks;
    struct roots roots;
    struct marks *marks;
    struct sweep sweep;
    struct remains remains;
};

static void read_state(struct collector *);

static void drop_marks(struct collector *c)
{
    marks_destroy(c->marks);
    c->marks = NULL;
}

static void drop_condemned(struct collector *c)
{
    names_finish(&c->condemned[OBJECT_BLOCK]);
    names_finish(&c->condemned[OBJECT_MAP]);
}

static void finish(struct collector *c, enum err err, const struct complaint *why)
{
    struct collect *q = c->collect;
    if (why && !q->complaint.text[0])
        q->complaint = *why;
    q->err = c->canceled ? ERR_CANCELED : err;
    if (q->err && q->err != ERR_CANCELED && !q->complaint.text[0])
        complain(&q->complaint, q->err, "%s: %s", objstore_name(c->engine->store), err_text(q->err));
    drop_marks(c);
    drop_condemned(c);
    state_read_finish(&c->read);
    mem_free(c);
    q->impl = NULL;
    q->done(q);
}

static void tell(struct collector *c, enum collect_phase phase)
{
    if (c->collect->phase)
        c->collect->phase(c->collect, phase);
}

static uint32_t turn_of(const struct collector *c)
{
    return c->read.state->turn;
}

/* ------------------------------------------------------------------------ what is left over */

static void tidied(struct remains *r)
{
    struct collector *c = CONTAINER_OF(r, struct collector, remains);
    c->collect->counts.deleted_others += r->deleted;
    acks_finish(&c->acks);
    finish(c, r->err, NULL);
}

static void tidy(struct collector *c)
{
    c->state = COLLECTOR_TIDIES;
    tell(c, COLLECT_TIDIES);
    c->remains = (struct remains){.engine = c->engine,
                                  .turn = turn_of(c),
                                  .dead = c->acks.dead,
                                  .dead_count = c->acks.dead_count,
                                  .done = tidied};
    remains_start(&c->remains);
}

/* ------------------------------------------------------------------------- turning the page */

/* Somebody else has turned it: from there. */
static void beaten(struct collector *c)
{
    struct complaint why;
    if (++c->beaten <= BEATEN_MAX) {
        read_state(c);
        return;
    }
    complain(&why, ERR_CONFLICT, "somebody else collects as well, and is faster: leave it to them");
    finish(c, ERR_CONFLICT, &why);
}

static void page_turned(struct state_write *w)
{
    struct collector *c = CONTAINER_OF(w, struct collector, write);
    bool opening = c->state == COLLECTOR_OPENS;
    bool more = !opening && c->sweep.next_unmarked && !c->collect->once;
    if (!opening) {
        names_finish(&c->sweep.next[OBJECT_BLOCK]);
        names_finish(&c->sweep.next[OBJECT_MAP]);
    }
    if (w->err == ERR_OK)
        turns_look(&c->engine->turns);
    if (c->canceled || (w->err && w->err != ERR_CONFLICT)) {
        if (!opening)
            acks_finish(&c->acks);
        finish(c, w->err, NULL);
    } else if (opening || more || w->err) {
        if (!opening)
            acks_finish(&c->acks);
        if (w->err)
            beaten(c);
        else
            read_state(c);
    } else {
        c->read.state->turn++;
        tidy(c);
    }
}

static void turn_page(struct collector *c, int state, const struct names *blocks, const struct names *maps)
{
    c->state = state;
    c->write = (struct state_write){
        .engine = c->engine, .former = c->read.state, .blocks = blocks, .maps = maps, .done = page_turned};
    memcpy(c->write.etag, c->read.etag, sizeof c->write.etag);
    state_write_start(&c->write);
}

/* -------------------------------------------------------------------------------- sweeping */

static void add_counts(struct collector *c)
{
    const struct sweep_counts *s = &c->sweep.counts;
    struct collect_counts *n = &c->collect->counts;
    n->turns++;
    n->deleted_objects += s->deleted_objects;
    n->deleted_bytes += s->deleted_bytes;
    n->objects = s->objects - s->deleted_objects;
    n->bytes = s->bytes - s->deleted_bytes;
    n->live_bytes = s->live_bytes;
    n->garbage_objects = s->garbage_objects - s->deleted_objects;
    n->garbage_bytes = s->garbage_bytes - s->deleted_bytes;
}

static void swept(struct sweep *s)
{
    struct collector *c = CONTAINER_OF(s, struct collector, sweep);
    struct names *next = s->next;
    drop_marks(c);
    if (s->err || c->collect->look_only) {
        add_counts(c);
        names_finish(&next[OBJECT_BLOCK]);
        names_finish(&next[OBJECT_MAP]);
        if (!c->collect->look_only)
            acks_finish(&c->acks);
        finish(c, s->err, &s->complaint);
        return;
    }
    add_counts(c);
    log_info("gc", "turn %u: %llu of %llu objects deleted, %zu condemned for the next", turn_of(c),
             (unsigned long long)s->counts.deleted_objects, (unsigned long long)s->counts.objects,
             next[OBJECT_BLOCK].count + next[OBJECT_MAP].count);
    bool was_empty = !c->condemned[OBJECT_BLOCK].count && !c->condemned[OBJECT_MAP].count;
    bool is_empty = !next[OBJECT_BLOCK].count && !next[OBJECT_MAP].count;
    drop_condemned(c);
    if (was_empty && is_empty) {
        names_finish(&next[OBJECT_BLOCK]);
        names_finish(&next[OBJECT_MAP]);
        tidy(c);
    } else {
        turn_page(c, COLLECTOR_TURNS, &next[OBJECT_BLOCK], &next[OBJECT_MAP]);
    }
}

static void start_sweep(struct collector *c)
{
    c->state = COLLECTOR_SWEEPS;
    tell(c, COLLECT_SWEEPS);
    c->sweep = (struct sweep){.engine = c->engine,
                              .turn = turn_of(c),
                              .look_only = c->collect->look_only,
                              .condemned = {&c->condemned[OBJECT_BLOCK], &c->condemned[OBJECT_MAP]},
                              .marks = c->marks,
                              .done = swept};
    sweep_start(&c->sweep);
}

/* --------------------------------------------------------------------------------- marking */

static void page_found(struct roots *r, const struct page_ref *page)
{
    marks_map(CONTAINER_OF(r, struct collector, roots)->marks, &page->object);
}

static void piece_found(struct roots *r, const struct piece_ref *piece)
{
    marks_piece(CONTAINER_OF(r, struct collector, roots)->marks, piece);
}

static void in_doubt(struct roots *r, const char *what)
{
    struct collect *q = CONTAINER_OF(r, struct collector, roots)->collect;
    if (!q->complaint.text[0])
        complain(&q->complaint, ERR_CORRUPT, "%.300s: what it refers to is not known, so nothing is deleted",
                 what);
}

static void root_waits(struct roots *r, const char *name)
{
    struct collect *q = CONTAINER_OF(r, struct collector, roots)->collect;
    char text[300];
    snprintf(text, sizeof text, "export %s, which is being made by a fork", name);
    if (q->waits)
        q->waits(q, text);
}

static void marked(struct roots *r)
{
    struct collector *c = CONTAINER_OF(r, struct collector, roots);
    struct collect_counts *n = &c->collect->counts;
    n->exports = r->exports;
    n->pages += r->pages.pages;
    n->memory_bytes = MAX(n->memory_bytes, marks_bytes(c->marks) + digests_bytes(&r->pages.seen));
    roots_finish(r);
    enum err err = r->err ? r->err : r->doubts && !c->collect->look_only ? ERR_CORRUPT : ERR_OK;
    if (!err) {
        start_sweep(c);
        return;
    }
    if (err == ERR_CORRUPT)
        mark_hit("gc-in-doubt");
    if (!c->collect->look_only)
        acks_finish(&c->acks);
    finish(c, err, r->err ? &r->complaint : NULL);
}

static void start_marks(struct collector *c)
{
    c->state = COLLECTOR_MARKS;
    tell(c, COLLECT_MARKS);
    c->marks = marks_create();
    memset(&c->roots, 0, sizeof c->roots);
    c->roots.engine = c->engine;
    c->roots.abort_forks = !c->collect->look_only;
    c->roots.page = page_found;
    c->roots.piece = piece_found;
    c->roots.doubt = in_doubt;
    c->roots.waits = root_waits;
    c->roots.done = marked;
    roots_start(&c->roots);
}

/* ----------------------------------------------------------------- acknowledgements */

static void ack_waits(struct acks *a, const char *who)
{
    struct collect *q = CONTAINER_OF(a, struct collector, acks)->collect;
    if (q->waits)
        q->waits(q, who);
}

static void acknowledged(struct acks *a)
{
    struct collector *c = CONTAINER_OF(a, struct collector, acks);
    c->collect->counts.declared_dead += a->declared_dead;
    c->collect->counts.fenced += a->fenced;
    if (!a->err) {
        start_marks(c);
        return;
    }
    acks_finish(a);
    finish(c, a->err, &a->complaint);
}

static void await_acks(struct collector *c)
{
    c->state = COLLECTOR_AWAITS;
    tell(c, COLLECT_WAITS);
    uint64_t patience_ns = c->collect->patience_ns ? c->collect->patience_ns : PATIENCE_NS;
    c->acks = (struct acks){.engine = c->engine,
                            .turn = turn_of(c),
                            .patience_ns = patience_ns,
                            .waits = ack_waits,
                            .done = acknowledged};
    turns_look(&c->engine->turns);
    acks_start(&c->acks);
}

/* ---------------------------------------------------------------------- which turn it is */

static void take_list(struct state_read *r, const struct gc_list_view *l)
{
    struct collector *c = CONTAINER_OF(r, struct collector, read);
    struct object_name name;
    for (uint32_t i = 0; i < l->block_count; i++) {
        gc_list_block(l, i, &name);
        names_add(&c->condemned[OBJECT_BLOCK], &name);
    }
    for (uint32_t i = 0; i < l->map_count; i++) {
        gc_list_map(l, i, &name);
        names_add(&c->condemned[OBJECT_MAP], &name);
    }
}

static void state_was_read(struct state_read *r)
{
    struct collector *c = CONTAINER_OF(r, struct collector, read);
    static const struct names none;
    if (r->err == ERR_NOTFOUND && !c->canceled) {
        beaten(c); /* its lists are gone: so is the turn */
        return;
    }
    if (r->err || c->canceled) {
        finish(c, r->err, &r->complaint);
        return;
    }
    names_sort(&c->condemned[OBJECT_BLOCK]);
    names_sort(&c->condemned[OBJECT_MAP]);
    bool empty = !c->condemned[OBJECT_BLOCK].count && !c->condemned[OBJECT_MAP].count;
    if (c->collect->look_only) {
        start_marks(c);
    } else if (!c->opened && empty) {
        c->opened = true;
        turn_page(c, COLLECTOR_OPENS, &none, &none);
    } else {
        c->opened = true;
        await_acks(c);
    }
}

static void read_state(struct collector *c)
{
    c->state = COLLECTOR_READS_STATE;
    drop_condemned(c);
    c->read.engine = c->engine;
    c->read.list = take_list;
    c->read.done = state_was_read;
    c->read.patience_ns = 0;
    state_read_start(&c->read);
}

/* ------------------------------------------------------------------------------ public */

void collect_start(struct collect *q)
{
    assert(q->done);
    struct collector *c = MEM_NEW(struct collector);
    c->collect = q;
    c->engine = q->engine;
    q->impl = c;
    q->err = ERR_OK;
    q->complaint.text[0] = '\0';
    memset(&q->counts, 0, sizeof q->counts);
    read_state(c);
}

void collect_cancel(struct collect *q)
{
    struct collector *c = q->impl;
    if (!c || c->canceled)
        return;
    c->canceled = true;
    switch (c->state) {
    case COLLECTOR_READS_STATE:
        state_read_cancel(&c->read);
        return;
    case COLLECTOR_OPENS:
    case COLLECTOR_TURNS:
        state_write_cancel(&c->write);
        return;
    case COLLECTOR_AWAITS:
        acks_cancel(&c->acks);
        return;
    case COLLECTOR_MARKS:
        roots_cancel(&c->roots);
        return;
    case COLLECTOR_SWEEPS:
        sweep_cancel(&c->sweep);
        return;
    case COLLECTOR_TIDIES:
        remains_cancel(&c->remains);
        return;
    }
}
