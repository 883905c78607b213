/* walk.h - where a range of the export is stored, by the map: from the root down, page by page. */
#ifndef VOLUME_WALK_H
#define VOLUME_WALK_H

#include "volume/format/page.h"
#include "volume/format/stored.h"
#include "volume/map/fetch.h"

enum place_kind { PLACE_HOLE, PLACE_ZEROS, PLACE_PIECE, PLACE_UNREADABLE };

/* One stretch of the range; stretches come in order, adjacent, and cover the range. */
struct place {
    uint64_t start, bytes;
    enum place_kind kind;   /* UNREADABLE: under a page that is missing or damaged */
    struct piece_ref piece; /* PIECE, from `skip` on */
    uint32_t skip;
};

/* A page on the way down, and what is asked of it. */
struct walk_spot {
    struct page_ref page;
    unsigned level; /* or PAGE_LEVEL_ANY for a base, which must not be below `floor` */
    unsigned floor;
    unsigned bases; /* followed until here */
    uint64_t end;   /* of the range that it is asked about */
};

#define WALK_BASES_MAX   16u
#define WALK_MISSING_MAX 8u

struct walk {
    struct engine *engine;
    uint32_t block_size;
    enum objstore_priority priority;
    const struct map_root *root; /* the caller keeps it, and the pages' objects, until done */
    uint64_t start, end;         /* past the root's region is a hole */
    /* False: enough, done follows. May call walk_cancel. */
    bool (*found)(struct walk *, const struct place *);
    void (*done)(struct walk *); /* err: OK (also when places were UNREADABLE), CANCELED */
    enum err err;

    uint64_t at; /* private from here */
    struct fetch fetch;
    struct task task;
    struct walk_spot spot;
    struct buf *page;                          /* of the spot, when it had to be fetched */
    struct page_ref missing[WALK_MISSING_MAX]; /* the last ones found unreadable during this walk */
    unsigned missing_count;
    bool descending, enough, waiting, canceled;
};

/* found and done are called from the loop, never from inside. */
void walk_start(struct walk *);
void walk_cancel(struct walk *); /* done follows */

/* The same, from cached pages only: true when the whole range was found (or `found` said enough); false at
 * the first page that is not in the cache: what was found until then is void. done is not called; found calls
 * no walk_cancel. */
bool walk_now(struct walk *);

#endif
