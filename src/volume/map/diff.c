#include "volume/map/diff.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/map/walk.h"

#define STEPS_A_ROUND 4096u /* then others have their turn on the loop */

/* A page on the way down to `at`, and what is asked of it. */
struct diff_frame {
    struct buf *page; /* NULL: it cannot be read */
    struct page_ref ref;
    unsigned level, bases;
    uint64_t start; /* of its region */
    uint64_t end;
};

/* What a side says about `at` without another page: true up to `end`. */
struct spot {
    enum { SPOT_HOLE, SPOT_ZEROS, SPOT_PIECE, SPOT_PAGE, SPOT_UNREADABLE } kind;
    uint64_t end;
    struct piece_ref piece;
    uint32_t skip; /* of `at` in the piece */
    bool has_page;
    struct page_ref page;         /* PAGE, and UNREADABLE when it is known which */
    unsigned level, floor, bases; /* as in walk.h */
};

/* ---------------------------------------------------------------------- telling */

static bool going(const struct diff *d)
{
    return d->at < d->end && !d->enough && !d->canceled;
}

static void tell_pending(struct diff *d)
{
    if (d->pending.bytes && !d->enough && !d->canceled && !d->found(d, &d->pending))
        d->enough = true;
    d->pending.bytes = 0;
}

static void tell(struct diff *d, uint64_t end, enum difference_kind kind)
{
    struct difference *p = &d->pending;
    if (p->bytes && p->start + p->bytes == d->at && p->kind == kind) {
        p->bytes += end - d->at;
    } else {
        tell_pending(d);
        *p = (struct difference){.start = d->at, .bytes = end - d->at, .kind = kind};
    }
    d->at = end;
}

/* ---------------------------------------------------------------- what a side says */

static void spot_subtree(struct spot *s, const struct subtree *tree, unsigned level)
{
    s->level = level;
    switch (tree->kind) {
    case SUBTREE_HOLE:
        s->kind = SPOT_HOLE;
        break;
    case SUBTREE_ZEROS:
        s->kind = SPOT_ZEROS;
        break;
    case SUBTREE_PAGE:
        s->kind = SPOT_PAGE;
        s->has_page = true;
        s->page = tree->page;
        break;
    case SUBTREE_BASE:
        s->kind = SPOT_UNREADABLE;
        break;
    }
}

static void spot_base(struct spot *s, const struct diff_frame *f)
{
    s->kind = SPOT_UNREADABLE;
    if (f->bases == WALK_BASES_MAX || !page_base(f->page->data, &s->page)) {
        log_error("map", "a page lies over more than %u others", WALK_BASES_MAX);
        return;
    }
    s->kind = SPOT_PAGE;
    s->has_page = true;
    s->page = page_ref_from(s->page, &f->ref.object);
    s->level = PAGE_LEVEL_ANY;
    s->floor = f->level;
    s->bases = f->bases + 1;
}

static void spot_in_leaf(struct spot *s, const struct diff_frame *f, uint64_t at)
{
    struct leaf_extent x;
    leaf_find(f->page->data, (uint32_t)(at - f->start), &x);
    uint64_t from = f->start + x.start;
    s->end = MIN(s->end, from + x.bytes);
    switch (x.kind) {
    case EXTENT_HOLE:
        s->kind = SPOT_HOLE;
        break;
    case EXTENT_ZEROS:
        s->kind = SPOT_ZEROS;
        break;
    case EXTENT_PIECE:
        s->kind = SPOT_PIECE;
        s->piece = x.piece;
        s->skip = x.skip + (uint32_t)(at - from);
        break;
    case EXTENT_BASE:
        spot_base(s, f);
        break;
    }
}

static void spot_in_node(struct spot *s, const struct diff *d, const struct diff_frame *f)
{
    struct subtree child;
    uint64_t region = page_region(d->block_size, f->level - 1);
    unsigned i = (unsigned)((d->at - f->start) / region);
    node_child(f->page->data, i, &child);
    s->end = MIN(s->end, f->start + (i + 1) * region);
    if (child.kind == SUBTREE_BASE) {
        spot_base(s, f);
        return;
    }
    child.page = page_ref_from(child.page, &f->ref.object);
    s->bases = f->bases;
    spot_subtree(s, &child, f->level - 1);
}

