/* probe.h - whether a store does what is built on conditional writes, found out before anything depends on
 * it.
 *
 * Under probe/{nonce}/ it creates an object twice, two at once, replaces one with the right ETag, with a
 * stale one, and one that does not exist; then it removes them: 8 requests in 4 round trips. Where an answer
 * is lost (UNKNOWN) all of it is done again, 5 times at most.
 *
 *   OK            conditions hold
 *   UNSUPPORTED   they do not; the complaint says which, and what can be done
 *   any other     the store's own error, with its complaint
 */
#ifndef OBJSTORE_PROBE_H
#define OBJSTORE_PROBE_H

#include <stdint.h>

#include "base/err.h"
#include "objstore/objstore.h"

struct probe {
    uint64_t patience_ns; /* for each request; 0: for ever */
    /* Called once, from the loop. The probe may be freed in it. */
    void (*done)(struct probe *);
    enum err err;
    struct complaint complaint;
    void *impl;
};

void probe_start(struct objstore *, struct probe *);
/* Asks for an early end; done follows soon. Harmless when done was called already and the probe is still
 * there. */
void probe_cancel(struct probe *);

#endif
