/* condemned.h - a set of object names, in little memory: what the collector has condemned in a turn.
 *
 * Names are kept as 64 bits of their hash, turn and kind: a name that was never added may be found once in
 * 2^40 questions; then a duplicate is stored that need not have been, and nothing worse. At most 16 bytes a
 * name.
 */
#ifndef VOLUME_GC_CONDEMNED_H
#define VOLUME_GC_CONDEMNED_H

#include "volume/format/stored.h"

enum object_kind { OBJECT_BLOCK, OBJECT_MAP };

struct condemned {
    uint64_t *slots; /* 0: free */
    size_t slot_count, count;
};

/* A zeroed one is empty. */
void condemned_reserve(struct condemned *, size_t names); /* empty until now; for so many at most */
void condemned_add(struct condemned *, enum object_kind, const struct object_name *);
bool condemned_has(const struct condemned *, enum object_kind, const struct object_name *);
void condemned_clear(struct condemned *);

#endif
