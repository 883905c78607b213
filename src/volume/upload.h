/* upload.h - one block object on its way into the store: pieces are gathered, hashed, deduplicated, stored.
 *
 *   upload_create .. upload_add (until it is full) .. upload_start .. done .. upload_apply (to every layer
 *   that may still hold the data) .. upload_destroy
 *
 * Nothing is copied: pieces are gathered from the buffers of the extents they are made of. Zeros and what
 * the index of duplicates knows are not stored, nor what another upload is storing just now (it is waited
 * for); if nothing is left, no request is sent. After NOSPACE upload_start can be called again and goes on
 * where it was. At most UPLOADS_MAX run at once in an engine; the others wait in order.
 */
#ifndef VOLUME_UPLOAD_H
#define VOLUME_UPLOAD_H

#include "loop/loop.h"
#include "objstore/objstore.h"
#include "volume/engine_state.h"
#include "volume/extents.h"
#include "volume/lookup.h"

struct upload_slice {
    uint64_t start, end;
    uint64_t generation;
    struct buf *buf;
    uint32_t skip;
};

struct upload_piece {
    uint64_t start;
    uint32_t bytes;
    uint32_t first_slice, slice_count;
    struct sha256 hash;
    bool zeros;
    uint32_t same;        /* the piece of this upload that is stored for it: itself, or an earlier one */
    struct piece *stored; /* set when it is stored: by this upload or before it */
};

struct upload {
    struct engine *engine;
    uint32_t block_size, object_size;
    void (*done)(struct upload *);
    void *owner;      /* the caller's */
    uint64_t number;  /* the caller's */
    struct link link; /* the caller's, while it is not waiting for its turn */
    enum err err;     /* OK NOSPACE CANCELED */

    uint64_t bytes; /* in all pieces */
    struct upload_piece *pieces;
    size_t piece_count, piece_room;
    struct upload_slice *slices;
    size_t slice_count, slice_room;

    struct lookup by_start; /* pieces */
    struct lookup by_hash;  /* those that are being stored, from UPLOAD_HASH_OBJECT on */

    enum { UPLOAD_HASH_PIECES, UPLOAD_LAY_OUT, UPLOAD_HASH_OBJECT, UPLOAD_PUT, UPLOAD_DONE } state;
    struct link turn;    /* among those that wait for their turn, or for a twin */
    struct link storing; /* among those whose pieces are being stored */
    bool running, canceled;
    struct job job;
    struct task task;
    struct iovec *iov;
    size_t iov_count;
    uint64_t object_bytes;
    struct sha256 object_hash;
    struct object_name object; /* as it is being stored */
    struct hold *hold;
    uint32_t age; /* engine->turns.age when it was named */
    struct key key;
    struct objstore_req req;
};

struct upload *upload_create(struct engine *, uint32_t block_size, uint32_t object_size);
/* Adds the run of adjacent DATA extents that begins at `e` and ends with the block at the latest; returns
 * the first extent behind it (NULL at the end). *full: there was no room, nothing was added (never on an
 * empty upload). */
struct extent *upload_add(struct upload *, struct extent *e, bool *full);
/* The run that begins at `e` is a piece of it, as it is now. */
bool upload_has(const struct upload *, const struct extent *e);
void upload_start(struct upload *);
/* done follows; what is stored by then is stored. */
void upload_cancel(struct upload *);
void upload_apply(const struct upload *, struct extents *);
/* Not under way. NULL is fine. */
void upload_destroy(struct upload *);

#endif
