/* page_tour.h - through the pages of many maps, each page read once however many maps share it.
 *
 *   page_tour_init .. page_tour_add (roots, also while it runs) .. page_tour_run .. done .. again .. finish
 *
 * Guarantees
 *   1. `reference` is called for every reference to a page, also to pages that were read before: each may be
 *      to another copy, in another object. A reference of a page to the very object it lies in counts as one
 *      to where that page was found.
 *   2. `piece` is called for every piece of every leaf, once for each page, in no particular order.
 *   3. Of a page with a base the base is visited as well, and what it leads to. A page that cannot be read is
 *      told to `unreadable`; what it leads to is then not known.
 *   4. At most PAGE_TOUR_GETS requests at once, in the background; memory: 44 bytes a page, and 100 for each
 *      of waiting_count: roots added, and children of nodes on the way (256 a level for each request under
 *      way).
 */
#ifndef VOLUME_GC_PAGE_TOUR_H
#define VOLUME_GC_PAGE_TOUR_H

#include "volume/format/page.h"
#include "volume/gc/digests.h"
#include "volume/map/fetch.h"

#define PAGE_TOUR_GETS 16u

struct page_tour;

struct page_want {
    struct page_ref page;
    unsigned level; /* or PAGE_LEVEL_ANY */
    uint32_t block_size;
    struct page_want *next; /* among those not begun */
};

struct page_visit {
    struct page_tour *tour;
    struct page_want want;
    struct fetch fetch;
    struct page_visit *next; /* among those not in use */
};

struct page_tour {
    struct engine *engine;
    void *ctx;
    void (*reference)(struct page_tour *, const struct page_ref *);
    void (*piece)(struct page_tour *, const struct piece_ref *);
    void (*unreadable)(struct page_tour *, const struct page_ref *, enum err);
    void (*done)(struct page_tour *); /* everything added is visited, or it was canceled */

    struct digests seen; /* private from here */
    uint64_t pages;      /* read */
    struct page_visit gets[PAGE_TOUR_GETS], *idle;
    struct page_want *waiting;
    size_t waiting_count;
    unsigned under_way;
    struct task task;
    bool running, canceled;
};

void page_tour_init(struct page_tour *);
void page_tour_add(struct page_tour *, const struct map_root *, uint32_t block_size);
/* done follows, from the loop. Not while it runs. */
void page_tour_run(struct page_tour *);
void page_tour_cancel(struct page_tour *); /* harmless when it does not run */
void page_tour_finish(struct page_tour *); /* frees; does not run */

#endif
