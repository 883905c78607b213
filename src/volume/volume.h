/* volume.h - one export, open for use: reads, writes and what their answers promise.
 *
 * What an answer promises (DESIGN §3)
 *   1. WRITE, TRIM, ZERO answered: every later request on the volume sees the new content; a crash may lose
 *      it.
 *   2. FLUSH answered OK, or any of them with FUA: every change answered before the FLUSH was submitted (for
 *      FUA: and the change itself) is in the store and survives the loss of this process.
 *   3. After a crash the export is what it was at one single moment between the last answered FLUSH and the
 *      crash.
 *   4. While the store cannot be reached requests wait; they are never answered with an error for what may
 *      pass.
 *   5. Once another server has taken the export nothing more is acknowledged: FLUSH and FUA answer FENCED,
 *      the volume's `lost` callback is called and every later request answers FENCED.
 *   6. While the server's lease is unconfirmed, answers are held back until it is confirmed again.
 *
 * Requests may complete in any order. Changes take effect in the order they are submitted, each at once. A
 * READ or STATUS shows the export at one moment between its submission and its answer.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "volume/engine.h"

struct volume;

/* ------------------------------------------------------------ creating and opening */

#define BLOCK_SIZE_MIN      (UINT32_C(4) << 10)
#define BLOCK_SIZE_MAX      (UINT32_C(4) << 20)
#define BLOCK_SIZE_DEFAULT  (UINT32_C(128) << 10)
#define OBJECT_SIZE_MAX     (UINT32_C(64) << 20)
#define OBJECT_SIZE_DEFAULT (UINT32_C(4) << 20)
#define EXPORT_NAME_MAX     240                       /* bytes of its encoded form */
#define VOLUME_NAME_MAX     (2 * EXPORT_NAME_MAX + 1) /* NAME or NAME@SNAPSHOT */

struct export_params {
    uint64_t size;        /* 1 to 2^63 - 1 bytes */
    uint32_t block_size;  /* a power of two between the bounds; 0: the default */
    uint32_t object_size; /* a multiple of block_size, up to OBJECT_SIZE_MAX; 0: the default, or block_size if
                             larger */
    bool durable_writes;  /* every change is treated as if it carried FUA */
};

/* INVALID with a complaint when they are out of bounds; fills in defaults. */
MUST_CHECK enum err export_params_check(struct export_params *, struct complaint *);
/* INVALID with a complaint for the empty name, '@', control characters and names too long when encoded. */
MUST_CHECK enum err export_name_check(const char *name, struct complaint *);

/* INVALID with a complaint for the empty name, a @, control characters, more than EXPORT_NAME_MAX bytes. */
MUST_CHECK enum err snapshot_name_check(const char *name, struct complaint *);
/* INVALID with a complaint unless it is NAME or NAME@SNAPSHOT. *snapshot: within `full`, or NULL. */
MUST_CHECK enum err volume_name_split(const char *full, char name[EXPORT_NAME_MAX + 1], const char **snapshot,
                                      struct complaint *);

struct volume_open {
    struct engine *engine;              /* joined */
    const char *name;                   /* NAME or NAME@SNAPSHOT, see below; kept by the caller until done */
    const struct export_params *create; /* NULL: the export must exist; else it is created when it does not */
    bool must_create;                   /* with create: an export that exists is CONFLICT */
    uint64_t patience_ns; /* how long it waits for the store; 0: as the engine's configuration says */
    /* called once when the volume is FENCED for good */
    void (*lost)(struct volume *, void *ctx, enum err why);
    void *ctx;
    void (*done)(struct volume_open *);

    /* OK NOTFOUND CONFLICT HELD INVALID UNSUPPORTED CORRUPT UNAVAILABLE DENIED NOSPACE CANCELED */
    enum err err;
    struct complaint complaint; /* HELD: names the holder */
    struct volume *volume;      /* OK: open, owned by this server */
    void *impl;
};

