/* lookup.h - numbers found by a key: a small hash table that only grows. Several may have the same key; what
 * they stand for is the caller's, who compares it. Zeroed, it is empty. */
#ifndef VOLUME_LOOKUP_H
#define VOLUME_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

struct lookup {
    struct lookup_slot *slots; /* a power of two, at most half of them taken */
    size_t slot_count, count;
};

void lookup_finish(struct lookup *);
void lookup_add(struct lookup *, uint64_t key, uint32_t number);

#define LOOKUP_NONE UINT32_MAX
/* The numbers of a key, one call after the other, LOOKUP_NONE at the end; *at is 0 before the first. */
uint32_t lookup_next(const struct lookup *, uint64_t key, size_t *at);

#endif
