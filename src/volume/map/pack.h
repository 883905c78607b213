/* pack.h - the first half of folding: everything in volume->folding that is still data in memory or in log
 * records goes into well-filled block objects.
 *
 * On the way blocks that would have 8 extents or more, and all blocks of a page that would grow beyond
 * PAGE_BYTES_MAX, are read and written anew as one piece each. What cannot be read is left as it is: one
 * damaged object cannot stop checkpoints; what can be read between becomes one piece a run.
 *
 * Works page by page in bounded memory: of what it has to read, PACK_LOADED_MAX and one block more are in
 * memory at most (objects larger than that are not filled with it), whatever the block and object sizes are;
 * at most PACK_UPLOADS objects are on their way.
 */
#ifndef VOLUME_PACK_H
#define VOLUME_PACK_H

#include "volume/map/gather.h"
#include "volume/upload.h"
#include "volume/volume_state.h"

#define PACK_UPLOADS      2u
#define PACK_LOADED_MAX   (UINT32_C(16) << 20)
#define PACK_LOOK_PARTS   4096u /* extents looked at together */
#define BLOCK_EXTENTS_MAX 8u

struct pack {
    struct volume *volume;
    void (*done)(struct pack *);
    enum err err; /* OK CANCELED */

    int state;   /* private from here */
    uint64_t at; /* of the page at hand; everything below is packed or on its way */
    uint64_t region_end, looked, scanned;
    struct resolve resolve;
    struct pack_block *blocks; /* of the page at hand */
    size_t block;              /* those before it are in memory, if they are to be packed at all */
    size_t encoded_bytes;
    uint64_t last_end;
    int last_kind;
    struct gather gather;
    uint64_t loaded, in_hand; /* bytes gathered and not stored yet; of them, those in no object yet */
    struct upload *upload;    /* being filled */
    struct list uploads;      /* on their way; their number is how much of `loaded` they carry */
    unsigned upload_count;
    struct timer retry;
    struct task task;
    bool canceled;
};

void pack_start(struct pack *);
void pack_cancel(struct pack *); /* done follows */

#endif
