/* encoded.h - what tests of binary formats need: references at random, damage, and a right checksum on wrong
 * content. */
#ifndef ENCODED_H
#define ENCODED_H

#include <string.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/prng.h"
#include "volume/format/stored.h"

/* As docs/FORMAT.md says: bytes 0 to 15 and 48 to the end. */
static inline void encoded_reseal(uint8_t *bytes, size_t n)
{
    struct iovec parts[] = {{bytes, 16}, {bytes + 48, n - 48}};
    struct sha256 sum = sha256_of_iov(parts, 2);
    memcpy(bytes + 16, sum.bytes, 32);
}

/* A copy in memory of exactly that size, so that a sanitizer sees every byte read behind it. */
static inline uint8_t *encoded_copy(const struct buf *b)
{
    return mem_dup(b->data, b->bytes);
}

static inline struct object_name random_object(struct prng *p)
{
    struct object_name object = {.turn = (uint32_t)prng_below(p, 3)};
    prng_fill(p, &object.hash, sizeof object.hash);
    return object;
}

static inline struct piece_ref random_piece(struct prng *p, const struct object_name *object,
                                            uint32_t bytes_max)
{
    struct piece_ref piece = {.object = *object, .offset = (uint32_t)prng_below(p, 1 << 22)};
    piece.bytes = piece.stored_bytes = 1 + (uint32_t)prng_below(p, bytes_max);
    prng_fill(p, &piece.hash, sizeof piece.hash);
    return piece;
}

static inline bool piece_equal(const struct piece_ref *a, const struct piece_ref *b)
{
    return sha256_equal(&a->object.hash, &b->object.hash) && a->object.turn == b->object.turn &&
           a->offset == b->offset && a->stored_bytes == b->stored_bytes && a->bytes == b->bytes &&
           a->codec == b->codec && a->cipher == b->cipher && a->key == b->key &&
           sha256_equal(&a->hash, &b->hash);
}

#endif
