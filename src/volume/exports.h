/* exports.h - exports as a person at a prompt sees them: create, list, look at, remove. Nothing is opened.
 *
 * Every function here reads manifests; create and remove swap one. None needs engine_join but create and
 * remove.
 *
 * What a removed export has stored stays in the bucket until garbage is collected: its log under its own id,
 * which is never used again, and its blocks and pages, which others may share.
 */
#ifndef VOLUME_EXPORTS_H
#define VOLUME_EXPORTS_H

#include "volume/engine.h"
#include "volume/volume.h"

struct export_info {
    char *name;
    struct export_params params;
    uint64_t mapped;  /* bytes of the export that are data */
    uint64_t stored;  /* bytes stored for them, duplicates counted again */
    uint64_t objects; /* block objects its pages refer to, one counted once a page */
    uint32_t epoch, breaks;
    bool read_only;   /* a snapshot: closed, and held by nobody */
    bool closed;      /* cleanly; else there is a log to replay, which mapped and stored do not count */
    bool held;        /* by a server that is not known to be dead; brief: that may be dead */
    char holder[200]; /* "host, pid 17, 127.0.0.1:10809, last heard of 4 s ago"; empty when closed */
    struct export_info *next;
};

struct export_op {
    struct engine *engine;
    const char *name;
    const struct export_params *params; /* create */
    bool brief;                         /* list, info: manifests only: no holder */
    void (*done)(struct export_op *);
    enum err err; /* OK INVALID NOTFOUND CONFLICT HELD CORRUPT UNSUPPORTED UNAVAILABLE DENIED NOSPACE
                   * UNKNOWN (create, remove: patience over; it may have been done) */
    struct complaint complaint;
    struct export_info *infos; /* list: ordered by name; info: one. Free with export_infos_free */
    void *impl;
};

void export_create(struct export_op *); /* CONFLICT when it exists */
void export_list(struct export_op *); /* an export whose manifest cannot be read is left out with a warning */
void export_info(struct export_op *); /* also of NAME@SNAPSHOT; NOTFOUND */
/* HELD while a live server, this one included, has it open. An overdue owner is watched for a while
 * (liveness.h). */
void export_remove(struct export_op *);

void export_infos_free(struct export_info *);

#endif
