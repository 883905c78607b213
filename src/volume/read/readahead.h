/* readahead.h - what a sequential or strided reader will ask for next, brought into the cache before it asks.
 *
 * Readers are told apart by where they read, not by their connection: several on one connection and one on
 * several are found alike. A reader that goes on where it was is read ahead of, at first by little, then by
 * twice as much each time it uses what was brought.
 *
 * Guarantees
 *   1. It never delays a demanded read: it asks with background priority, and only in its room (fetch.h).
 *   2. At most READAHEAD_BYTES_MAX, and an eighth of the cache, ahead of a reader.
 *   3. A reader that leaves what was brought for it unused halves what the next ones get.
 *   4. It changes no answer, and nothing waits for it but the end of the volume.
 */
#ifndef VOLUME_READAHEAD_H
#define VOLUME_READAHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/list.h"

#define READAHEAD_BYTES_MAX (32 * MIB)
#define READAHEAD_STREAMS   8u

struct volume;

struct readahead_stream {
    uint64_t last, next; /* where the latest read began; where the reader goes on */
    uint64_t ahead;      /* everything before was asked for */
    uint64_t window;     /* how far ahead to be; 0: no reader yet, a single read */
    int64_t stride;      /* from read to read, where they do not touch; 0: none seen */
    unsigned strides;    /* so often in a row */
    uint64_t strides_ahead;
    uint64_t used_at;
};

struct readahead {
    struct readahead_stream streams[READAHEAD_STREAMS];
    unsigned readers; /* streams with a window or a stride: while there is none, a hit costs nothing */
    uint64_t clock;
    uint64_t window_max;
    struct list running; /* struct ahead_read */
    size_t running_count;
    bool stopped;
};

void readahead_init(struct readahead *);
/* A client reads there. `missed`: it had to wait, so a new reader may have been found. */
void readahead_note(struct volume *, uint64_t offset, uint64_t bytes, bool missed);
/* What is under way is canceled and nothing more begins; the volume is poked when the last has ended. */
void readahead_stop(struct volume *);
bool readahead_stopped(const struct volume *); /* nothing is under way */

#endif
