/* acks.h - waiting until every server has acknowledged a turn (DESIGN §5.3).
 *
 * Servers are listed and their heartbeats read until a listing shows none that has not acknowledged. One that
 * is silent for too long is declared dead: its heartbeat is swapped for one that says so, which it cannot
 * renew. Then every export whose manifest names a server that has neither acknowledged nor is alive is fenced
 * (fence.h); where that shows a server that is alive, it is waited for as well.
 *
 * Silent is a server whose process is gone from this very machine; whose heartbeat did not change for twice
 * its lease time, while this server's own requests succeeded; or which does not acknowledge for
 * `patience_ns`, although it beats.
 */
#ifndef VOLUME_GC_ACKS_H
#define VOLUME_GC_ACKS_H

#include "volume/format/manifest.h"
#include "volume/gc/digests.h"
#include "volume/gc/fence.h"

struct acks_watch;

struct acks {
    struct engine *engine;
    uint32_t turn;
    uint64_t patience_ns;
    void (*waits)(struct acks *, const char *who); /* for a person; may be NULL */
    void (*done)(struct acks *);

    enum err err; /* OK; CORRUPT: a manifest, or the log of one that had to be fenced, cannot be read, see
                   * complaint; UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    uint64_t declared_dead, fenced;
    struct key *dead; /* heartbeats that say so; when all is done nobody needs them any more */
    size_t dead_count;

    enum {
        ACKS_LISTS_SERVERS,
        ACKS_READS_SERVER,
        ACKS_BURIES,
        ACKS_PAUSES,
        ACKS_LISTS_EXPORTS,
        ACKS_READS_EXPORT,
        ACKS_READS_OWNER,
        ACKS_FENCES,
        ACKS_ENDED
    } state; /* private from here */
    struct digests acknowledged;
    struct acks_watch *watches;
    size_t watch_count;
    struct objstore_req req;
    struct key key;
    char after[OBJSTORE_KEY_MAX], name[EXPORT_NAME_MAX + 1], who[200];
    struct objstore_entry *entries;
    size_t entry_count, entry;
    bool more, canceled, again;
    struct buf *body;
    struct iovec iov;
    struct manifest_get get;
    struct fence fence;
    struct timer timer;
};

void acks_start(struct acks *);
void acks_cancel(struct acks *); /* done follows */
void acks_finish(struct acks *); /* frees; after done */

#endif
