/* state_read.h - reading gc/state and the lists that it names.
 *
 * What was read is one state and its lists whole, or nothing: a list that is missing or not what its name
 * says is NOTFOUND or CORRUPT; gc/state has then most likely gone on, and is to be read again.
 */
#ifndef VOLUME_GC_STATE_READ_H
#define VOLUME_GC_STATE_READ_H

#include "objstore/objstore.h"
#include "volume/engine.h"
#include "volume/format/gc_state.h"

struct state_read {
    struct engine *engine;
    uint32_t skip_turn;   /* the lists of this turn are known: they are not read */
    uint64_t patience_ns; /* of each request */
    /* May be NULL. `begin`: all that gc/state says; the lists follow, one call each. */
    void (*begin)(struct state_read *);
    void (*list)(struct state_read *, const struct gc_list_view *);
    void (*done)(struct state_read *);

    enum err err; /* OK (also when there is no gc/state: serial 0); NOTFOUND, CORRUPT: see above;
                   * UNSUPPORTED UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    struct gc_state *state; /* OK: until state_read_finish */
    char etag[OBJSTORE_ETAG_MAX];

    struct objstore_req req; /* private from here */
    struct key key;
    size_t next;
    bool canceled;
};

void state_read_start(struct state_read *);
void state_read_cancel(struct state_read *); /* done follows; harmless when it was called */
void state_read_finish(struct state_read *); /* frees the state; a zeroed one is fine */

#endif
