/* volume_state.h - the inside of struct volume, for the files of this folder only.
 *
 * Layers, newest first; a read looks through them in this order:
 *
 *   dirty      what was written since the last freeze
 *              takes in changes
 *   queued     frozen sets that no batch has taken yet, laid together
 *              takes in later frozen sets, no changes
 *   batches    frozen sets on their way into the log, newest last
 *              fixed; data turns into pieces as it is stored
 *   logged     what the log holds behind the last checkpoint's position
 *              takes in batches, in order
 *   folding    what the checkpoint under way is folding into the map
 *              fixed; empty when there is none
 *   root       the map
 *
 * Invariants
 *   1. Content moves down one layer at a time and is at no moment in none.
 *   2. Batches enter `logged` in order, each when all its records and all earlier batches' are stored: then,
 *      and not before, whoever waits for them is answered.
 *   3. A piece named in `logged` or below is stored.
 *   4. One manifest swap is under way at most (`swapping`).
 *   5. After `lost` is set nothing is answered OK any more.
 */
#ifndef VOLUME_VOLUME_STATE_H
#define VOLUME_VOLUME_STATE_H

#include "volume/engine_state.h"
#include "volume/extents.h"
#include "volume/format/manifest.h"
#include "volume/read/readahead.h"
#include "volume/swap.h"
#include "volume/volume.h"

#define BATCHES_MAX 4u /* on their way into the log at once */

struct checkpoint;
struct retake;
struct snapshot;
struct record_put;

/* A frozen set on its way into the log. */
struct batch {
    struct volume *volume;
    struct link link;
    enum { BATCH_UPLOADING, BATCH_READY, BATCH_SENT, BATCH_STORED } state;
    struct extents changes;
    struct list waiters;     /* struct volume_req: FLUSH and FUA */
    uint64_t uploads_before; /* background uploads up to this number may hold its data: they come first */
    bool uploads_started;
    struct list uploads;           /* struct upload: its own */
    uint64_t first_slot, end_slot; /* from SENT on */
    struct record_put *records;
    size_t record_count, records_stored;
    uint64_t record_bytes;
};

struct volume {
    struct engine *engine;
    struct link link;
    char name[VOLUME_NAME_MAX + 1];
    struct snapshot *snapshot; /* what it reads, and nothing is ever written; NULL: an export */
    struct export_params params;
    uint8_t export_id[16];
    void (*lost_cb)(struct volume *, void *ctx, enum err why);
    void *lost_ctx;

    struct manifest manifest; /* as stored */
    char etag[OBJSTORE_ETAG_MAX];
    bool swapping;
    struct list folders;       /* struct log_folder: all that `logged` and `folding` may name */
    struct log_folder *folder; /* our own */

    struct extents dirty, queued, logged, folding;
    struct list queued_waiters;
    struct list batches;
    unsigned batch_count;
    uint64_t batches_taken, batches_applied; /* counted */
    struct map_root root;

    uint64_t next_slot;              /* of our folder: the next to be given out */
    uint64_t stored_end;             /* all slots below are stored and in `logged` */
    uint64_t deleted_to;             /* slots of our folder below were deleted */
    uint64_t log_bytes, log_records; /* behind the manifest's position, older segments included */
    bool checkpoint_first;           /* too many segments: nothing is logged before a checkpoint */

    struct list write_backs; /* struct upload: of dirty blocks, in the background */
    uint64_t upload_number;
    uint64_t *full_blocks; /* blocks that became wholly dirty; a ring of a bounded number */
    size_t full_first, full_count, full_room;

    struct readahead readahead;

    struct timer flush_timer, checkpoint_timer, retry_timer;
    struct task pump;
    struct checkpoint *checkpoint;
    bool checkpoint_wanted;
    struct list changes;   /* struct volume_change: wait for a checkpoint */
    struct retake *retake; /* fenced: taking a new epoch (DESIGN §4.6) */
    bool fenced;           /* nothing new is sent into the log until the retake is done */
    struct list answers;   /* struct volume_req: held while fenced */
    bool opening, lost, closing, abandoned;
    bool closed;             /* the manifest says so */
    uint64_t taken_ns;       /* when the swap that made it ours was confirmed */
    bool trim_refused;       /* the last attempt to delete log records failed */
    bool died;               /* this server was declared dead since it has taken the export */
    bool older_epochs_clean; /* their folders were listed and cleaned once */
    struct volume_close *close;
    uint64_t checkpoints, records_written;
    unsigned busy; /* reads and flushes under way */
};

/* ---------------------------------------------------------------------- volume.c */

