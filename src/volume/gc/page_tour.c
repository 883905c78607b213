#include "volume/gc/page_tour.h"

#include <assert.h>

#include "base/mem.h"
#include "volume/engine_state.h"

static void go_on(struct page_tour *t)
{
    loop_post(t->engine->loop, &t->task);
}

static void add(struct page_tour *t, const struct page_ref *page, unsigned level, uint32_t block_size)
{
    t->reference(t, page);
    if (!digests_add(&t->seen, &page->hash))
        return;
    struct page_want *w = MEM_NEW(struct page_want);
    *w = (struct page_want){.page = *page, .level = level, .block_size = block_size, .next = t->waiting};
    t->waiting = w;
    t->waiting_count++;
}

static void visit_leaf(struct page_tour *t, const uint8_t *page)
{
    for (uint32_t i = 0, n = leaf_pieces(page); i < n; i++) {
        struct piece_ref piece;
        leaf_piece(page, i, &piece);
        t->piece(t, &piece);
    }
}

static void visit_node(struct page_tour *t, const struct page_want *v, const uint8_t *page, unsigned level)
{
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        struct subtree child;
        node_child(page, i, &child);
        if (child.kind != SUBTREE_PAGE)
            continue;
        struct page_ref ref = page_ref_from(child.page, &v->page.object);
        add(t, &ref, level - 1, v->block_size);
    }
}

static void visit(struct page_tour *t, const struct page_want *v, const struct buf *content)
{
    const uint8_t *page = content->data;
    unsigned level = page_level(page, content->bytes);
    struct page_ref base;
    t->pages++;
    if (page_base(page, &base)) {
        base = page_ref_from(base, &v->page.object);
        add(t, &base, PAGE_LEVEL_ANY, v->block_size);
    }
    if (level)
        visit_node(t, v, page, level);
    else
        visit_leaf(t, page);
}

static void loaded(struct fetch *f)
{
    struct page_visit *v = CONTAINER_OF(f, struct page_visit, fetch);
    struct page_tour *t = v->tour;
    t->under_way--;
    if (f->err == ERR_OK) {
        if (!t->canceled)
            visit(t, &v->want, f->content);
        buf_unref(f->content);
    } else if (!t->canceled) {
        t->unreadable(t, &v->want.page, f->err);
    }
    f->content = NULL;
    v->next = t->idle;
    t->idle = v;
    go_on(t);
}

static struct page_want take_waiting(struct page_tour *t)
{
    struct page_want *first = t->waiting, w = *first;
    t->waiting = first->next;
    t->waiting_count--;
    mem_free(first);
    return w;
}

static void begin(struct page_tour *t)
{
    struct page_visit *v = t->idle;
    t->idle = v->next;
    v->want = take_waiting(t);
    v->tour = t;
    v->fetch = (struct fetch){.engine = t->engine, .priority = OBJSTORE_BACKGROUND, .done = loaded};
    t->under_way++;
    fetch_page(&v->fetch, &v->want.page, v->want.level, v->want.block_size);
}

static void drop_waiting(struct page_tour *t)
{
    while (t->waiting)
        take_waiting(t);
}

static void run(struct task *task)
{
    struct page_tour *t = CONTAINER_OF(task, struct page_tour, task);
    if (t->canceled)
        drop_waiting(t);
    while (t->waiting && t->idle)
        begin(t);
    if (t->under_way || t->waiting || !t->running)
        return;
    t->running = false;
    t->done(t);
}

void page_tour_init(struct page_tour *t)
{
    assert(t->reference && t->piece && t->unreadable && t->done);
    t->seen = (struct digests){0};
    t->pages = 0;
    t->idle = NULL;
    t->waiting = NULL;
    t->waiting_count = 0;
    for (unsigned i = 0; i < PAGE_TOUR_GETS; i++) {
        t->gets[i].next = t->idle;
        t->idle = &t->gets[i];
    }
    t->under_way = 0;
    t->task = (struct task){.run = run};
    t->running = t->canceled = false;
}

void page_tour_add(struct page_tour *t, const struct map_root *root, uint32_t block_size)
{
    if (root->tree.kind != SUBTREE_PAGE)
        return;
    add(t, &root->tree.page, root->level, block_size);
    if (t->running)
        go_on(t);
}

void page_tour_run(struct page_tour *t)
{
    assert(!t->running);
    t->running = true;
    t->canceled = false;
    go_on(t);
}

void page_tour_cancel(struct page_tour *t)
{
    if (!t->running)
        return;
    t->canceled = true;
    for (unsigned i = 0; i < PAGE_TOUR_GETS; i++)
        if (t->gets[i].fetch.flight)
            fetch_cancel(&t->gets[i].fetch);
    go_on(t);
}

void page_tour_finish(struct page_tour *t)
{
    assert(!t->running && !t->under_way);
    task_cancel(&t->task);
    drop_waiting(t);
    digests_finish(&t->seen);
}
