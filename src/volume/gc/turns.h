/* turns.h - a server's part in collecting garbage (DESIGN §5.1, §5.2): which turn it is, what is condemned,
 * and when this server may acknowledge.
 *
 * Guarantees
 *   1. gc/state is read after the first heartbeat of an id is written, and looked at after every heartbeat.
 *   2. From turns_seen on no condemned name is in the index of duplicates, and none enters it (turns_learn)
 *      while it is listed; engine->turn names what is stored.
 *   3. A turn is acknowledged (in the next heartbeat, which is sent at once) when nothing that was begun
 *      before it was seen is still to be logged, on any volume. What is dirty is flushed to that end.
 *   4. Under a new id nothing is acknowledged before gc/state was read anew; what was in the index before is
 *      not in it any more: lists that named it may have come and gone.
 *   5. What was begun before a turn was seen, or under another id, teaches the index nothing when it ends: a
 *      page may have been long on its way.
 */
#ifndef VOLUME_GC_TURNS_H
#define VOLUME_GC_TURNS_H

#include "loop/loop.h"
#include "volume/gc/condemned.h"
#include "volume/gc/hold.h"
#include "volume/gc/state_read.h"

struct engine_step;

struct turns {
    struct engine *engine;
    struct holds holds;
    struct condemned condemned;
    uint32_t acknowledged;
    bool dead;    /* this server was declared dead, and has not written its heartbeat under another id yet */
    bool fresh;   /* gc/state was read since the heartbeat of this id was written */
    uint32_t age; /* another one with every turn and every id: see turns_learn */
    void (*refreshed)(struct engine *); /* it is fresh again, after the server was declared dead */

    struct condemned loading; /* private from here */
    char etag[OBJSTORE_ETAG_MAX];
    enum { TURNS_REST, TURNS_LOOK, TURNS_READ, TURNS_PAUSE } state;
    struct state_read read;
    struct objstore_req head;
    struct timer timer;
    uint64_t started_ns;
    struct engine_step *joining, *leaving;
    bool warned, overflow;
};

void turns_init(struct turns *, struct engine *);
void turns_finish(struct turns *);
/* After the first heartbeat is confirmed: done when gc/state was read; fails as engine_join does. */
void turns_join(struct turns *, struct engine_step *);
/* Looks whether there is a new turn: after every heartbeat. */
void turns_look(struct turns *);
/* This server was declared dead, and then has written its heartbeat under another id. */
void turns_died(struct turns *);
void turns_revived(struct turns *);
/* Ends what is under way, then goes on with lease_leave. */
void turns_leave(struct turns *, struct engine_step *);

bool turns_condemned(const struct turns *, enum object_kind, const struct object_name *);
/* Into the index of duplicates, unless it is condemned or `age`, when it was asked for, is past. */
void turns_learn(struct turns *, const struct piece_ref *, uint32_t age);

#endif
