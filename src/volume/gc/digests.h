/* digests.h - a set of SHA-256 digests: what was visited already. 32 bytes a digest, and at most 12 for
 * finding it. */
#ifndef VOLUME_GC_DIGESTS_H
#define VOLUME_GC_DIGESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"

struct digests {
    struct sha256 **chunks;
    size_t count, chunk_room;
    uint32_t *slots; /* number + 1; 0: free */
    size_t slot_count;
};

/* A zeroed one is empty. True: it was not in it. */
bool digests_add(struct digests *, const struct sha256 *);
bool digests_has(const struct digests *, const struct sha256 *);
size_t digests_bytes(const struct digests *); /* allocated */
void digests_finish(struct digests *);

#endif
