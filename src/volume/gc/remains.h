/* remains.h - what else is left over and needs no turns: logs of exports that are no more, probes, lists of
 * turns that are over.
 *
 * An export's id is never used again: whatever lies under an id that the manifest does not have, or has as a
 * tombstone, goes. (A folder that was listed before the manifest was read had its manifest before.)
 * Tombstones stay, and in the logs of living exports nothing is touched: seals have to stay as long as the
 * export.
 * Probes are left alone until they are an hour old by the store's clock.
 */
#ifndef VOLUME_GC_REMAINS_H
#define VOLUME_GC_REMAINS_H

#include "objstore/objstore.h"
#include "volume/swap.h"

struct remains {
    struct engine *engine;
    uint32_t turn;          /* lists of turns before this one go */
    const struct key *dead; /* heartbeats of the dead; kept by the caller until done */
    size_t dead_count;
    void (*done)(struct remains *);

    enum err err; /* OK UNAVAILABLE DENIED CANCELED */
    uint64_t deleted;

    enum {
        REMAINS_PROBES,
        REMAINS_LISTS,
        REMAINS_EXPORTS,
        REMAINS_FOLDERS,
        REMAINS_MANIFEST,
        REMAINS_LOG,
        REMAINS_DEAD,
        REMAINS_ENDED
    } state; /* private from here */
    bool deleting, canceled, more, export_more;
    struct objstore_req req;
    char after[OBJSTORE_KEY_MAX], export_after[OBJSTORE_KEY_MAX];
    char name[EXPORT_NAME_MAX + 1];
    struct key prefix;
    struct objstore_entry *entries, *exports;
    size_t entry_count, export_count, export;
    char (*ids)[ID_HEX]; /* folders of the export at hand */
    size_t id_count, id;
    const char *doomed[OBJSTORE_LIST_MAX];
    size_t doomed_count;
    struct manifest_get get;
};

void remains_start(struct remains *);
void remains_cancel(struct remains *); /* done follows */

#endif
