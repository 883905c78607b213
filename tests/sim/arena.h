/* arena.h - the simulator's base/mem.h: every allocation belongs to the arena that is entered when it is
 * made.
 *
 * Each simulated server has one; a crash drops it whole, a clean end must leave it empty. Fresh memory is
 * filled with a pattern, realloc always moves, and freeing another arena's block ends the run: servers share
 * no memory.
 */
#ifndef SIM_ARENA_H
#define SIM_ARENA_H

#include <stddef.h>

#include "base/list.h"

struct arena {
    struct list blocks;
    size_t count, bytes;
    size_t bytes_max; /* the most there was since it was last set to `bytes` */
};

void arena_init(struct arena *);
/* Later allocations belong to it (NULL: to the world outside the servers). Returns the one that was entered
 * before. */
struct arena *arena_enter(struct arena *);
/* Frees whatever it holds. */
void arena_drop(struct arena *);

#endif
