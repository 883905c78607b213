/* fold.h - the second half of folding: the map's pages written anew where volume->folding has changes,
 * bottom up, copy-on-write; every other page stays as it is.
 *
 * Before it everything in folding is a hole, zeros or a stored piece (pack.h). Subtrees that a hole covers
 * whole are replaced unread. A page that cannot be read is not merged: the new page names it as its base.
 * Pages are gathered into map objects of at most MAP_OBJECT_BYTES, children before parents; they enter the
 * cache.
 */
#ifndef VOLUME_FOLD_H
#define VOLUME_FOLD_H

#include "volume/format/page.h"
#include "volume/map/fetch.h"
#include "volume/volume_state.h"

#define MAP_OBJECT_BYTES (UINT32_C(4) << 20)

struct fold_frame;

struct fold {
    struct volume *volume;
    unsigned level; /* of the new root, not below the old one's */
    void (*done)(struct fold *);
    enum err err;         /* OK CANCELED */
    struct map_root root; /* OK: the new one */

    int state;                 /* private from here */
    struct fold_frame *frames; /* MAP_LEVEL_MAX + 2: from the top down */
    unsigned depth;
    struct leaf_builder *builder;
    struct fetch fetch;
    struct buf *page;   /* the old page at hand */
    struct buf *object; /* the map object being filled */
    size_t object_bytes;
    uint32_t object_number; /* of the object being filled; those before it are stored: */
    struct object_name *stored;
    struct sha256 object_hash;
    struct object_name object_name; /* of the one being stored */
    struct job job;
    struct key key;
    struct iovec body;
    struct objstore_req req;
    struct timer retry;
    struct task task;
    bool canceled, busy;
};

void fold_start(struct fold *);
void fold_cancel(struct fold *); /* done follows */

#endif
