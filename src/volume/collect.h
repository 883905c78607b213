/* collect.h - collecting garbage: what nothing in the bucket refers to any more is deleted (DESIGN §5).
 *
 * Collection goes in turns, and needs no clock to be safe. In each: every server has to acknowledge it
 * (gc/acks.h); everything that is referred to is marked (gc/roots.h); what was condemned and is not marked is
 * deleted, and what is not marked is condemned for the next turn (gc/sweep.h); gc/state is swapped
 * (gc/state_write.h). So an object is deleted two turns after the last reference to it has gone.
 *
 * Guarantees
 *   1. Nothing is deleted that anything refers to, or may refer to as soon as something under way is done.
 *   2. It may be stopped at any moment, and begun again by anybody. Several collectors at once are safe, and
 *      no faster.
 *   3. While a manifest, a page or a log record cannot be read nothing is deleted at all: CORRUPT, and
 *      `complaint` says what it is.
 *   4. Memory: under 1 GiB for 100 million blocks (gc/marks.h).
 */
#ifndef VOLUME_COLLECT_H
#define VOLUME_COLLECT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "volume/engine.h"

enum collect_phase { COLLECT_WAITS, COLLECT_MARKS, COLLECT_SWEEPS, COLLECT_TIDIES };

struct collect {
    struct engine *engine; /* joined; with look_only it may as well only look */
    bool look_only;        /* says what there is, changes nothing; waits for nobody */
    bool once;             /* one turn and no more */
    uint64_t patience_ns;  /* for a server that beats but does not acknowledge; 0: ten minutes */
    void (*done)(struct collect *);
    /* For a person, now and then; either may be NULL. */
    void (*waits)(struct collect *, const char *for_what);
    void (*phase)(struct collect *, enum collect_phase);
    void *ctx;

    enum err
        err; /* OK CORRUPT CONFLICT (others collect as well, and are faster) UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    struct collect_counts {
        uint32_t turns; /* that were gone through */
        uint64_t exports, pages;
        uint64_t deleted_objects, deleted_bytes; /* blocks and maps */
        uint64_t deleted_others;                 /* logs of removed exports and the like */
        /* as the last turn has found it, deleted ones not counted */
        uint64_t objects, bytes, live_bytes, garbage_objects, garbage_bytes;
        uint64_t declared_dead, fenced;
        uint64_t memory_bytes; /* of the marks, at most */
    } counts;
    void *impl;
};

/* done follows, from the loop. */
void collect_start(struct collect *);
/* done follows soon, with CANCELED. Harmless when it was called. */
void collect_cancel(struct collect *);

#endif
