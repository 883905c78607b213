#include "base/buf.h"

#include <assert.h>

#include "base/mem.h"

size_t buf_cost(size_t bytes)
{
    return sizeof(struct buf) + bytes;
}

struct buf *buf_create(size_t bytes)
{
    return buf_create_charged(bytes, NULL);
}

struct buf *buf_create_charged(size_t bytes, struct budget *budget)
{
    struct buf *b = mem_alloc(sizeof *b + bytes);
    atomic_init(&b->refs, 1);
    b->budget = budget;
    b->bytes = bytes;
    return b;
}

struct buf *buf_ref(struct buf *b)
{
    atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    return b;
}

void buf_unref(struct buf *b)
{
    if (!b)
        return;
    unsigned before = atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before > 1)
        return;
    if (b->budget)
        budget_give(b->budget, buf_cost(b->bytes));
    mem_free(b);
}

void buf_recharge(struct buf *b, struct budget *to)
{
    if (b->budget == to)
        return;
    if (to)
        budget_take(to, buf_cost(b->bytes));
    if (b->budget)
        budget_give(b->budget, buf_cost(b->bytes));
    b->budget = to;
}
