/* export_tour.h - everything that one export refers to: its log, and its manifest read *after* the log.
 *
 * Whatever moves from the log into the map is then seen in the one or in the other. When somebody else has
 * taken the export over meanwhile, the log is another one, and is read as well, and the manifest after it. A
 * record that is gone was folded by a checkpoint: the manifest read afterwards is another one then, or a
 * record is lost. All records that exist are told, also those behind a gap: what is missing there may still
 * arrive.
 */
#ifndef VOLUME_GC_EXPORT_TOUR_H
#define VOLUME_GC_EXPORT_TOUR_H

#include "objstore/objstore.h"
#include "volume/swap.h"

#define EXPORT_TOUR_GETS 8u

struct export_tour;

struct record_visit {
    struct export_tour *tour;
    struct key key;
    struct objstore_req req;
    bool busy;
};

struct export_tour {
    struct engine *engine;
    char name[EXPORT_NAME_MAX + 1];
    void *ctx;
    /* False: this one is known already, done follows. Called once, with the first manifest that was read. */
    bool (*wanted)(struct export_tour *, const struct manifest *);
    void (*piece)(struct export_tour *, const struct piece_ref *); /* in the log */
    void (*done)(struct export_tour *);

    enum err err; /* OK NOTFOUND (no manifest); CORRUPT UNSUPPORTED: what it refers to is not known, doubt
                   * says why; CANCELED */
    struct complaint doubt;
    struct manifest manifest; /* OK: the last one read, until export_tour_finish. Only OPEN and CLOSED ones
                               * refer to anything; in the other states nothing was read */
    char etag[OBJSTORE_ETAG_MAX];

    struct manifest_get get; /* private from here */
    bool first, canceled, missing, listing, listed;
    size_t segment;
    uint64_t slot;
    char after[OBJSTORE_KEY_MAX];
    struct objstore_req list;
    struct key folder;
    struct objstore_entry *entries;
    size_t entry_count, entry;
    struct record_visit gets[EXPORT_TOUR_GETS];
    unsigned under_way;
};

void export_tour_start(struct export_tour *);
void export_tour_cancel(struct export_tour *); /* done follows */
void export_tour_finish(struct export_tour *);

#endif