static void frame_pop(struct diff_side *side)
{
    buf_unref(side->frames[--side->depth].page);
}

static struct spot look(const struct diff *d, struct diff_side *side)
{
    struct spot s = {.kind = SPOT_HOLE, .end = d->end};
    uint64_t region = page_region(d->block_size, side->root.level);
    while (side->depth && side->frames[side->depth - 1].end <= d->at)
        frame_pop(side);
    if (d->at >= MIN(side->size, region))
        return s;
    s.end = MIN(s.end, MIN(side->size, region));
    if (!side->depth) {
        spot_subtree(&s, &side->root.tree, side->root.level);
        return s;
    }
    const struct diff_frame *f = &side->frames[side->depth - 1];
    s.end = MIN(s.end, f->end);
    if (!f->page) {
        s.kind = SPOT_UNREADABLE;
        s.has_page = true;
        s.page = f->ref;
    } else if (f->level == 0) {
        spot_in_leaf(&s, f, d->at);
    } else {
        spot_in_node(&s, d, f);
    }
    return s;
}

/* ------------------------------------------------------------------- going down */

static bool is_missing(const struct diff *d, const struct page_ref *page)
{
    for (unsigned i = 0; i < MIN(d->missing_count, DIFF_MISSING_MAX); i++) {
        const struct page_ref *m = &d->missing[i];
        if (sha256_equal(&m->hash, &page->hash) && sha256_equal(&m->object.hash, &page->object.hash) &&
            m->object.turn == page->object.turn && m->offset == page->offset)
            return true;
    }
    return false;
}

static bool level_is_right(const struct diff_side *side, const struct buf *page)
{
    unsigned level = page_level(page->data, page->bytes);
    bool base = side->wanted_level == PAGE_LEVEL_ANY;
    if (level <= MAP_LEVEL_MAX && (base ? level >= side->wanted_floor : level == side->wanted_level))
        return true;
    log_error("map", "a page of level %u stands where level %u %s", level,
              base ? side->wanted_floor : side->wanted_level, base ? "or a higher one belongs" : "belongs");
    return false;
}

/* Takes over the reference; NULL when the page cannot be read. */
static void frame_push(struct diff_side *side, struct buf *page)
{
    struct diff *d = side->diff;
    if (page && !level_is_right(side, page)) {
        buf_unref(page);
        page = NULL;
    }
    if (!page && !is_missing(d, &side->wanted))
        d->missing[d->missing_count++ % DIFF_MISSING_MAX] = side->wanted;
    if (side->depth == side->room) {
        side->room = side->room ? 2 * side->room : MAP_LEVEL_MAX + 1;
        side->frames = mem_realloc(side->frames, side->room * sizeof *side->frames);
    }
    struct diff_frame *f = &side->frames[side->depth++];
    *f = (struct diff_frame){
        .page = page, .ref = side->wanted, .bases = side->wanted_bases, .end = side->wanted_end};
    if (!page)
        return;
    f->level = page_level(page->data, page->bytes);
    uint64_t region = page_region(d->block_size, f->level);
    f->start = d->at / region * region;
    f->end = MIN(f->end, f->start + region);
}

static void diff_fetched(struct fetch *);

static void enter(struct diff_side *side, const struct spot *s)
{
    struct diff *d = side->diff;
    side->wanted = s->page;
    side->wanted_level = s->level;
    side->wanted_floor = s->floor;
    side->wanted_bases = s->bases;
    side->wanted_end = s->end;
    struct buf *page = is_missing(d, &s->page) ? NULL : fetch_page_now(d->engine, &s->page);
    if (page || is_missing(d, &s->page)) {
        frame_push(side, page);
        return;
    }
    side->fetching = true;
    side->fetch = (struct fetch){.engine = d->engine, .priority = d->priority, .done = diff_fetched};
    fetch_page(&side->fetch, &side->wanted, s->level, d->block_size);
}

/* Of pages of different levels the higher one first: what is below it may be the lower one. A base may be of
 * any level. */
static void go_down(struct diff *d, const struct spot spots[2])
{
    const struct spot *a = &spots[0], *b = &spots[1];
    bool both = a->kind == SPOT_PAGE && b->kind == SPOT_PAGE;
    if (a->kind == SPOT_PAGE && (!both || a->level >= b->level))
        enter(&d->sides[0], a);
    if (b->kind == SPOT_PAGE && (!both || b->level >= a->level))
        enter(&d->sides[1], b);
}

