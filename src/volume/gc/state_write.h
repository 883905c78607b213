/* state_write.h - turning the page: the lists of the next turn, then gc/state by compare-and-swap.
 *
 * After a lost or refused answer gc/state is read back and the nonce compared. Who is beaten deletes nothing:
 * the lists it has stored are of a turn that will be over, and go then.
 */
#ifndef VOLUME_GC_STATE_WRITE_H
#define VOLUME_GC_STATE_WRITE_H

#include "objstore/objstore.h"
#include "volume/engine.h"
#include "volume/format/gc_state.h"
#include "volume/gc/names.h"

struct state_write {
    struct engine *engine;
    const struct gc_state *former; /* what is to be replaced; kept by the caller until done */
    char etag[OBJSTORE_ETAG_MAX];
    const struct names *blocks, *maps; /* condemned from now on; likewise. At most GC_NAMES_MAX in all */
    void (*done)(struct state_write *);

    enum err err; /* OK; CONFLICT: somebody else has turned the page; CANCELED */

    struct gc_state *next; /* private from here */
    size_t at;             /* names that are in lists: blocks, then maps */
    struct buf *body;
    struct iovec iov;
    struct key key;
    struct objstore_req req;
    struct timer timer;
    enum { STATE_LIST, STATE_SWAP, STATE_LOOK, STATE_PAUSE } state;
    unsigned attempts;
    bool canceled;
};

void state_write_start(struct state_write *);
void state_write_cancel(struct state_write *); /* done follows */

#endif
