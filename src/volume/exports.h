/* exports.h - exports as a person at a prompt sees them: create, list, look at, remove; snapshots, forks,
 * sizes.
 *
 * Every function here reads manifests; all but list and info swap one, and need engine_join. None needs the
 * export to be open in this process, and none touches one that a live server has open: the answer is HELD,
 * and names the server. One whose owner is dead is opened and closed cleanly first, where what it left in
 * its log counts.
 *
 * What a removed export has stored stays in the bucket until garbage is collected: its log under its own id,
 * which is never used again, and its blocks and pages, which others may share.
 */
#ifndef VOLUME_EXPORTS_H
#define VOLUME_EXPORTS_H

#include "volume/engine.h"
#include "volume/volume.h"

struct snapshot_info {
    char *name;
    uint64_t size;
    int64_t created_ms; /* since 1970 */
    uint64_t mapped, stored, objects;
};

struct export_info {
    char *name;
    char id[33];
    int64_t created_ms; /* since 1970 */
    char *parent,
        *parent_snapshot; /* of a fork: what it was made from, NULL and the id "" when it is none; no
                                     * snapshot when it was made from what the parent held then */
    char parent_id[33];
    struct snapshot_info *snapshots; /* in the order in which they were taken */
    size_t snapshot_count;
    struct export_params params;
    uint64_t mapped;  /* bytes of the export that are data */
    uint64_t stored;  /* bytes stored for them, duplicates counted again */
    uint64_t objects; /* block objects its pages refer to, one counted once a page */
    uint32_t epoch, breaks;
    bool read_only; /* a snapshot: closed, and held by nobody */
    bool closed;    /* cleanly; else there is a log to replay, which mapped and stored do not count */
    bool held;      /* by a server that is not known to be dead; brief: that may be dead */
    char holder[HOLDER_TEXT_MAX];   /* empty when closed */
    char control[CONTROL_PATH_MAX]; /* of a holder on this very machine that has one, else "" */
    struct export_info *next;
};

struct export_op {
    struct engine *engine;
    const char *name;
    const struct export_params *params; /* create */
    bool brief;                         /* list, info: manifests only: no holder */
    const char *snapshot; /* snapshot, remove_snapshot, rollback; fork: NULL: what is there now */
    const char *child;    /* fork: its name */
    bool as_checkpointed; /* fork: of an open export what its last checkpoint has */
    bool discard;         /* rollback: do not save the present */
    uint64_t size;        /* resize */
    bool shrink;          /* resize: what lies past a smaller size may go */
    void (*done)(struct export_op *);
    enum err err; /* OK INVALID NOTFOUND CONFLICT HELD CORRUPT UNSUPPORTED UNAVAILABLE DENIED NOSPACE
                   * UNKNOWN (all but list, info: patience over, or changed by somebody else after a lost
                   * answer; it may have been done) */
    struct complaint complaint;
    struct export_info *infos; /* list: ordered by name; info: one. Free with export_infos_free */
    char saved[64]; /* rollback: the snapshot that has what was there before; "": nothing was saved */
    void *impl;
};

void export_create(struct export_op *); /* CONFLICT when it exists */
void export_list(struct export_op *); /* an export whose manifest cannot be read is left out with a warning */
void export_info(struct export_op *); /* also of NAME@SNAPSHOT; NOTFOUND */
/* HELD while a live server, this one included, has it open. An overdue owner is watched for a while
 * (liveness.h). */
void export_remove(struct export_op *);

/* CONFLICT: there is one of that name. INVALID: the name, or too many. A GET and a PUT. */
void export_snapshot(struct export_op *);
void export_remove_snapshot(struct export_op *); /* NOTFOUND */
/* CONFLICT: the child's name is taken. What was being forked by somebody who died makes room, here and in
 * export_create and export_remove. A snapshot can be forked whoever has its export open. Four requests. */
void export_fork(struct export_op *);
/* Root and size become the snapshot's; what was there before becomes a snapshot, unless op->discard or
 * nothing differs. Counts a break, for clients that live on. */
void export_rollback(struct export_op *);
/* INVALID: smaller, without op->shrink. Opens the export; what grows reads as zeros, also where data was
 * before it was made smaller. */
void export_resize(struct export_op *);

void export_infos_free(struct export_info *);

#endif
