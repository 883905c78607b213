/* engine_state.h - the inside of struct engine, for the files of this folder only. */
#ifndef VOLUME_ENGINE_STATE_H
#define VOLUME_ENGINE_STATE_H

#include "base/budget.h"
#include "base/list.h"
#include "volume/dedup.h"
#include "volume/engine.h"
#include "volume/format/stored.h"
#include "volume/gc/turns.h"
#include "volume/map/cache.h"
#include "volume/map/fetch.h"
#include "volume/membership/lease.h"

#define UPLOADS_MAX 16u            /* block objects on their way at once, all exports together */
#define RETRY_NS    (1 * NS_PER_S) /* after NOSPACE */

struct engine {
    struct loop *loop;
    struct objstore *store;
    struct engine_config config;
    char addresses[200];
    char control[CONTROL_PATH_MAX];
    char server_id[ID_HEX];
    uint32_t turn; /* of the collector, as last seen; part of the names of what is stored */
    struct turns turns;

    struct cache *cache;
    struct dedup *dedup;
    struct lease lease;

    struct list pins; /* struct pin: what it reads without owning it */
    size_t pin_count;

    struct list volumes;  /* struct volume */
    uint64_t generations; /* counts changes: every piece of dirty data has its own number */

    struct budget write_budget;  /* dirty and frozen data, payloads on their way in */
    struct budget inline_budget; /* logged extents and their data */
    struct task pressure;        /* serves write_budget's waiters, starts write-back and checkpoints */
    bool store_full;             /* the store has answered NOSPACE since it last stored something */

    struct list uploads_waiting; /* struct upload */
    unsigned uploads_running;
    struct list uploads_storing; /* struct upload: what they lay down others need not */
    struct list uploads_twins;   /* struct upload: wait for one of those to store a block they have as well */

    struct fetches fetches; /* set up by fetches_init */

    struct volume *checkpointing; /* one checkpoint at a time: it has the token */
    struct list checkpoints_waiting;

    uint64_t blocks_stored, block_bytes_stored, dedup_hits;
};

/* Answers leave only while the lease is confirmed. */
static inline bool engine_may_answer(struct engine *e)
{
    return lease_holds(&e->lease, loop_fresh_ns(e->loop));
}

#endif
