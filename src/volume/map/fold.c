#include "volume/map/fold.h"

#include <assert.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/map/fold_leaf.h"

/* A node on the way down, with its children as they will be. Frame 0 is not a page: its only child is the
 * root. */
struct fold_frame {
    unsigned level;
    uint64_t start;           /* of its region */
    struct subtree *children; /* PAGE_CHILDREN; one that was written now is `self`, its object by number: */
    uint32_t *object_numbers;
    unsigned next; /* children before it are done */
    bool has_base;
    struct page_ref base; /* unreadable: what is not said here is as there */
};

/* NEXT_CHILD looks for work in the topmost frame; the others wait for something to come. */
enum { NEXT_CHILD, LOADING_NODE, LOADING_LEAF, STORING, ENDED };

static void fold_step(struct fold *);

static void task_run(struct task *t)
{
    fold_step(CONTAINER_OF(t, struct fold, task));
}

static struct fold_frame *top(struct fold *f)
{
    return &f->frames[f->depth - 1];
}

static uint64_t child_region(const struct fold *f, const struct fold_frame *frame)
{
    return page_region(f->volume->params.block_size, frame->level - 1);
}

static uint64_t child_start(const struct fold *f, const struct fold_frame *frame)
{
    return frame->start + frame->next * child_region(f, frame);
}

/* ------------------------------------------------------------------- map objects */

static void stored(struct objstore_req *r);

static void put_object(struct fold *f)
{
    f->object_name = (struct object_name){.hash = f->object_hash, .turn = f->volume->engine->turn};
    key_map(&f->key, &f->object_name);
    f->body = (struct iovec){.iov_base = f->object->data, .iov_len = f->object_bytes};
    f->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = f->key.text,
                                   .body = &f->body,
                                   .body_count = 1,
                                   .sha256 = &f->object_hash,
                                   .condition = OBJSTORE_ANY,
                                   .done = stored};
    objstore_submit(f->volume->engine->store, &f->req);
}

static void hash_object(struct job *j)
{
    struct fold *f = CONTAINER_OF(j, struct fold, job);
    f->object_hash = sha256_of(f->object->data, f->object_bytes);
}

static void hashed(struct job *j)
{
    struct fold *f = CONTAINER_OF(j, struct fold, job);
    if (!f->canceled) {
        put_object(f);
        return;
    }
    f->busy = false;
    fold_step(f);
}

static void store_object(struct fold *f)
{
    f->state = STORING;
    f->busy = true;
    f->job = (struct job){.work = hash_object, .done = hashed};
    job_start(f->volume->engine->loop, &f->job);
}

static void retry_put(struct timer *t)
{
    struct fold *f = CONTAINER_OF(t, struct fold, retry);
    f->busy = true;
    put_object(f);
}

static void stored(struct objstore_req *r)
{
    struct fold *f = CONTAINER_OF(r, struct fold, req);
    struct engine *e = f->volume->engine;
    f->busy = false;
    if (r->err && !f->canceled) {
        e->store_full |= r->err == ERR_NOSPACE;
        f->retry.fire = retry_put;
        timer_start(e->loop, &f->retry, RETRY_NS);
        return;
    }
    if (!r->err) {
        mark_hit("map-stored");
        e->store_full = false;
        f->stored = mem_realloc(f->stored, (f->object_number + 1) * sizeof *f->stored);
        f->stored[f->object_number++] = f->object_name;
        f->object_bytes = 0;
    }
    f->state = NEXT_CHILD;
    fold_step(f);
}

/* There is room for `bytes` more in the object at hand; else it has to be stored first. */
static bool has_room(const struct fold *f, size_t bytes)
{
    return !f->object_bytes || f->object_bytes + bytes <= MAP_OBJECT_BYTES;
}

