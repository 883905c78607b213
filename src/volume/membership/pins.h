/* pins.h - what this server reads without owning it, named in its heartbeat (DESIGN §5): from the moment
 * the heartbeat that carries a pin is confirmed, the collector that then goes by it keeps what the pin's
 * root leads to. Whoever pins must look afterwards whether the root is still where it was found.
 *
 *   1. `done` comes once for each pin_set, from the loop, when a heartbeat with the pin is known to be
 *      stored, under whatever id; a heartbeat refused for lack of space does not count.
 *   2. When this server was declared dead, `died` comes for every pin that was done: what it protects may
 *      be gone. The pin is dropped before: the heartbeat of the new id names nothing that may be gone.
 */
#ifndef VOLUME_PINS_H
#define VOLUME_PINS_H

#include "base/list.h"
#include "volume/format/manifest.h"

struct engine;

struct pin {
    struct engine *engine;
    struct heartbeat_pin content;
    void (*done)(struct pin *);
    void (*died)(struct pin *); /* it is not set any more */

    struct link link;     /* private from here */
    uint64_t sent_serial; /* of the first heartbeat that carries it; 0: none yet */
    bool confirmed;
};

/* INVALID with a complaint: there are as many as a heartbeat holds. The next heartbeat is sent at once. */
MUST_CHECK enum err pin_set(struct pin *, struct complaint *);
/* Harmless when it is not set. done and died are not called any more. */
void pin_drop(struct pin *);

/* ------------------------------------------------------------- for lease.c and engine.c */

/* All there are, for the heartbeat of that serial: mem_free. */
struct heartbeat_pin *pins_send(struct engine *, uint64_t serial, size_t *count);
void pins_confirmed(struct engine *);
void pins_died(struct engine *);

#endif
