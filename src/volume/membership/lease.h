/* lease.h - the heartbeat of this server: servers/{id}, renewed by compare-and-swap every third of the lease
 * time (DESIGN §4).
 *
 * It keeps honest servers out of each other's way; it is not what keeps data safe.
 *   1. The lease holds until lease_ttl after the *sending* of the last confirmed heartbeat (CLOCK_BOOTTIME).
 *   2. A heartbeat refused only for lack of space counts as confirmed, when the former one is found to be
 *      there still.
 *   3. A heartbeat that was replaced or removed by somebody else: this server was declared dead. `died` is
 *      called; the lease does not hold; a new id is taken and written, and when that is confirmed `revived`
 *      is called.
 */
#ifndef VOLUME_LEASE_H
#define VOLUME_LEASE_H

#include "base/err.h"
#include "loop/loop.h"
#include "objstore/objstore.h"
#include "volume/format/manifest.h"

struct engine;
struct engine_step;

struct lease {
    struct engine *engine;
    bool joined;
    uint64_t ttl_ns;
    uint64_t confirmed_ns;  /* when the last confirmed heartbeat was sent */
    uint64_t stored_serial; /* of the last one known to be stored under this id; 0: none */
    struct engine_step *joining, *leaving;
    void (*confirmed)(struct engine *); /* the lease holds (again); after every beat */
    void (*died)(struct engine *);      /* engine->server_id is still the old one */
    void (*revived)(struct engine *);   /* stands for `confirmed` as well */

    struct heartbeat beat; /* private from here: as last sent */
    char former_nonce[ID_HEX];
    char etag[OBJSTORE_ETAG_MAX];    /* of the last one known to be stored */
    uint64_t first_sent_ns, sent_ns; /* of these very bytes */
    uint64_t join_ns;
    struct buf *body;
    struct iovec iov;
    struct key key;
    const char *doomed;
    struct objstore_req req;
    struct timer timer;
    struct task task;
    enum lease_state {
        LEASE_IDLE,
        LEASE_PUT,
        LEASE_PUT_PAUSE,
        LEASE_READ_BACK,
        LEASE_READ_PAUSE,
        LEASE_RESTS,
        LEASE_DELETES,
    } state;
    bool creating;          /* the beat under way is the first under this id */
    bool reviving;          /* declared dead; not yet written under the new id */
    bool refused_for_space; /* the beat under way */
    bool resend;            /* these bytes may still arrive: the next beat is the same */
    bool warned;
    bool soon; /* the next beat does not wait for its time */
};

static inline bool lease_holds(const struct lease *l, uint64_t now_ns)
{
    return l->joined && now_ns - l->confirmed_ns < l->ttl_ns;
}

/* Takes engine->server_id, config and host. The callbacks are set by the caller before lease_join. */
void lease_init(struct lease *, struct engine *);
/* Creates the heartbeat; step->done when it is confirmed (or with what the store said, after
 * config.patience_ns: DENIED UNAVAILABLE NOSPACE ...; then it is not joined). */
void lease_join(struct lease *, struct engine_step *);
/* The next beat is sent now, or when the one under way is confirmed. */
void lease_beat_soon(struct lease *);
/* Ends renewing and deletes the heartbeat, trying for a lease time (config.patience_ns if that is less); left
 * behind, it is overdue soon. Not joined: done at once (from the loop). Not while joining. */
void lease_leave(struct lease *, struct engine_step *);
/* Frees; nothing is sent. Not joined, or left. */
void lease_finish(struct lease *);

#endif