static void make_space(struct fold *f, size_t bytes)
{
    size_t room = MAX(f->object_bytes + bytes, MAP_OBJECT_BYTES);
    if (f->object && f->object->bytes >= f->object_bytes + bytes)
        return;
    struct buf *larger = buf_create(room);
    if (f->object)
        memcpy(larger->data, f->object->data, f->object_bytes);
    buf_unref(f->object);
    f->object = larger;
}

static struct subtree append_page(struct fold *f, struct buf *page)
{
    struct subtree t = {.kind = SUBTREE_PAGE, .sums = page_sums(page->data)};
    t.page.self = true;
    t.page.offset = (uint32_t)f->object_bytes;
    t.page.bytes = (uint32_t)page->bytes;
    t.page.hash = sha256_of(page->data, page->bytes);
    make_space(f, page->bytes);
    memcpy(f->object->data + f->object_bytes, page->data, page->bytes);
    f->object_bytes += page->bytes;
    cache_put(f->volume->engine->cache, &t.page.hash, page);
    return t;
}

/* As the parent is to name it: self only in the object that is still being filled. */
static struct subtree named(const struct fold *f, struct subtree t, uint32_t object_number)
{
    if (t.kind == SUBTREE_PAGE && t.page.self && object_number < f->object_number) {
        t.page.object = f->stored[object_number];
        t.page.self = false;
    }
    return t;
}

static void child_done(struct fold *f, struct subtree t)
{
    struct fold_frame *frame = top(f);
    frame->children[frame->next] = t;
    frame->object_numbers[frame->next] = f->object_number;
    frame->next++;
}

/* --------------------------------------------------------------------------- leaves */

static const struct page_ref *nearest_base(const struct fold *f)
{
    for (unsigned i = f->depth; i > 0; i--)
        if (f->frames[i - 1].has_base)
            return &f->frames[i - 1].base;
    return NULL;
}

/* The old leaf is at hand (f->page), or there is none, or it cannot be read. */
static void write_leaf(struct fold *f, bool unreadable)
{
    struct fold_frame *frame = top(f);
    const struct subtree *old = &frame->children[frame->next];
    struct page_ref base;
    struct buf *page = NULL;
    struct fold_leaf leaf = {.name = f->volume->name,
                             .builder = f->builder,
                             .changes = &f->volume->folding,
                             .block_size = f->volume->params.block_size,
                             .region = child_start(f, frame),
                             .old = f->page ? f->page->data : NULL,
                             .old_kind = old->kind};
    leaf.size = (uint32_t)MIN(child_region(f, frame), f->volume->params.size - leaf.region);
    if (unreadable)
        leaf.base = &old->page;
    else if (old->kind == SUBTREE_BASE)
        leaf.base = nearest_base(f);
    else if (f->page && page_base(f->page->data, &base))
        leaf.base = &base;
    struct subtree t = {.kind = fold_leaf(&leaf, &page)};
    buf_unref(f->page);
    f->page = NULL;
    if (t.kind == SUBTREE_PAGE)
        t = append_page(f, page);
    buf_unref(page);
    child_done(f, t);
}

/* ---------------------------------------------------------------------------- nodes */

static void push_frame(struct fold *f, unsigned level, uint64_t start)
{
    struct fold_frame *frame = &f->frames[f->depth++];
    assert(f->depth <= MAP_LEVEL_MAX + 2);
    if (!frame->children) {
        frame->children = MEM_ARRAY(struct subtree, PAGE_CHILDREN);
        frame->object_numbers = MEM_ARRAY(uint32_t, PAGE_CHILDREN);
    }
    frame->level = level;
    frame->start = start;
    frame->next = 0;
    frame->has_base = false;
}

