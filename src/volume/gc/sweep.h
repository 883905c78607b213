/* sweep.h - all block and map objects there are, against what is marked: what goes now, and what is condemned
 * next (DESIGN §5.5).
 *
 * Deleted is what is condemned and not marked. Condemned next is what is condemned and stays, and what is not
 * marked and was named before this turn. A name that is condemned and no longer there is forgotten. At most
 * GC_NAMES_MAX names; what is more waits for a later turn: there is room for all that are condemned already,
 * before new ones enter.
 */
#ifndef VOLUME_GC_SWEEP_H
#define VOLUME_GC_SWEEP_H

#include "objstore/objstore.h"
#include "volume/engine.h"
#include "volume/gc/marks.h"
#include "volume/gc/names.h"

struct sweep_counts {
    uint64_t objects, bytes;                 /* all there were */
    uint64_t marked_objects, marked_bytes;   /* referred to, in whole or in part */
    uint64_t live_bytes;                     /* of block objects, nearly, and of map objects as a whole */
    uint64_t garbage_objects, garbage_bytes; /* not referred to; deleted ones included */
    uint64_t deleted_objects, deleted_bytes;
    uint64_t young_objects; /* not referred to, and named in this turn: on their way perhaps */
};

struct sweep {
    struct engine *engine;
    uint32_t turn;
    bool look_only;                   /* nothing is deleted */
    const struct names *condemned[2]; /* by enum object_kind; sorted */
    const struct marks *marks;
    void (*done)(struct sweep *);

    enum err err; /* OK UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    struct names next[2]; /* the caller's: names_finish */
    uint64_t next_unmarked;
    struct sweep_counts counts;

    enum object_kind kind;     /* private from here */
    uint64_t condemned_passed; /* of those condemned, so many were listed */
    struct objstore_req req;
    char after[OBJSTORE_KEY_MAX];
    struct objstore_entry *entries;
    size_t entry_count;
    const char *doomed[OBJSTORE_LIST_MAX];
    size_t doomed_count;
    uint64_t doomed_bytes;
    bool more, canceled;
    enum { SWEEP_LISTS, SWEEP_DELETES, SWEEP_ENDED } state;
};

void sweep_start(struct sweep *);
void sweep_cancel(struct sweep *); /* done follows */

#endif
