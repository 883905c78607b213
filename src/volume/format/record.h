/* record.h - log records and seals, encoded (docs/FORMAT.md: The log).
 *
 * A record says what has changed, in order: later entries lie over earlier ones. Records of one flush that
 * does not fit into one form a batch: consecutive slots, `first` the same in all, `last` set in the last. A
 * batch counts whole or not at all.
 */
#ifndef VOLUME_RECORD_H
#define VOLUME_RECORD_H

#include "base/buf.h"
#include "volume/format/stored.h"

#define RECORD_BYTES_MAX (UINT32_C(1) << 20)
#define SEAL_BYTES       128u /* exactly; every record is longer */

struct record_head {
    uint8_t export_id[16];
    uint32_t epoch;
    uint8_t folder[8]; /* the folder's nonce: a record belongs to one folder only */
    uint64_t slot;     /* its own number */
    uint64_t first;    /* the slot of its batch's first record */
    bool last;         /* the batch ends here */
};

enum entry_kind { ENTRY_HOLE, ENTRY_ZEROS, ENTRY_PIECE, ENTRY_INLINE };

struct record_entry {
    uint64_t offset, bytes; /* the range of the export */
    enum entry_kind kind;
    struct piece_ref piece; /* PIECE */
    uint32_t skip; /* PIECE: the range's first byte within the piece. INLINE: where the bytes begin in the
                      record */
};

/* ------------------------------------------------------------------- making */

struct record_builder; /* on the heap */
/* For records of at most bytes_max, which is at most RECORD_BYTES_MAX. */
struct record_builder *record_builder_create(size_t bytes_max);
void record_builder_destroy(struct record_builder *);
void record_builder_reset(struct record_builder *);
/* False when it does not fit any more: nothing was added. Objects named by several pieces are stored once. */
bool record_add_range(struct record_builder *, uint64_t offset, uint64_t bytes,
                      enum entry_kind hole_or_zeros);
bool record_add_piece(struct record_builder *, uint64_t offset, uint64_t bytes, const struct piece_ref *,
                      uint32_t skip);
/* The bytes are copied from the iovec, which has `bytes` bytes in all. */
bool record_add_inline(struct record_builder *, uint64_t offset, uint32_t bytes, const struct iovec *,
                       size_t iov_count);
/* Inline bytes that still fit, as one entry. */
size_t record_builder_room(const struct record_builder *);
size_t record_builder_entries(const struct record_builder *);
/* The record, ready to be stored; where the i-th inline entry's bytes begin in it is what the parser says. */
struct buf *record_builder_encode(const struct record_builder *, const struct record_head *);

/* ------------------------------------------------------------------ reading */

enum log_object { LOG_RECORD, LOG_SEAL };

struct record {
    struct record_head head;
    uint32_t entries;
    const uint8_t *bytes; /* of the encoded record, which must outlive this */
    size_t size;
};

/* Checks magic, version, lengths, checksum, every entry and bound. CORRUPT, or UNSUPPORTED for a newer
 * version. For a seal only *what is set. */
MUST_CHECK enum err record_parse(const void *bytes, size_t n, enum log_object *what, struct record *);
void record_entry(const struct record *, uint32_t i, struct record_entry *);

/* A seal: SEAL_BYTES, by which server, random: no two are equal. */
void seal_encode(uint8_t out[SEAL_BYTES], const uint8_t export_id[16], uint32_t epoch,
                 const uint8_t folder[8], uint64_t slot, const char *server_id, const uint8_t nonce[16]);

#endif
