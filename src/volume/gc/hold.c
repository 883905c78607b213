#include "volume/gc/hold.h"

#include <assert.h>

#include "base/mem.h"

static struct hold *present(const struct holds *h)
{
    return LIST_ENTRY(list_last(&h->turns), struct hold, link);
}

static void add_turn(struct holds *h, uint32_t turn)
{
    struct hold *t = MEM_NEW(struct hold);
    t->of = h;
    t->turn = turn;
    list_push(&h->turns, &t->link);
}

static void drop(struct hold *t)
{
    list_remove(&t->link);
    mem_free(t);
}

void holds_init(struct holds *h, uint32_t turn)
{
    list_init(&h->turns);
    h->settled = NULL;
    add_turn(h, turn);
}

void holds_finish(struct holds *h)
{
    struct link *k;
    while ((k = list_first(&h->turns)))
        drop(CONTAINER_OF(k, struct hold, link));
}

void holds_turn(struct holds *h, uint32_t turn)
{
    struct hold *former = present(h);
    assert(turn >= former->turn);
    add_turn(h, turn);
    if (!former->count)
        drop(former);
}

uint32_t holds_oldest(const struct holds *h)
{
    return CONTAINER_OF(list_first(&h->turns), struct hold, link)->turn; /* the present one is always there */
}

struct hold *hold_take(struct holds *h)
{
    return hold_share(present(h));
}

struct hold *hold_share(struct hold *t)
{
    if (t)
        t->count++;
    return t;
}

void hold_give(struct hold *t)
{
    if (!t)
        return;
    struct holds *h = t->of;
    assert(t->count > 0);
    if (--t->count || t == present(h))
        return;
    drop(t);
    if (h->settled)
        h->settled(h);
}