/* Takes the export over (DESIGN §4) and replays its log. NAME@SNAPSHOT is opened for reading only, whoever
 * holds the export and however many others read it (DESIGN §5): its changes are the caller's mistake, FLUSH
 * has nothing to do; FENCED when this server is declared dead. `create` does not count then. */
void volume_open(struct volume_open *);
/* done follows, with CANCELED or with what had happened by then. */
void volume_open_cancel(struct volume_open *);

struct volume_close {
    struct volume *volume;
    void (*done)(struct volume_close *);
    enum err err; /* OK; FENCED: it was not ours any more; CANCELED: abandoned, what was flushed is safe */
    struct task task; /* private */
};

/* Clean close: checkpoints, marks the manifest closed. No request is under way, none may follow. Waits for
 * the store; volume_close_abandon ends the wait and drops what was not flushed, as a crash would. The volume
 * is freed before done is called. */
void volume_close(struct volume_close *);
void volume_close_abandon(struct volume_close *);

struct volume_info {
    char name[VOLUME_NAME_MAX + 1];
    bool read_only; /* a snapshot */
    uint64_t size;
    uint32_t block_size, object_size;
    bool durable_writes;
    uint32_t breaks; /* takeovers that may have lost answered, unflushed writes (DESIGN §3) */
    uint32_t epoch;
};
void volume_info(const struct volume *, struct volume_info *);
struct engine *volume_engine(const struct volume *);

/* ------------------------------------------------------------------------ requests */

enum volume_verb {
    VOLUME_READ,
    VOLUME_WRITE,
    VOLUME_FLUSH,
    VOLUME_TRIM,
    VOLUME_ZERO,
    VOLUME_CACHE,
    VOLUME_STATUS,
    VOLUME_CHANGES
};

enum {
    VOLUME_FUA = 1,     /* WRITE TRIM ZERO */
    VOLUME_NO_HOLE = 2, /* ZERO: leave allocated zeros, not a hole */
    VOLUME_REQ_ONE = 4, /* STATUS, CHANGES: one extent is enough */
};

enum volume_kind { VOLUME_DATA, VOLUME_ALLOCATED_ZEROS, VOLUME_HOLE, VOLUME_UNCHANGED, VOLUME_CHANGED };

/* A part of what was read. DATA: `bytes` from buf->data + skip; the request holds the reference. */
struct volume_segment {
    enum volume_kind kind;
    uint64_t bytes;
    struct buf *buf;
    size_t skip;
};

#define VOLUME_REQUEST_MAX (UINT32_C(32) << 20) /* of READ, WRITE and CACHE */

struct volume_req {
    /* the caller's, unchanged until done */
    enum volume_verb verb;
    unsigned flags;
    uint64_t offset;
    uint64_t bytes; /* the range is inside the export (asserted); 0 is allowed and changes nothing */
    void (*done)(struct volume_req *);
    void (*admitted)(struct volume_req *); /* WRITE: see volume_prepare_write */

    /* WRITE: filled by volume_prepare_write; the caller puts the payload into them in order */
    struct buf **payload;
    size_t payload_count;

    /* answered */
    enum err err; /* OK NOSPACE CORRUPT FENCED CANCELED */
    /* READ: adjacent, in order, covering the range (also when err is CORRUPT: nothing is covered then).
     * STATUS: from offset on, adjacent kinds differ; at least one, the last may reach past the range's end;
     * fewer than the range when there are more than status_limit, or when so many lie in memory that looking
     * at them all would take long: ask again from their end on. */
    struct volume_segment *segments;
    size_t segment_count;
    struct volume_segment few[4]; /* where segments points while there are no more */
    size_t status_limit;          /* STATUS, CHANGES, the caller's: at most so many segments; 0: 1,024 */
    /* CHANGES, the caller's: what it is compared with. Segments as for STATUS, UNCHANGED or CHANGED: data
     * that was written since counts as changed whatever it is, and so does what cannot be read. */
    const struct volume_base *base;
    void *ctx; /* the caller's */

    /* private */
    struct volume *volume;
    struct link link;
    struct task task;
    struct budget_wait admission;
    void *impl;
};

