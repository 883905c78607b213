/* fetch.h - pieces, pages and log records from the cache or the store, checked before anybody sees them.
 *
 * One GET for many waiters: whoever asks for what is on its way joins it. What came is checked against its SHA-256 (a
 * large one on a worker thread) and enters the cache. Bytes on their way are bounded by engine->fetch_budget.
 */
#ifndef VOLUME_FETCH_H
#define VOLUME_FETCH_H

#include "base/buf.h"
#include "objstore/objstore.h"
#include "volume/engine.h"
#include "volume/stored.h"

struct fetch {
    struct engine *engine;
    void (*done)(struct fetch *);
    enum objstore_priority priority;
    enum err err;        /* OK CORRUPT CANCELED; NOTFOUND when the object is missing. CORRUPT and NOTFOUND are logged */
    struct buf *content; /* OK: the plain bytes; the caller's reference */

    struct link link;    /* private from here */
    struct task task;
    void *flight;
};

/* From the cache, at once: a reference, or NULL. */
struct buf *fetch_piece_now(struct engine *, const struct piece_ref *);
struct buf *fetch_page_now(struct engine *, const struct page_ref *);

/* done is called from the loop, never from inside. Pages: checked by page_check for that level and block size;
 * block_size 0: whatever level the page says it has (a base, see page.h). A page's pieces that are whole blocks enter
 * the index of duplicates. */
void fetch_piece(struct fetch *, const struct piece_ref *);
void fetch_page(struct fetch *, const struct page_ref *, unsigned level, uint32_t block_size);
/* A whole log record; content is the encoded record, parsed OK once. Not found is not logged. */
void fetch_record(struct fetch *, const char *key);
void fetch_cancel(struct fetch *); /* done follows; others who wait for the same are not disturbed */

#endif
