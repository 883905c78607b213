/* gather.h - a block of volume->folding brought into memory, so that it can be written anew.
 *
 * Runs of what can be read become DATA, one buffer a run, holes and zeros inside a run included. What cannot
 * be read stays as it is and ends a run; data that was in a log record which cannot be read is lost, and
 * reading it says so ever after. Read in portions: besides the runs themselves, GATHER_FETCH_BYTES and one
 * piece more are in memory at most, however many pieces the block is made of.
 */
#ifndef VOLUME_GATHER_H
#define VOLUME_GATHER_H

#include "volume/read/range_read.h"

#define GATHER_FETCH_BYTES (UINT32_C(4) << 20)
#define GATHER_PARTS       4096u

struct gather {
    struct volume *volume;
    uint64_t start, end; /* within one block */
    bool only_logged;    /* what is in log records alone; everything else stays as it is */
    void (*done)(struct gather *);
    uint64_t bytes; /* of the runs that were put into folding */
    bool canceled;

    uint64_t run, at; /* private from here: [run, at) is in buf */
    struct buf *buf;
    unsigned run_parts;
    bool run_logged;
    struct range_read read;
};

/* done is called from the loop, never from inside. */
void gather_start(struct gather *);
void gather_cancel(struct gather *); /* done follows */

#endif
