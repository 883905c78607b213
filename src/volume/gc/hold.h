/* hold.h - what was begun in which turn, and is not logged yet (DESIGN §5.2).
 *
 * Whatever may become a reference to a stored object without being one yet takes a hold of the turn in which
 * it began: an upload on its way, a piece that no log record names, a checkpoint that is open. It gives the
 * hold up when it is logged (or swapped in) or abandoned. A server acknowledges a turn when no hold of an
 * earlier one is left.
 */
#ifndef VOLUME_GC_HOLD_H
#define VOLUME_GC_HOLD_H

#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct hold {
    struct holds *of;
    struct link link;
    uint32_t turn;
    size_t count;
};

struct holds {
    struct list turns;               /* struct hold, oldest first; the last is the present one */
    void (*settled)(struct holds *); /* an earlier turn has no hold left; NULL: nobody asks */
};

void holds_init(struct holds *, uint32_t turn);
/* Frees; what was held for ever ends here. */
void holds_finish(struct holds *);
/* What begins from here on belongs to a later turn. */
void holds_turn(struct holds *, uint32_t turn);
/* The earliest turn of which something is held; the present one when nothing older is. */
uint32_t holds_oldest(const struct holds *);

struct hold *hold_take(struct holds *);
/* Another one of the same turn; NULL for NULL. */
struct hold *hold_share(struct hold *);
void hold_give(struct hold *); /* NULL is fine */

#endif
