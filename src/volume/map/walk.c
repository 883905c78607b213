#include "volume/map/walk.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mark.h"
#include "volume/engine_state.h"

#define PAGES_A_ROUND 64u /* then others have their turn on the loop */

/* ---------------------------------------------------------------------- telling */

static void tell(struct walk *w, const struct place *p)
{
    assert(p->start == w->at && p->bytes > 0);
    w->at += p->bytes;
    if (!w->found(w, p))
        w->enough = true;
}

static void tell_kind(struct walk *w, enum place_kind kind, uint64_t end)
{
    tell(w, &(struct place){.start = w->at, .bytes = end - w->at, .kind = kind});
}

static void tell_unreadable(struct walk *w)
{
    w->descending = false;
    tell_kind(w, PLACE_UNREADABLE, w->spot.end);
}

static bool going(const struct walk *w)
{
    return w->at < w->end && !w->enough && !w->canceled;
}

/* --------------------------------------------------------------- unreadable pages */

static bool same_page(const struct page_ref *a, const struct page_ref *b)
{
    return sha256_equal(&a->hash, &b->hash) && sha256_equal(&a->object.hash, &b->object.hash) &&
           a->object.turn == b->object.turn && a->offset == b->offset;
}

static bool is_missing(const struct walk *w)
{
    for (unsigned i = 0; i < MIN(w->missing_count, WALK_MISSING_MAX); i++)
        if (same_page(&w->missing[i], &w->spot.page))
            return true;
    return false;
}

static void remember_missing(struct walk *w)
{
    w->missing[w->missing_count++ % WALK_MISSING_MAX] = w->spot.page;
}

/* ------------------------------------------------------------------- going down */

static void enter(struct walk *w, const struct page_ref *page, unsigned level, uint64_t end)
{
    w->spot.page = *page;
    w->spot.level = level;
    w->spot.end = end;
    w->descending = true;
}

static void follow_base(struct walk *w, const void *page, unsigned level, uint64_t end)
{
    struct page_ref base;
    w->spot.end = end;
    if (w->spot.bases == WALK_BASES_MAX || !page_base(page, &base)) {
        log_error("map", "a page lies over more than %u others", WALK_BASES_MAX);
        tell_unreadable(w);
        return;
    }
    mark_hit("walk.base");
    w->spot.bases++;
    w->spot.floor = level;
    base = page_ref_from(base, &w->spot.page.object);
    enter(w, &base, PAGE_LEVEL_ANY, end);
}

static void walk_root(struct walk *w)
{
    const struct subtree *tree = &w->root->tree;
    uint64_t region = page_region(w->block_size, w->root->level);
    if (w->at >= region) {
        tell_kind(w, PLACE_HOLE, w->end);
        return;
    }
    w->spot.bases = 0;
    w->spot.end = MIN(w->end, region);
    if (tree->kind == SUBTREE_PAGE)
        enter(w, &tree->page, w->root->level, w->spot.end);
    else if (tree->kind == SUBTREE_BASE)
        tell_unreadable(w);
    else
        tell_kind(w, tree->kind == SUBTREE_ZEROS ? PLACE_ZEROS : PLACE_HOLE, w->spot.end);
}

static void walk_leaf(struct walk *w, const void *page, uint64_t start, uint64_t end)
{
    while (going(w) && w->at < end) {
        struct leaf_extent x;
        leaf_find(page, (uint32_t)(w->at - start), &x);
        uint64_t from = start + x.start, to = MIN(end, from + x.bytes);
        if (x.kind == EXTENT_BASE) {
            follow_base(w, page, 0, to);
            return;
        }
        struct place p = {.start = w->at, .bytes = to - w->at};
        if (x.kind == EXTENT_PIECE) {
            p.kind = PLACE_PIECE;
            p.piece = x.piece;
            p.skip = x.skip + (uint32_t)(w->at - from);
        } else {
            p.kind = x.kind == EXTENT_ZEROS ? PLACE_ZEROS : PLACE_HOLE;
        }
        tell(w, &p);
    }
    w->descending = false;
}

