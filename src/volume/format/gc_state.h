/* gc_state.h - the collector's own objects, encoded (docs/FORMAT.md: The collector): gc/state, and the lists
 * of condemned names that it refers to.
 *
 * gc/state is replaced by compare-and-swap only, like a manifest; lists are immutable and named by the hash
 * of their bytes and the turn they belong to.
 */
#ifndef VOLUME_GC_STATE_H
#define VOLUME_GC_STATE_H

#include "base/buf.h"
#include "volume/format/stored.h"

#define GC_STATE_KEY       "gc/state"
#define GC_STATE_BYTES_MAX (UINT32_C(256) << 10)
#define GC_NAMES_MAX       (UINT32_C(1) << 20) /* condemned in one turn, blocks and maps together */
#define GC_LISTS_MAX       256u
#define GC_LIST_NAMES_MAX  (UINT32_C(1) << 15) /* in one list */
#define GC_LIST_HINTS_MAX  (UINT32_C(1) << 13)
#define GC_HINTS_MAX       (UINT32_C(1) << 17) /* in all lists of a turn */
#define GC_LIST_BYTES_MAX  (UINT32_C(4) << 20)

/* One list, as gc/state names it. */
struct gc_list_ref {
    struct object_name object; /* its turn is that of the state */
    uint32_t bytes;
};

struct gc_state {
    uint64_t serial; /* 0: there is no such object; then the turn is 0 and nothing is condemned */
    char nonce[ID_HEX];
    uint32_t turn;
    struct gc_list_ref lists[GC_LISTS_MAX];
    size_t list_count;
};

struct buf *gc_state_encode(const struct gc_state *);
/* CORRUPT, UNSUPPORTED; `s` is untouched then. */
MUST_CHECK enum err gc_state_parse(const void *bytes, size_t n, struct gc_state *s, struct complaint *);

/* ---------------------------------------------------------------------- lists */

/* Where the bytes of a live piece in a condemned object lie as well: whoever refers to the old place may
 * refer to the new one instead. */
struct gc_hint {
    struct object_name from, to;
    uint32_t from_offset, to_offset, bytes;
    struct sha256 hash; /* of the piece */
};

struct gc_list {
    uint32_t turn;
    const struct object_name *blocks, *maps; /* condemned */
    uint32_t block_count, map_count;
    const struct gc_hint *hints;
    uint32_t hint_count;
};

/* At most GC_LIST_BYTES_MAX (asserted). */
struct buf *gc_list_encode(const struct gc_list *);
/* A checked list's counts; entries are then read one by one. CORRUPT, UNSUPPORTED. */
struct gc_list_view {
    uint32_t turn, block_count, map_count, hint_count;
    const uint8_t *entries;
};
MUST_CHECK enum err gc_list_parse(const void *bytes, size_t n, struct gc_list_view *);
void gc_list_block(const struct gc_list_view *, uint32_t i, struct object_name *);
void gc_list_map(const struct gc_list_view *, uint32_t i, struct object_name *);
void gc_list_hint(const struct gc_list_view *, uint32_t i, struct gc_hint *);

#endif
