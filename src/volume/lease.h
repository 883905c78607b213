/* lease.h - the heartbeat of this server: servers/{id}, renewed by compare-and-swap every third of the lease time
 * (DESIGN §4).
 *
 * It keeps honest servers out of each other's way; it is not what keeps data safe.
 *   1. The lease holds until lease_ttl after the *sending* of the last confirmed heartbeat (CLOCK_BOOTTIME).
 *   2. A heartbeat refused only for lack of space counts as confirmed.
 *   3. A heartbeat that was replaced or removed by somebody else: this server was declared dead. `died` is called; the
 *      lease does not hold; a new id is taken and written, and when that is confirmed `revived` is called.
 */
#ifndef VOLUME_LEASE_H
#define VOLUME_LEASE_H

#include "base/err.h"
#include "loop/loop.h"
#include "objstore/objstore.h"
#include "volume/manifest.h"

struct engine;
struct engine_step;

struct lease {
    struct engine *engine;
    bool joined;
    uint64_t ttl_ns;
    uint64_t confirmed_ns;  /* when the last confirmed heartbeat was sent */
    uint64_t sent_ns;
    struct heartbeat beat;  /* as last sent */
    struct buf *body;
    struct iovec iov;
    struct key key;
    char etag[OBJSTORE_ETAG_MAX]; /* of the last confirmed one */
    struct objstore_req req;
    struct timer timer;
    int state;
    struct engine_step *joining, *leaving;
    void (*confirmed)(struct engine *); /* the lease holds (again) */
    void (*died)(struct engine *);
    void (*revived)(struct engine *);
};

static inline bool lease_holds(const struct lease *l, uint64_t now_ns)
{
    return l->joined && now_ns - l->confirmed_ns < l->ttl_ns;
}

/* Takes engine->server_id, config and host. The callbacks are set by the caller before lease_join. */
void lease_init(struct lease *, struct engine *);
/* Creates the heartbeat; step->done when it is confirmed (or with what the store said, after config.patience_ns). */
void lease_join(struct lease *, struct engine_step *);
/* Ends renewing and deletes the heartbeat. Not joined: done at once (from the loop). */
void lease_leave(struct lease *, struct engine_step *);
/* Frees; nothing is sent. */
void lease_finish(struct lease *);

#endif