/* Answers a request: now (from the loop), or when the lease holds again and no retake is under way. */
void volume_answer(struct volume *, struct volume_req *, enum err);
/* Lets go what volume_answer held back. */
void volume_release_answers(struct engine *);
/* A reference to what is stored may be logged or swapped in: the heartbeat was confirmed since the export is
 * ours. Without this a server that slept through being declared dead, and whose takeover arrived later than
 * the collector looked, could refer to what is just being deleted. False: everybody is pumped when it may. */
bool volume_may_refer(const struct volume *);
bool volume_asks_to_refer(struct volume *); /* false; a heartbeat is sent */
void volume_gates_open(struct engine *);
/* Another server has it: everybody who waits is answered FENCED, `lost` is called. */
void volume_lose(struct volume *, enum err why);
struct log_folder *volume_folder(struct volume *, uint32_t epoch, const char *nonce); /* found, or made */
struct volume *volume_create(struct engine *, const char *name, const struct export_params *);
void volume_free(struct volume *);
/* The one of that name that this engine has open, or is opening; NULL: none. */
struct volume *volume_named(const struct engine *, const char *name);
/* Whoever waits for room in the write buffer (of one volume; NULL: of all) is answered `err`. */
void volume_refuse_waiting(struct engine *, const struct volume *only, enum err);

/* ------------------------------------------------------------------------- log.c */

/* Freezes what is dirty; `waiter` (NULL: nobody) is answered when everything changed so far is stored. */
void log_flush(struct volume *, struct volume_req *waiter);
/* Goes on with whatever can go on. Cheap when nothing can. */
void log_pump(struct volume *);
/* Nothing is dirty, queued or on its way into the log. */
bool log_idle(const struct volume *);
/* From here on flushes wait for a checkpoint: the log is long, or half as much again as the inline budget is
 * taken. */
bool log_is_full(const struct volume *);
/* Lays a stored record over a layer that is charged to the inline budget. Inline data stays in memory while
 * that lasts. CORRUPT: not one of this export's. */
MUST_CHECK enum err log_apply_record(struct volume *, struct extents *layer, const struct log_folder *,
                                     struct buf *encoded);
/* After a retake: batches not stored below the old folder's `end` are sent again into the new folder. */
void log_restart(struct volume *, uint64_t old_end);
/* The store has no room: whoever waits for the log is answered NOSPACE; what they wait for is tried again. */
void log_out_of_space(struct volume *);
void log_retry(struct volume *);
void log_stop(struct volume *, enum err why); /* cancels what is under way; waiters are answered `why` */
bool log_stopped(const struct volume *);      /* nothing of it is under way any more */

/* ------------------------------------------------------------------- write_back.c */

void write_back_note(struct volume *, uint64_t start, uint64_t end); /* was just written */
void write_back_forget(struct volume *);                             /* a batch takes care of all */
void write_back_start(struct volume *);
bool write_back_pending(const struct volume *, uint64_t up_to_number);
void write_back_pressure(struct engine *); /* the write buffer fills: flush whoever holds most */

/* ------------------------------------------------------------------- checkpoint.c */

void checkpoint_want(struct volume *);     /* starts one now, or when the one under way is done */
void checkpoint_consider(struct volume *); /* starts one if the log or the inline budget asks for it */
void checkpoint_poke(struct volume *);     /* what it waits for may have come about */
/* One is open that began in an earlier turn of the collector. */
bool checkpoint_refers_to_the_past(const struct volume *, uint32_t turn);
void checkpoint_stop(struct volume *); /* ends the one under way soon */

/* ----------------------------------------------------------------------- change.c */

/* The export's size when all of them have been made. */
uint64_t changes_size(const struct volume *, const struct list *changes);
/* False when the manifest is as they want it once nothing is left to be folded. */
bool changes_need_swap(const struct list *changes);
/* Makes them in `next`, whose root is the new one, each as far as it is possible. */
void changes_make(struct volume *, struct list *changes, struct manifest *next);
/* `next` is confirmed: all are done, each as far as it was possible. */
void changes_confirm(struct volume *, struct list *changes);
/* `next` was refused: done with OK are those that `found` shows to have been made before. */
void changes_compare(struct volume *, struct list *changes, const struct manifest *next,
                     const struct manifest *found);
void changes_refuse(struct volume *, struct list *changes, enum err why);

/* ------------------------------------------------------------------------ close.c */

void close_poke(struct volume *); /* volume_close may be able to go on */

/* ---------------------------------------------------------------- snapshot_open.c */

void snapshot_free(struct snapshot *); /* NULL is fine */
const char *snapshot_sibling(const struct snapshot *, size_t i);

/* ----------------------------------------------------------------------- retake.c */

/* Harmless when one is under way, while the export is being opened (opening looks at who we are when it is
 * done), and when it is lost. */
void retake_start(struct volume *, const char *why);
void retake_poke(struct volume *);
void retake_stop(struct volume *);

#endif