static void walk_node(struct walk *w, const void *page, unsigned level, uint64_t start, uint64_t end)
{
    uint64_t region = page_region(w->block_size, level - 1);
    while (going(w) && w->at < end) {
        struct subtree child, next;
        unsigned i = (unsigned)((w->at - start) / region);
        uint64_t to = MIN(end, start + (i + 1) * region);
        node_child(page, i, &child);
        if (child.kind == SUBTREE_PAGE) {
            struct page_ref below = page_ref_from(child.page, &w->spot.page.object);
            enter(w, &below, level - 1, to);
            return;
        }
        if (child.kind == SUBTREE_BASE) {
            follow_base(w, page, level, to);
            return;
        }
        for (; to < end; to = MIN(end, to + region)) {
            node_child(page, ++i, &next);
            if (next.kind != child.kind)
                break;
        }
        tell_kind(w, child.kind == SUBTREE_ZEROS ? PLACE_ZEROS : PLACE_HOLE, to);
    }
    w->descending = false;
}

static void walk_page(struct walk *w, const struct buf *page)
{
    unsigned level = page_level(page->data, page->bytes);
    bool base = w->spot.level == PAGE_LEVEL_ANY;
    if (level > MAP_LEVEL_MAX || (base ? level < w->spot.floor : level != w->spot.level)) {
        log_error("map", "a page of level %u stands where level %u %s", level,
                  base ? w->spot.floor : w->spot.level, base ? "or a higher one belongs" : "belongs");
        remember_missing(w);
        tell_unreadable(w);
        return;
    }
    uint64_t region = page_region(w->block_size, level);
    uint64_t start = w->at / region * region;
    if (level == 0)
        walk_leaf(w, page->data, start, MIN(w->spot.end, start + region));
    else
        walk_node(w, page->data, level, start, MIN(w->spot.end, start + region));
}

/* True at the end; false when the spot's page is not at hand (waiting is set) or the round is over. */
static bool walk_advance(struct walk *w, unsigned pages)
{
    while (going(w)) {
        if (!w->descending) {
            walk_root(w);
            continue;
        }
        if (is_missing(w)) {
            tell_unreadable(w);
            continue;
        }
        if (pages-- == 0)
            return false;
        struct buf *page = w->page ? w->page : fetch_page_now(w->engine, &w->spot.page);
        w->page = NULL;
        if (!page) {
            w->waiting = true;
            return false;
        }
        walk_page(w, page);
        buf_unref(page);
    }
    return true;
}

/* ------------------------------------------------------------------- step by step */

static void walk_finish(struct walk *w)
{
    task_cancel(&w->task);
    buf_unref(w->page);
    w->page = NULL;
    w->err = w->canceled ? ERR_CANCELED : ERR_OK;
    w->done(w);
}

static void walk_fetched(struct fetch *);

static void walk_step(struct walk *w)
{
    if (walk_advance(w, PAGES_A_ROUND)) {
        walk_finish(w);
    } else if (w->waiting) {
        w->fetch = (struct fetch){.engine = w->engine, .priority = w->priority, .done = walk_fetched};
        fetch_page(&w->fetch, &w->spot.page, w->spot.level, w->block_size);
    } else {
        loop_post(w->engine->loop, &w->task);
    }
}

static void walk_fetched(struct fetch *f)
{
    struct walk *w = CONTAINER_OF(f, struct walk, fetch);
    w->waiting = false;
    if (f->err == ERR_OK)
        w->page = f->content;
    else if (f->err == ERR_CANCELED)
        w->canceled = true;
    else
        remember_missing(w);
    walk_step(w);
}

static void walk_task(struct task *t)
{
    walk_step(CONTAINER_OF(t, struct walk, task));
}

static void walk_init(struct walk *w)
{
    assert(w->start <= w->end && w->end <= UINT64_C(1) << 63);
    w->at = w->start;
    w->spot = (struct walk_spot){0};
    w->page = NULL;
    w->missing_count = 0;
    w->descending = w->enough = w->waiting = w->canceled = false;
    memset(&w->task, 0, sizeof w->task);
    w->task.run = walk_task;
}

void walk_start(struct walk *w)
{
    assert(w->done && w->found);
    walk_init(w);
    loop_post(w->engine->loop, &w->task);
}

void walk_cancel(struct walk *w)
{
    w->canceled = true;
    if (w->waiting)
        fetch_cancel(&w->fetch);
    else
        loop_post(w->engine->loop, &w->task);
}

bool walk_now(struct walk *w)
{
    walk_init(w);
    bool found_all = walk_advance(w, UINT_MAX);
    w->waiting = false;
    return found_all;
}
