#include "base/budget.h"

#include <assert.h>

void budget_init(struct budget *b, size_t limit, void (*room)(struct budget *))
{
    b->limit = limit;
    b->used = 0;
    b->room = room;
    list_init(&b->waiters);
}

static bool fits(const struct budget *b, size_t bytes)
{
    return b->used == 0 || (b->used <= b->limit && bytes <= b->limit - b->used);
}

bool budget_try(struct budget *b, size_t bytes)
{
    if (!list_empty(&b->waiters) || !fits(b, bytes))
        return false;
    b->used += bytes;
    return true;
}

void budget_take(struct budget *b, size_t bytes)
{
    b->used += bytes;
}

void budget_give(struct budget *b, size_t bytes)
{
    assert(bytes <= b->used);
    b->used -= bytes;
    if (bytes && b->room && !list_empty(&b->waiters))
        b->room(b);
}

void budget_wait(struct budget *b, struct budget_wait *w)
{
    list_push(&b->waiters, &w->link);
    if (b->room && fits(b, w->bytes))
        b->room(b);
}

void budget_unwait(struct budget *b, struct budget_wait *w)
{
    list_remove(&w->link);
    if (b->room && !list_empty(&b->waiters))
        b->room(b);
}

void budget_serve(struct budget *b)
{
    struct link *k;
    while ((k = list_first(&b->waiters))) {
        struct budget_wait *w = CONTAINER_OF(k, struct budget_wait, link);
        if (!fits(b, w->bytes))
            return;
        list_remove(k);
        b->used += w->bytes;
        w->granted(w);
    }
}
