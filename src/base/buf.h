/* buf.h - a reference-counted block of memory, written once by its maker and only read after it is shared.
 *
 * A buffer may be charged to a budget; the charge (its capacity and its header) goes back when the last
 * reference does. References may be taken and dropped from any thread; a charged buffer is freed on its
 * budget's thread only.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"

struct buf {
    atomic_uint refs;
    struct budget *budget; /* NULL: charged to nobody */
    size_t bytes;          /* capacity */
    uint8_t data[];
};

/* What a buffer of that many bytes is charged. */
size_t buf_cost(size_t bytes);

/* One reference, charged to nobody. */
struct buf *buf_create(size_t bytes);
/* One reference; the cost was taken from the budget before (budget_try, budget_take). */
struct buf *buf_create_charged(size_t bytes, struct budget *);
struct buf *buf_ref(struct buf *);
void buf_unref(struct buf *); /* NULL is fine */
/* Moves the charge: takes the cost from `to` whatever its limit, gives it back to the former budget. Either
 * may be nobody (NULL). */
void buf_recharge(struct buf *, struct budget *to);

#endif
