/* budget.h - a bound on memory: bytes are taken before they are allocated and given back when they are freed.
 *
 * Waiters are served in order, so a large one is not starved by small ones. Not thread-safe: one loop thread
 * owns it.
 */
#ifndef BASE_BUDGET_H
#define BASE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"

struct budget {
    size_t limit, used;
    struct list waiters;
    /* Called when bytes came back while somebody waits. It may run deep inside other code: it arranges for
     * budget_serve to be called later, from the loop, and does nothing else. */
    void (*room)(struct budget *);
};

struct budget_wait {
    struct link link;
    size_t bytes;
    void (*granted)(struct budget_wait *); /* the bytes are taken; called from budget_serve */
};

void budget_init(struct budget *, size_t limit, void (*room)(struct budget *));

/* Takes the bytes if they are free and nobody waits. A request above the limit is granted when nothing is
 * used. */
bool budget_try(struct budget *, size_t bytes);
/* Takes the bytes whatever the limit: for what must go on, and is bounded otherwise. */
void budget_take(struct budget *, size_t bytes);
void budget_give(struct budget *, size_t bytes);

void budget_wait(struct budget *, struct budget_wait *);
void budget_unwait(struct budget *, struct budget_wait *); /* harmless when not waiting */
/* Grants to as many waiters as fit, in order. */
void budget_serve(struct budget *);

#endif
