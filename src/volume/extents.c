#include "volume/extents.h"

#include <assert.h>

#include "base/bytes.h"
#include "base/mem.h"

#define MALLOC_OVERHEAD 16
/* A piece is shared; counting it with every extent errs on the safe side. */
#define EXTENT_COST(kind)                                                                                    \
    (sizeof(struct extent) + MALLOC_OVERHEAD +                                                               \
     ((kind) == CONTENT_PIECE ? sizeof(struct piece) + MALLOC_OVERHEAD : 0))

static int compare(const struct extent *a, const struct extent *b)
{
    return a->start < b->start ? -1 : a->start > b->start;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
RB_GENERATE_STATIC(extent_tree, extent, node, compare)
#pragma GCC diagnostic pop

struct piece *piece_create(const struct piece_ref *ref)
{
    struct piece *p = MEM_NEW(struct piece);
    p->refs = 1;
    p->ref = *ref;
    return p;
}

struct piece *piece_ref_get(struct piece *p)
{
    p->refs++;
    return p;
}

void piece_unref(struct piece *p)
{
    if (!p || --p->refs)
        return;
    hold_give(p->hold);
    mem_free(p);
}

void piece_settle(struct piece *p)
{
    struct hold *hold = p->hold;
    p->hold = NULL;
    hold_give(hold);
}

static void content_hold(const struct content *c)
{
    if (c->kind == CONTENT_DATA)
        buf_ref(c->data.buf);
    else if (c->kind == CONTENT_PIECE)
        piece_ref_get(c->piece);
}

static void content_drop(const struct content *c)
{
    if (c->kind == CONTENT_DATA)
        buf_unref(c->data.buf);
    else if (c->kind == CONTENT_PIECE)
        piece_unref(c->piece);
}

/* ------------------------------------------------------------------- nodes */

static void charge(struct extents *x, const struct extent *e)
{
    budget_take(x->budget, EXTENT_COST(e->content.kind));
    x->node_bytes += EXTENT_COST(e->content.kind);
    if (e->content.kind == CONTENT_DATA) {
        buf_recharge(e->content.data.buf, x->budget);
        x->data_bytes += e->end - e->start;
    }
    x->count++;
}

static void discharge(struct extents *x, const struct extent *e)
{
    budget_give(x->budget, EXTENT_COST(e->content.kind));
    x->node_bytes -= EXTENT_COST(e->content.kind);
    if (e->content.kind == CONTENT_DATA)
        x->data_bytes -= e->end - e->start;
    x->count--;
}

static void unlink_node(struct extents *x, struct extent *e)
{
    RB_REMOVE(extent_tree, &x->tree, e);
    discharge(x, e);
}

static void link_node(struct extents *x, struct extent *e)
{
    struct extent *clash = RB_INSERT(extent_tree, &x->tree, e);
    assert(!clash);
    (void)clash;
    charge(x, e);
}

static void free_node(struct extent *e)
{
    content_drop(&e->content);
    mem_free(e);
}

/* A small rest must not keep a large buffer in memory. */
static void copy_out_small_rest(struct extents *x, struct extent *e)
{
    struct content *c = &e->content;
    size_t bytes = (size_t)(e->end - e->start);
    if (c->kind != CONTENT_DATA || bytes * 2 >= c->data.buf->bytes)
        return;
    budget_take(x->budget, buf_cost(bytes));
    struct buf *copy = buf_create_charged(bytes, x->budget);
    memcpy(copy->data, c->data.buf->data + c->skip, bytes);
    buf_unref(c->data.buf);
    c->data.buf = copy;
    c->skip = 0;
}

static void cut_front(struct extents *x, struct extent *e, uint64_t start)
{
    uint64_t cut = start - e->start;
    discharge(x, e);
    if (e->content.kind != CONTENT_HOLE && e->content.kind != CONTENT_ZEROS)
        e->content.skip += (uint32_t)cut;
    e->start = start; /* its place in the order stays the same */
    copy_out_small_rest(x, e);
    charge(x, e);
}

static void cut_back(struct extents *x, struct extent *e, uint64_t end)
{
    discharge(x, e);
    e->end = end;
    copy_out_small_rest(x, e);
    charge(x, e);
}

/* Takes whatever is in [start, end) out, splitting what sticks out. */
static void make_room(struct extents *x, uint64_t start, uint64_t end)
{
    struct extent *e = extents_from(x, start), *next;
    for (; e && e->start < end; e = next) {
        next = extents_next(e);
        if (e->start < start && e->end > end) {
            struct extent *rest = mem_dup(e, sizeof *e);
            content_hold(&rest->content);
            cut_back(x, e, start);
            if (rest->content.kind != CONTENT_HOLE && rest->content.kind != CONTENT_ZEROS)
                rest->content.skip += (uint32_t)(end - rest->start);
            rest->start = end;
            copy_out_small_rest(x, rest);
            link_node(x, rest);
            return;
        }
        if (e->start < start) {
            cut_back(x, e, start);
        } else if (e->end > end) {
            cut_front(x, e, end);
        } else {
            unlink_node(x, e);
            free_node(e);
        }
    }
}

/* --------------------------------------------------------------- merging */

static bool continues(const struct extent *a, const struct extent *b)
{
    if (a->end != b->start || a->content.kind != b->content.kind)
        return false;
    switch (a->content.kind) {
    case CONTENT_HOLE:
    case CONTENT_ZEROS:
        return true;
    case CONTENT_PIECE:
        return a->content.piece == b->content.piece &&
               a->content.skip + (a->end - a->start) == b->content.skip;
    case CONTENT_DATA:
    case CONTENT_LOGGED:
        return false;
    }
    return false;
}

static struct extent *merge_into_previous(struct extents *x, struct extent *e)
{
    struct extent *p = RB_PREV(extent_tree, &x->tree, e);
    if (!p || !continues(p, e))
        return e;
    uint64_t end = e->end;
    unlink_node(x, e);
    free_node(e);
    p->end = end; /* not DATA: neither cost nor data_bytes change */
    return p;
}

static void merge_around(struct extents *x, struct extent *e)
{
    e = merge_into_previous(x, e);
    struct extent *next = extents_next(e);
    if (next)
        merge_into_previous(x, next);
}

/* ----------------------------------------------------------------- public */

void extents_init(struct extents *x, struct budget *budget)
{
    RB_INIT(&x->tree);
    x->budget = budget;
    x->count = x->node_bytes = 0;
    x->data_bytes = 0;
}

void extents_clear(struct extents *x)
{
    struct extent *e;
    while ((e = RB_MIN(extent_tree, &x->tree))) {
        unlink_node(x, e);
        free_node(e);
    }
}

void extents_put(struct extents *x, uint64_t start, uint64_t end, const struct content *c)
{
    assert(start < end);
    struct extent *e = MEM_NEW(struct extent);
    e->start = start;
    e->end = end;
    e->content = *c;
    content_hold(c);
    make_room(x, start, end);
    link_node(x, e);
    merge_around(x, e);
}

void extents_overlay(struct extents *x, struct extents *over)
{
    struct extent *e;
    if (extents_empty(x) && x->budget == over->budget) {
        extents_move(x, over);
        return;
    }
    while ((e = RB_MIN(extent_tree, &over->tree))) {
        unlink_node(over, e);
        make_room(x, e->start, e->end);
        link_node(x, e);
        merge_around(x, e);
    }
}

void extents_move(struct extents *to, struct extents *from)
{
    assert(extents_empty(to) && to->budget == from->budget);
    *to = *from;
    extents_init(from, to->budget);
}

void extents_settle(struct extents *x)
{
    struct extent *e;
    RB_FOREACH(e, extent_tree, &x->tree)
    if (e->content.kind == CONTENT_PIECE)
        piece_settle(e->content.piece);
}

bool extents_held(const struct extents *x)
{
    for (const struct extent *e = extents_from(x, 0); e; e = extents_next(e))
        if (e->content.kind == CONTENT_PIECE && e->content.piece->hold)
            return true;
    return false;
}

struct extent *extents_from(const struct extents *x, uint64_t at)
{
    struct extent *e = RB_ROOT(&x->tree), *found = NULL;
    while (e)
        if (e->end > at) {
            found = e;
            e = RB_LEFT(e, node);
        } else {
            e = RB_RIGHT(e, node);
        }
    return found;
}

struct extent *extents_next(const struct extent *e)
{
    union {
        const struct extent *in;
        struct extent *out;
    } u = {.in = e};
    return RB_NEXT(extent_tree, NULL, u.out);
}

void extents_stored(struct extents *x, uint64_t start, uint64_t end, uint64_t generation, struct piece *piece,
                    uint64_t piece_start)
{
    struct extent *e = extents_from(x, start), *next;
    for (; e && e->start < end; e = next) {
        next = extents_next(e);
        if (e->content.kind != CONTENT_DATA || e->content.data.generation != generation)
            continue;
        discharge(x, e);
        content_drop(&e->content);
        if (piece)
            e->content = (struct content){.kind = CONTENT_PIECE,
                                          .skip = (uint32_t)(e->start - piece_start),
                                          .piece = piece_ref_get(piece)};
        else
            e->content = (struct content){.kind = CONTENT_ZEROS};
        charge(x, e);
        merge_into_previous(x, e);
    }
}
