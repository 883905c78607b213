/* pack.h - the first half of folding: everything in volume->folding that is still data in memory or in log
 * records goes into well-filled block objects.
 *
 * On the way blocks that would have 8 extents or more, and all blocks of a page that would grow beyond
 * PAGE_BYTES_MAX, are read and written anew as one piece each. What cannot be read is left as it is: one
 * damaged object cannot stop checkpoints. Works page by page; at most PACK_UPLOADS objects are on their way.
 */
#ifndef VOLUME_PACK_H
#define VOLUME_PACK_H

#include "volume/read/range_read.h"
#include "volume/upload.h"
#include "volume/volume_state.h"

#define PACK_UPLOADS      2u
#define BLOCK_EXTENTS_MAX 8u

struct pack_load {
    uint64_t start, end;
    bool logged; /* data that is in a log record only; else a block to be made one piece */
};

struct pack {
    struct volume *volume;
    void (*done)(struct pack *);
    enum err err; /* OK CANCELED */

    int state;   /* private from here */
    uint64_t at; /* everything below is packed or on its way */
    uint64_t region_end, scanned;
    struct resolve resolve;
    struct pack_load *loads; /* of the page at hand */
    size_t load_count, load_room, load;
    struct pack_block *blocks;
    size_t encoded_bytes;
    uint64_t last_end;
    int last_kind;
    struct range_read read;
    struct upload *upload; /* being filled */
    struct list uploads;   /* on their way */
    unsigned upload_count;
    struct timer retry;
    struct task task;
    bool canceled;
};

void pack_start(struct pack *);
void pack_cancel(struct pack *); /* done follows */

#endif
