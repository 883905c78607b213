/* output.h - what waits to be sent: headers written in place, data by reference, as iovecs for one writev.
 *
 * Headers go into blocks that are reference-counted like data; neighbouring headers share one iovec. An empty
 * queue holds no memory after output_rest.
 *
 * A reference keeps the whole of its buffer, however little of it is to be sent: `held` says how much is kept
 * that way, and output_compact lets go of what is more than twice of what is sent.
 */
#ifndef NBD_OUTPUT_H
#define NBD_OUTPUT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"

struct nbd_output_item {
    const uint8_t *at;
    size_t bytes;
    struct buf *buf; /* the reference that keeps it; NULL: static memory */
    size_t held;     /* bytes of buf, where it is data of others */
};

struct nbd_output {
    struct nbd_output_item *items;
    size_t first, end, room; /* items[first .. end) */
    size_t bytes, held;
    size_t compact;    /* items before it are as small as they get */
    struct buf *block; /* headers go here */
    size_t block_used;
};

/* Room for so many bytes, to be filled in before output_iovecs. Stays writable until sent. */
uint8_t *output_header(struct nbd_output *, size_t bytes);
/* Takes a reference. */
void output_data(struct nbd_output *, struct buf *, size_t skip, size_t bytes);
void output_zeros(struct nbd_output *, uint64_t bytes);

size_t output_iovecs(const struct nbd_output *, struct iovec *, size_t max);
void output_sent(struct nbd_output *, size_t bytes);
/* Copies what is small out of what is large. Each item is looked at once. */
void output_compact(struct nbd_output *);
/* Gives the memory back; nothing is waiting. */
void output_rest(struct nbd_output *);
/* Drops what is waiting. */
void output_finish(struct nbd_output *);

#endif
