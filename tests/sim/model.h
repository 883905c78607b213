/* model.h - what an export may contain: the model that every answer of the engine is checked against.
 *
 * A *session* is one owner's time with an export: from an open that was answered to its close, crash or loss.
 * Its history is the changes in the order in which they were submitted. volume.h promises
 *   - live: a request sees exactly the changes of its session submitted before it;
 *   - durable: the next session starts from the base of this one and a prefix of its history (one cut, of the
 * whole export), which reaches at least to the last change that an answered FLUSH, FUA or durable write
 * covers;
 *   - fencing: once a later session has started, an earlier one acknowledges nothing beyond that cut.
 * Sessions are ordered by epoch. A session's base is fixed by reading the whole export before anything is
 * changed.
 *
 * An export may be huge: only its *islands* hold data. The model's addresses count through the islands;
 * changes that are not confined to one (TRIM, ZERO) are applied to all of them.
 */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include "sim.h"
#include "volume/volume.h"

#define ISLANDS_MAX 12

struct island {
    uint64_t at; /* in the export */
    size_t bytes;
    size_t model_at;
};

struct model_export {
    struct link link;
    struct sim *sim;
    char name[80];
    struct export_params params;
    struct island islands[ISLANDS_MAX];
    size_t island_count, model_bytes;
    struct list sessions;    /* verified ones, by epoch */
    struct list copies;      /* struct model_copy: snapshots that were answered */
    struct list children;    /* struct model_export.link: forks, ours */
    unsigned copy_count;     /* attempts */
    uint64_t growing, grown; /* the largest size that was asked for; that was answered */
    /* Of a fork: its first session starts from so many changes of that session's history. */
    struct session *origin;
    size_t origin_least, origin_most;
    uint64_t stamps;  /* the last sequence number written */
    uint64_t opens;   /* attempts to take it */
    uint64_t opening; /* those under way */
    bool removed;
    bool open_died;   /* one ended with its server: what it sent may still arrive */
    unsigned trouble; /* objects of it (or of anybody) were spoiled on purpose: CORRUPT is allowed */
};

struct model_copy {
    struct link link;
    char name[80];
    struct session *session;
    size_t least, most; /* it holds so many of the session's changes */
    bool removing;      /* somebody has begun to remove it */
};

struct change {
    enum volume_verb verb; /* WRITE TRIM ZERO */
    unsigned flags;
    uint64_t offset, bytes;
    uint8_t *data; /* WRITE */
    bool answered;
};

struct session {
    struct link link; /* in export->sessions once verified */
    struct model_export *export;
    size_t server; /* its number, for messages */
    uint32_t epoch, breaks;
    uint64_t open_number; /* export->opens when it was opened */
    bool rivals;          /* somebody else was taking it meanwhile, or may have been */
    bool verified;
    uint8_t *base, *live; /* model_bytes each */
    uint8_t *allocated;   /* live: 1 where zeros must not be reported as a hole */
    uint8_t *base_allocated;
    uint8_t *unreadable; /* base: 1 where CORRUPT was answered, now or by a session before; may be NULL */
    struct change *changes;
    size_t change_count, change_room;
    size_t durable; /* changes that must survive */
    size_t cut_max; /* SIZE_MAX until another session followed: the longest prefix that it may have started
                       from */
    bool closed;    /* cleanly */
};

struct model_export *model_export_create(struct sim *, const char *name, const struct export_params *,
                                         bool sparse);
void model_export_destroy(struct model_export *);
/* A snapshot of that name was answered. */
void model_export_copied(struct model_export *, const char *name, struct session *, size_t least,
                         size_t most);
/* One that nobody is removing; NULL: none. */
struct model_copy *model_export_any_copy(struct model_export *);
/* A fork of that name; it lives as long as its parent. */
struct model_export *model_export_fork(struct model_export *, const char *name, struct session *,
                                       size_t least, size_t most);

struct session *session_create(struct model_export *, size_t server);
void session_destroy(struct session *); /* only when it was never verified */

/* The session read the whole export: `image` (model_bytes; 1 in `holes` where STATUS showed a hole, in
 * `zeros` where it showed a hole or zeros, in `unreadable` where it answered CORRUPT). Checks it against the
 * sessions before. */
void session_verify(struct session *, const uint8_t *image, const uint8_t *holes, const uint8_t *zeros,
                    const uint8_t *unreadable);

/* Its owner went on in an epoch of its own making. */
void session_new_epoch(struct session *, uint32_t epoch, uint32_t breaks);

/* A change is submitted; takes the data over (malloc). Returns its number. */
size_t session_change(struct session *, enum volume_verb, unsigned flags, uint64_t offset, uint64_t bytes,
                      uint8_t *data);
void session_answered(struct session *, size_t change);
/* Whether it may have lost the export to somebody. */
bool session_may_be_fenced(const struct session *);
/* What an answered FLUSH promises that is submitted now. */
size_t session_flush_covers(const struct session *);
void session_durable(struct session *, size_t changes);

/* Where the range lies in the model; false when it touches more than one island or none whole. */
bool model_place(const struct model_export *, uint64_t offset, uint64_t bytes, size_t *model_at);
/* What a range of the model becomes by one change: `part` is its content before. */
void session_change_part(const struct session *, size_t change, size_t model_at, size_t bytes, uint8_t *part);
/* The first byte that differs, or n. */
size_t bytes_differ_at(const uint8_t *a, const uint8_t *b, size_t n);

/* Fills in what is to be written there: every 16 bytes say which export, place and sequence number they are.
 */
void model_stamp(struct model_export *, uint8_t *to, uint64_t offset, size_t bytes);
/* What those bytes say they are. */
#define STAMP_TEXT 96
const char *model_stamp_text(const uint8_t *at, size_t room, char out[STAMP_TEXT]);

#endif
