/* dedup.h - the index of stored blocks: from the SHA-256 of a whole block to the piece that holds it.
 *
 * Missing a duplicate costs space, never correctness, so the index is of fixed size and forgets what was not
 * asked for lately. What it answers is always what was added.
 *
 * Guarantees
 *   1. Never more memory than the bound given at creation.
 *   2. After dedup_forget no piece in that object is found, until it is added again. It takes the same
 *      short time whatever the size of the index.
 *   3. What it holds depends on the calls made and on nothing else.
 *
 * One loop thread owns it.
 */
#ifndef VOLUME_DEDUP_H
#define VOLUME_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "volume/format/stored.h"

struct dedup;

struct dedup *dedup_create(size_t bytes_max); /* too few for one entry: nothing is ever found */
void dedup_destroy(struct dedup *);           /* NULL is fine */

/* True and *out when a block of that hash and length is known to be stored. */
bool dedup_find(struct dedup *, const struct sha256 *, uint32_t bytes, struct piece_ref *out);
/* A hash that is known keeps the piece it has. Pieces that are compressed or encrypted are not taken in. */
void dedup_add(struct dedup *, const struct piece_ref *);
/* The object is missing, damaged, or condemned. */
void dedup_forget(struct dedup *, const struct object_name *);
/* All of it. */
void dedup_clear(struct dedup *);

struct dedup_stats {
    size_t entries, bytes; /* bytes allocated */
    uint64_t hits, misses, evictions;
};
void dedup_stats(const struct dedup *, struct dedup_stats *);

#endif