/* The old node is at hand (f->page), or there is none, or it cannot be read. */
static void enter_node(struct fold *f, bool unreadable)
{
    struct fold_frame *parent = top(f);
    struct subtree old = parent->children[parent->next];
    const struct page_ref *inherited = old.kind == SUBTREE_BASE ? nearest_base(f) : NULL;
    struct page_ref base = inherited ? *inherited : old.page;
    push_frame(f, parent->level - 1, child_start(f, parent));
    struct fold_frame *frame = top(f);
    frame->has_base = unreadable || inherited || (f->page && page_base(f->page->data, &base));
    frame->base = base;
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        frame->children[i] = (struct subtree){.kind = frame->has_base ? SUBTREE_BASE : old.kind};
        if (f->page) {
            node_child(f->page->data, i, &frame->children[i]);
            frame->children[i].page = page_ref_from(frame->children[i].page, &old.page.object);
        }
        frame->object_numbers[i] = 0;
    }
    buf_unref(f->page);
    f->page = NULL;
}

static bool all_are(const struct fold_frame *frame, enum subtree_kind kind)
{
    for (unsigned i = 0; i < PAGE_CHILDREN; i++)
        if (frame->children[i].kind != kind)
            return false;
    return true;
}

/* All its children are done: it becomes a child of the frame above. False: the object at hand has to be
 * stored first. */
static bool leave_node(struct fold *f)
{
    struct fold_frame *frame = top(f);
    struct subtree t = {.kind = SUBTREE_HOLE};
    if (!has_room(f, PAGE_BYTES_MAX))
        return false;
    if (all_are(frame, SUBTREE_ZEROS))
        t.kind = SUBTREE_ZEROS;
    else if (frame->has_base || !all_are(frame, SUBTREE_HOLE)) {
        for (unsigned i = 0; i < PAGE_CHILDREN; i++)
            frame->children[i] = named(f, frame->children[i], frame->object_numbers[i]);
        struct buf *page = node_encode(f->volume->params.block_size, frame->level, frame->children,
                                       frame->has_base ? &frame->base : NULL);
        t = append_page(f, page);
        buf_unref(page);
    }
    f->depth--;
    child_done(f, t);
    return true;
}

/* ---------------------------------------------------------------------- the way through */

static void loaded(struct fetch *fetch)
{
    struct fold *f = CONTAINER_OF(fetch, struct fold, fetch);
    f->busy = false;
    bool unreadable = fetch->err != ERR_OK;
    f->page = unreadable ? NULL : fetch->content;
    if (!f->canceled && unreadable)
        mark_hit("fold-over-unreadable-page");
    if (!f->canceled && f->state == LOADING_LEAF)
        write_leaf(f, unreadable);
    else if (!f->canceled)
        enter_node(f, unreadable);
    f->state = NEXT_CHILD;
    fold_step(f);
}

/* True: at hand now. */
static bool load(struct fold *f, const struct subtree *old, unsigned level)
{
    if (old->kind != SUBTREE_PAGE)
        return true;
    assert(!old->page.self);
    f->page = fetch_page_now(f->volume->engine, &old->page);
    if (f->page)
        return true;
    f->state = level ? LOADING_NODE : LOADING_LEAF;
    f->busy = true;
    f->fetch = (struct fetch){.engine = f->volume->engine, .priority = OBJSTORE_BACKGROUND, .done = loaded};
    fetch_page(&f->fetch, &old->page, level, f->volume->params.block_size);
    return false;
}

static bool covered(const struct extent *e, uint64_t start, uint64_t end)
{
    return e->start <= start && e->end >= end &&
           (e->content.kind == CONTENT_HOLE || e->content.kind == CONTENT_ZEROS);
}

/* Moves frame->next on to the first child with changes in it; false when there is none left. */
static bool find_child(struct fold *f)
{
    struct fold_frame *frame = top(f);
    unsigned children = f->depth == 1 ? 1 : PAGE_CHILDREN;
    if (frame->next >= children)
        return false;
    const struct extent *e = extents_from(&f->volume->folding, child_start(f, frame));
    if (!e)
        return false;
    if (e->start > child_start(f, frame)) {
        uint64_t ahead = (e->start - frame->start) / child_region(f, frame);
        if (ahead >= children)
            return false;
        frame->next = (unsigned)ahead;
    }
    return true;
}