/* WRITE: takes memory for the payload. True: payload is there, fill it, then submit (or drop). False:
 * req->admitted is called later, from the loop, with req->err OK (as if true had been returned), NOSPACE
 * (the store is full and so is the buffer: answer that, after draining the payload) or FENCED. Until then
 * the payload stays in the socket, so that memory is bounded whatever clients send. Needed before
 * volume_submit of a WRITE with bytes > 0. payload holds exactly `bytes` bytes in all, cut at the export's
 * block boundaries. */
bool volume_prepare_write(struct volume *, struct volume_req *);
/* A prepared WRITE that is not going to be submitted (the client went away), waiting or not. */
void volume_drop_write(struct volume *, struct volume_req *);

/* done is called once, from the loop, never from inside. After it the caller reads the answer, then calls
 * volume_req_finish, which drops segments and buffers; the struct can then be used anew. */
void volume_submit(struct volume *, struct volume_req *);
void volume_req_finish(struct volume_req *);

/* Cache hit on the spot: true when a READ can be answered from memory now; segments are filled in as by a
 * completed request and done is not called. False: nothing happened; submit it. */
bool volume_read_now(struct volume *, struct volume_req *);

/* ------------------------------------------------------------------------- bases */

/* A snapshot with which volumes of the same block size are compared; it stays readable until it is closed. */
struct volume_base;

struct volume_base_open {
    struct engine *engine; /* joined */
    const char *name;      /* NAME@SNAPSHOT; the caller's until done */
    void (*done)(struct volume_base_open *);
    enum err err; /* OK NOTFOUND INVALID CORRUPT UNSUPPORTED UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    struct volume_base *base; /* OK */
    void *impl;
};

void volume_base_open(struct volume_base_open *);
void volume_base_open_cancel(struct volume_base_open *); /* done follows; harmless after it */
void volume_base_close(struct volume_base *);            /* NULL is fine. No request refers to it */

/* The name of the i-th snapshot of the export, in the order in which they were taken; NULL: there are
 * fewer. Of a snapshot that is open: as they were when it was opened. Valid until something is done to the
 * volume. */
const char *volume_snapshot(const struct volume *, size_t i);

/* ------------------------------------------------------------------------ changes */

/* What changes in the manifest of a live volume. It is made in the manifest swap of a checkpoint that begins
 * after the call: a snapshot contains everything answered before the call, and is the export's state at one
 * moment before its own answer. Several that wait share one checkpoint and take effect in their order. */
enum volume_change_verb {
    VOLUME_SNAPSHOT,        /* CONFLICT: there is one of that name. INVALID: the name, or too many */
    VOLUME_REMOVE_SNAPSHOT, /* NOTFOUND */
    VOLUME_RESIZE,          /* INVALID: out of bounds, or less than now without `shrink` */
    VOLUME_CHECKPOINT,      /* only that: the manifest says all that was answered before */
};

struct volume_change {
    struct volume *volume;
    enum volume_change_verb verb;
    const char *name; /* of the snapshot; the caller's until done */
    const char *id;   /* SNAPSHOT: 32 hex digits, of one elsewhere that holds the same bytes; NULL: its own */
    uint64_t size;    /* RESIZE: volume_info says so when it is done. New requests may then reach so far */
    bool shrink;      /* RESIZE: to less as well. The caller is the only user, no request reaches past the new
                       * size any more, and what lies there was trimmed */
    void (*done)(struct volume_change *);

    /* OK; as above; FENCED: the export was lost before it was made, as far as is known; CANCELED: the close
     * was abandoned before; UNKNOWN: likewise, but it may have been made */
    enum err err;
    struct complaint complaint;

    struct link link; /* private */
    struct task task;
};

/* done follows once, from the loop. The volume is not closing; closed while changes wait, it makes them
 * before it is closed, and they are done before the close is. Waits for the store. */
void volume_change(struct volume_change *);
struct volume_stats {
    uint64_t dirty_bytes, logged_bytes, log_records;
    uint64_t checkpoints, records_written;
    bool store_full;
};
void volume_stats(const struct volume *, struct volume_stats *);

#endif
