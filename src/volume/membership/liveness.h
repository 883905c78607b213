/* liveness.h - is the server that a manifest names as owner still there? (DESIGN §4)
 *
 * Dead: its heartbeat is missing, or says so (the collector wrote it); or its process is gone from this very
 * machine; or its heartbeat is older than its own lease time by the store's clock (the answer's Date less
 * Last-Modified) *and* then stays unchanged for one beat (a third of the lease time) while our own requests
 * succeed: after an outage nobody is dead at once.
 *
 * Where the store says no Date it is unchanged for the lease time and one beat. An observation counts when
 * this engine's lease (if it has joined) held at both ends and the second look was answered within a beat;
 * else that look is the beginning of another one. A heartbeat that cannot be read is judged by this engine's
 * own lease time. Nobody ("") is dead.
 */
#ifndef VOLUME_LIVENESS_H
#define VOLUME_LIVENESS_H

#include "objstore/objstore.h"
#include "volume/engine.h"
#include "volume/format/manifest.h"

struct liveness {
    struct engine *engine;
    char server_id[ID_HEX];
    bool no_wait;         /* answer at once: an overdue heartbeat counts as alive (ls, info) */
    uint64_t patience_ns; /* 0: as the engine's configuration says */
    void (*done)(struct liveness *);

    enum err err; /* OK; or what the store said (patience over), CANCELED */
    bool dead;
    struct heartbeat beat;     /* when there was one */
    char who[HOLDER_TEXT_MAX]; /* for people: "host, pid 17, 127.0.0.1:10809, last heard of 4 s ago" */

    struct objstore_req req; /* private from here */
    struct key key;
    char etag[OBJSTORE_ETAG_MAX];
    struct timer timer;
    enum { LIVENESS_DONE, LIVENESS_ASKS, LIVENESS_WATCHES } state;
    uint64_t started_ns, asked_ns;
    uint64_t ttl_ns; /* of the one who is looked at */
    bool watching;   /* this is not the first look */
    bool counts;     /* the lease held at the look before */
    bool canceled;
};

void liveness_start(struct liveness *);
void liveness_cancel(struct liveness *); /* done follows */

#endif