/* One step down, along or up. False: waits, or is done. */
static bool advance(struct fold *f)
{
    struct fold_frame *frame = top(f);
    if (!find_child(f)) {
        if (f->depth == 1)
            return false;
        if (leave_node(f))
            return true;
        store_object(f);
        return false;
    }
    uint64_t start = child_start(f, frame), region = child_region(f, frame), size = f->volume->params.size;
    const struct extent *e = extents_from(&f->volume->folding, start);
    if (covered(e, start, MIN(start + region, size))) {
        child_done(f,
                   (struct subtree){.kind = e->content.kind == CONTENT_HOLE ? SUBTREE_HOLE : SUBTREE_ZEROS});
        return true;
    }
    unsigned level = frame->level - 1;
    if (!has_room(f, PAGE_BYTES_MAX)) {
        store_object(f);
        return false;
    }
    if (!load(f, &frame->children[frame->next], level))
        return false;
    if (level)
        enter_node(f, false);
    else
        write_leaf(f, false);
    return true;
}

static void finish(struct fold *f)
{
    f->state = ENDED;
    f->err = f->canceled ? ERR_CANCELED : ERR_OK;
    if (!f->err)
        f->root = (struct map_root){
            .level = f->level, .tree = named(f, f->frames[0].children[0], f->frames[0].object_numbers[0])};
    for (unsigned i = 0; i < MAP_LEVEL_MAX + 2; i++) {
        mem_free(f->frames[i].children);
        mem_free(f->frames[i].object_numbers);
    }
    mem_free(f->frames);
    mem_free(f->stored);
    buf_unref(f->object);
    buf_unref(f->page);
    leaf_builder_destroy(f->builder);
    timer_stop(&f->retry);
    f->done(f);
}

static void fold_step(struct fold *f)
{
    if (f->busy || f->state == ENDED)
        return;
    while (!f->canceled && f->state == NEXT_CHILD && advance(f))
        ;
    if (!f->canceled && f->state != NEXT_CHILD)
        return;
    if (!f->canceled && f->object_bytes)
        store_object(f);
    else
        finish(f);
}

/* An old root below the new one's level is the first child of the first child ... of a node where
 * nothing else is. */
static void enter_root(struct fold *f)
{
    const struct map_root *old = &f->volume->root;
    push_frame(f, f->level + 1, 0);
    f->frames[0].children[0] = (struct subtree){.kind = SUBTREE_HOLE};
    for (unsigned level = f->level; level > old->level && old->tree.kind != SUBTREE_HOLE; level--) {
        push_frame(f, level, 0);
        struct fold_frame *frame = top(f);
        for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
            frame->children[i] = (struct subtree){.kind = SUBTREE_HOLE};
            frame->object_numbers[i] = 0;
        }
    }
    top(f)->children[0] = old->tree;
}

void fold_start(struct fold *f)
{
    struct volume *v = f->volume;
    f->frames = MEM_ARRAY(struct fold_frame, MAP_LEVEL_MAX + 2);
    f->depth = 0;
    f->builder = leaf_builder_create(v->params.block_size);
    f->page = f->object = NULL;
    f->object_bytes = 0;
    f->object_number = 0;
    f->stored = NULL;
    f->canceled = f->busy = false;
    enter_root(f);
    f->state = NEXT_CHILD;
    f->task = (struct task){.run = task_run};
    loop_post(v->engine->loop, &f->task);
}

void fold_cancel(struct fold *f)
{
    if (f->state == ENDED)
        return;
    f->canceled = true;
    timer_stop(&f->retry);
    if (f->state == LOADING_NODE || f->state == LOADING_LEAF)
        fetch_cancel(&f->fetch);
    else if (f->state == STORING && f->busy)
        objstore_cancel(&f->req);
    else
        loop_post(f->volume->engine->loop, &f->task);
}
