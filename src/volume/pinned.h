/* pinned.h - a root to read from without owning the export: that of a snapshot, or of an export as of its
 * last checkpoint.
 *
 * The manifest is read, the root is pinned (pins.h), and when that is confirmed the manifest is read again:
 * the same root there: it stays readable until it is dropped, even when the snapshot is removed meanwhile.
 * Another one there: it starts over with that. No lease is taken, and any number of servers may do so at
 * once.
 */
#ifndef VOLUME_PINNED_H
#define VOLUME_PINNED_H

#include "volume/membership/pins.h"
#include "volume/swap.h"

struct pinned {
    struct engine *engine; /* joined */
    const char *name;      /* NAME or NAME@SNAPSHOT; the caller's until done */
    void *ctx;             /* the caller's */
    void (*done)(struct pinned *);
    void (*died)(struct pinned *); /* after OK: this server was declared dead, the root may be gone */

    enum err err; /* OK NOTFOUND INVALID (the name; too many pins) CONFLICT (it keeps changing) CORRUPT
                   * UNSUPPORTED UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    struct map_root root; /* OK, like all that follows: */
    uint64_t size;
    int64_t created_ms; /* of the snapshot, or of the export */
    struct export_params params;
    char export_id[ID_HEX], snapshot_id[ID_HEX];
    uint32_t breaks;
    char **names; /* of the export's snapshots, until it is dropped */
    size_t name_count;
    bool behind; /* the export is not closed: its log may hold more than the root */

    enum { PINNED_GET, PINNED_PIN, PINNED_CHECK, PINNED_DONE } state; /* private from here */
    char export_name[EXPORT_NAME_MAX + 1];
    const char *snapshot;
    struct pin pin;
    struct manifest_get get;
    struct task task;
    unsigned attempts;
    bool canceled;
};

void pinned_start(struct pinned *);
void pinned_cancel(struct pinned *); /* done follows; harmless after it */
/* After OK: the root is not needed any more. Harmless otherwise, and for a zeroed one. */
void pinned_drop(struct pinned *);

#endif
