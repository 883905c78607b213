/* fetch.h - pieces, pages and log records from the cache or the store, checked before anybody sees them.
 *
 * One GET for many waiters: whoever asks for what is on its way joins it; pieces that lie side by side in an
 * object and are asked for together come together. What came is checked against its SHA-256 (a large one on a
 * worker thread) and enters the cache. Bytes on their way are bounded (FETCH_BYTES_MAX, a quarter of it for
 * demand alone); what does not fit waits in order, demand before background, though not for ever.
 */
#ifndef VOLUME_FETCH_H
#define VOLUME_FETCH_H

#include <limits.h>

#include "base/budget.h"
#include "base/buf.h"
#include "base/bytes.h"
#include "base/list.h"
#include "loop/loop.h"
#include "objstore/objstore.h"
#include "volume/engine.h"
#include "volume/format/stored.h"

#define FETCH_BYTES_MAX (24 * MIB) /* pieces, pages and records on their way in at once */
#define FETCH_BUCKETS   256u

/* What is on its way, all exports together; inside struct engine, set up by fetches_init. */
struct fetches {
    struct list flights[FETCH_BUCKETS]; /* struct flight, by hash: for whoever wants the same */
    struct list waiting[2];             /* struct flight: for room, by priority */
    unsigned passed_over;               /* demand served while background waited */
    struct budget budget;
    struct task serve; /* at the end of a round of the loop: who asks in the same round shares requests */
};

void fetches_init(struct fetches *);
void fetches_finish(struct fetches *); /* nothing is on its way */

struct fetch {
    struct engine *engine;
    void (*done)(struct fetch *);
    enum objstore_priority priority;
    enum err err;        /* OK CANCELED; CORRUPT, NOTFOUND (the object is missing): these are logged */
    struct buf *content; /* OK: the plain bytes; the caller's reference */

    struct link link; /* private from here */
    struct task task;
    void *flight;
};

/* From the cache, at once: a reference, or NULL. */
struct buf *fetch_piece_now(struct engine *, const struct piece_ref *);
struct buf *fetch_page_now(struct engine *, const struct page_ref *);

#define PAGE_LEVEL_ANY UINT_MAX /* whatever level the page says it has: a base, see page.h */

/* done is called from the loop, never from inside. Pages: checked by page_check for that level and block
 * size. A page's pieces that are whole blocks enter the index of duplicates. */
void fetch_piece(struct fetch *, const struct piece_ref *);
void fetch_page(struct fetch *, const struct page_ref *, unsigned level, uint32_t block_size);
/* A whole log record or seal; content is as encoded, and record_parse found it OK. Not found is not logged. A
 * record of a newer version is UNSUPPORTED. */
void fetch_record(struct fetch *, const char *key);
/* done follows, when the store has let go of what nobody else waits for; others who wait for the same are not
 * disturbed. Harmless when done was called already. */
void fetch_cancel(struct fetch *);

#endif
