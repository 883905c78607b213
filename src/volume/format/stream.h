/* stream.h - incremental backups: what makes one snapshot of another, as a stream of frames (docs/FORMAT.md:
 * Streams). Plain values, no I/O.
 *
 * A head, then ranges in ascending order, then an end. Every frame has its own checksum and number; the end
 * has the checksum of all of them, so that none can be missing or stand in another's place.
 */
#ifndef VOLUME_STREAM_H
#define VOLUME_STREAM_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "volume/format/envelope.h"
#include "volume/volume.h"

#define STREAM_DATA_MAX  (UINT32_C(1) << 20) /* bytes of the export in a frame */
#define STREAM_FRAME_MAX (STREAM_DATA_MAX + 64u)

enum stream_kind { STREAM_HEAD, STREAM_DATA, STREAM_ZEROS, STREAM_HOLE, STREAM_END };

struct stream_head {
    uint64_t base_bytes, bytes; /* sizes, of what it is applied to and of what it makes */
    uint32_t block_size, object_size;
    uint8_t base_id[16]; /* of the snapshot; zeros: of nothing, an export that is all hole */
    uint8_t id[16];
    char base_name[VOLUME_NAME_MAX + 1]; /* for people */
    char name[VOLUME_NAME_MAX + 1];      /* NAME@SNAPSHOT, of which the snapshot's is kept */
};

struct stream_frame {
    enum stream_kind kind;
    struct stream_head head;
    uint64_t offset, bytes; /* DATA ZEROS HOLE */
    const uint8_t *data;    /* DATA: within what was read */
};

/* The writer's and the reader's state: zeroed at first. */
struct stream {
    uint32_t frames;
    uint64_t at; /* the end of the last range */
    uint64_t bytes;
    bool ended;
    struct sha256 sums; /* of the sums before, and the last frame's */
};

struct buf *stream_put_head(struct stream *, const struct stream_head *);
/* Room for the data of a frame of so many bytes, at *data; closed by stream_put_data. */
struct buf *stream_make_data(uint64_t offset, uint32_t bytes, uint8_t **data);
void stream_put_data(struct stream *, struct buf *frame);
struct buf *stream_put_range(struct stream *, enum stream_kind zeros_or_hole, uint64_t offset,
                             uint64_t bytes);
struct buf *stream_put_end(struct stream *);

/* The length of the frame that begins with these ENVELOPE_BYTES; 0: it is none. */
uint32_t stream_frame_bytes(const uint8_t *envelope);
/* Checks everything: its own sum, that it is the next one, that its range is inside and behind the last
 * one. CORRUPT or UNSUPPORTED with a complaint. */
MUST_CHECK enum err stream_take(struct stream *, const uint8_t *frame, size_t n, struct stream_frame *,
                                struct complaint *);

#endif
