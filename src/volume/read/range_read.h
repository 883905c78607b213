/* range_read.h - the bytes of a range: resolved, fetched, checked; as segments that refer to buffers.
 *
 * A missing object makes it look the whole range up once more (a checkpoint or the collector may have moved
 * things), then the read is CORRUPT. */
#ifndef VOLUME_RANGE_READ_H
#define VOLUME_RANGE_READ_H

#include "volume/read/resolve.h"

struct range_part;

struct range_read {
    struct volume *volume;
    enum resolve_layers layers;
    uint64_t start, end;
    /* For a range that is to be read in portions: at most so many extents in memory are looked at, and the
     * bytes to be fetched are at most fetch_max and one piece or record more; `end` is then less. 0: any. */
    size_t parts_max, fetch_max;
    bool background;  /* nobody waits for it */
    bool partial;     /* what cannot be read is a DATA segment without a buffer, and err is OK */
    bool only_logged; /* with partial: nothing but what is in log records alone is read */
    void (*done)(struct range_read *);

    enum err err;                    /* OK CORRUPT CANCELED */
    struct volume_segment *segments; /* OK: the caller's, the references and (unless it is `few`) the array */
    size_t count;

    struct resolve resolve; /* private from here */
    struct range_part *parts;
    size_t part_count, part_room, fetching, fetch_bytes;
    uint64_t checkpoints; /* of the volume, when it was resolved */
    bool again, missing, log_missing, canceled;
};

void range_read_start(struct range_read *);
void range_read_cancel(struct range_read *); /* done follows */
/* From memory alone: true when err is OK and segments are set. done is not called. Uses `few` when that is
 * enough. */
bool range_read_now(struct range_read *, struct volume_segment *few, size_t few_count);

void range_segments_drop(struct volume_segment *, size_t count); /* the references, not the array */

#endif
