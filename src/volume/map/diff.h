/* diff.h - where two maps of the same block size differ: both walked from the root down at once, page by
 * page; what is equal by its hash is left unread.
 *
 * Guarantees
 *   1. Ranges come in order and do not overlap; those that touch are one when they are of one kind.
 *   2. What is not told is the same on both sides: the same bytes, and a hole, or zeros, on both.
 *   3. CONTENT may differ: its equality does not follow from the hashes. Pieces are the same where they have
 *      the same hash and lie equally far into the piece, wherever they are stored; data that was written
 *      again with the same bytes, but cut otherwise, is told as different. Data is never the same as a hole
 *      or as zeros.
 *   4. ALLOCATION reads as zeros on both sides, but is a hole on one of them only.
 *   5. UNREADABLE lies under a page that is missing or damaged on one of the sides. A page that both have is
 *      not looked at, damaged or not.
 *   6. At most the pages that differ are read (bases apart, each once), a page and its counterpart at the
 *      same time.
 */
#ifndef VOLUME_DIFF_H
#define VOLUME_DIFF_H

#include "volume/format/page.h"
#include "volume/format/stored.h"
#include "volume/map/fetch.h"

enum difference_kind { DIFFERENCE_CONTENT, DIFFERENCE_ALLOCATION, DIFFERENCE_UNREADABLE };

struct difference {
    uint64_t start, bytes;
    enum difference_kind kind;
};

struct diff;
struct diff_frame;

struct diff_side {
    struct map_root root; /* its pages' objects stay until done */
    uint64_t size;        /* from here on the side is a hole */

    struct diff *diff; /* private from here */
    struct diff_frame *frames;
    unsigned depth, room;
    struct fetch fetch;
    struct page_ref wanted;
    unsigned wanted_level, wanted_floor, wanted_bases;
    uint64_t wanted_end;
    bool fetching;
};

#define DIFF_MISSING_MAX 8u

struct diff {
    struct engine *engine;
    uint32_t block_size;
    enum objstore_priority priority;
    struct diff_side sides[2];
    uint64_t start, end; /* at most 2^63 */
    /* False: enough, done follows. May call diff_cancel. */
    bool (*found)(struct diff *, const struct difference *);
    void (*done)(struct diff *);
    enum err err; /* OK (also when something was UNREADABLE), CANCELED */

    uint64_t at; /* private from here: everything below is told, or in `pending` */
    struct difference pending;
    struct page_ref missing[DIFF_MISSING_MAX];
    unsigned missing_count;
    struct task task;
    bool enough, canceled;
};

/* found and done are called from the loop, never from inside. */
void diff_start(struct diff *);
void diff_cancel(struct diff *); /* done follows */

#endif