/* -------------------------------------------------------------------- comparing */

static bool same_piece(const struct spot *a, const struct spot *b)
{
    return sha256_equal(&a->piece.hash, &b->piece.hash) && a->piece.bytes == b->piece.bytes &&
           a->skip == b->skip;
}

static void compare(struct diff *d, const struct spot *a, const struct spot *b)
{
    uint64_t end = MIN(a->end, b->end);
    bool data = a->kind == SPOT_PIECE || b->kind == SPOT_PIECE;
    if (a->kind == SPOT_UNREADABLE || b->kind == SPOT_UNREADABLE)
        tell(d, end, DIFFERENCE_UNREADABLE);
    else if (a->kind != b->kind)
        tell(d, end, data ? DIFFERENCE_CONTENT : DIFFERENCE_ALLOCATION);
    else if (data && !same_piece(a, b))
        tell(d, end, DIFFERENCE_CONTENT);
    else
        d->at = end;
}

static bool same_page(const struct spot *a, const struct spot *b)
{
    return a->has_page && b->has_page && sha256_equal(&a->page.hash, &b->page.hash);
}

static bool waiting(const struct diff *d)
{
    return d->sides[0].fetching || d->sides[1].fetching;
}

/* True at the end; false when pages are on their way or the round is over. */
static bool diff_advance(struct diff *d)
{
    for (unsigned steps = STEPS_A_ROUND; going(d); steps--) {
        if (!steps)
            return false;
        const struct spot spots[2] = {look(d, &d->sides[0]), look(d, &d->sides[1])};
        bool unreadable = spots[0].kind == SPOT_UNREADABLE || spots[1].kind == SPOT_UNREADABLE;
        bool page = spots[0].kind == SPOT_PAGE || spots[1].kind == SPOT_PAGE;
        if (same_page(&spots[0], &spots[1])) {
            d->at = MIN(spots[0].end, spots[1].end);
        } else if (page && !unreadable) {
            go_down(d, spots);
            if (waiting(d))
                return false;
        } else {
            compare(d, &spots[0], &spots[1]);
        }
    }
    return true;
}

/* ------------------------------------------------------------------ step by step */

static void diff_finish(struct diff *d)
{
    task_cancel(&d->task);
    tell_pending(d);
    for (int i = 0; i < 2; i++) {
        while (d->sides[i].depth)
            frame_pop(&d->sides[i]);
        mem_free(d->sides[i].frames);
        d->sides[i].frames = NULL;
        d->sides[i].room = 0;
    }
    d->err = d->canceled ? ERR_CANCELED : ERR_OK;
    d->done(d);
}

static void diff_step(struct diff *d)
{
    if (waiting(d))
        return;
    if (diff_advance(d))
        diff_finish(d);
    else if (!waiting(d))
        loop_post(d->engine->loop, &d->task);
}

static void diff_fetched(struct fetch *f)
{
    struct diff_side *side = CONTAINER_OF(f, struct diff_side, fetch);
    side->fetching = false;
    if (f->err == ERR_CANCELED)
        side->diff->canceled = true;
    else
        frame_push(side, f->err ? NULL : f->content);
    diff_step(side->diff);
}

static void diff_task(struct task *t)
{
    diff_step(CONTAINER_OF(t, struct diff, task));
}

void diff_start(struct diff *d)
{
    assert(d->found && d->done && d->start <= d->end && d->end <= UINT64_C(1) << 63);
    for (int i = 0; i < 2; i++) {
        struct diff_side *side = &d->sides[i];
        side->diff = d;
        side->frames = NULL;
        side->depth = side->room = 0;
        side->fetching = false;
    }
    d->at = d->start;
    d->pending = (struct difference){0};
    d->missing_count = 0;
    d->enough = d->canceled = false;
    d->task = (struct task){.run = diff_task};
    loop_post(d->engine->loop, &d->task);
}

void diff_cancel(struct diff *d)
{
    d->canceled = true;
    for (int i = 0; i < 2; i++)
        if (d->sides[i].fetching)
            fetch_cancel(&d->sides[i].fetch);
    if (!waiting(d))
        loop_post(d->engine->loop, &d->task);
}
