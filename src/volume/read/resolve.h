/* resolve.h - what a range of a volume holds: first by the layers in memory, as they are when it starts,
 * then by the map. Stretches come in order, adjacent, and cover the range.
 */
#ifndef VOLUME_RESOLVE_H
#define VOLUME_RESOLVE_H

#include "volume/map/walk.h"
#include "volume/volume_state.h"

enum stretch_kind {
    STRETCH_HOLE,
    STRETCH_ZEROS,
    STRETCH_MEMORY,
    STRETCH_PIECE,
    STRETCH_LOGGED,
    STRETCH_UNREADABLE
};

struct stretch {
    uint64_t start, bytes;
    enum stretch_kind kind;
    uint32_t skip;                   /* MEMORY PIECE LOGGED */
    struct buf *buf;                 /* MEMORY: the resolver's reference */
    struct piece_ref piece;          /* PIECE */
    const struct log_folder *folder; /* LOGGED */
    uint64_t slot;
};

enum resolve_layers {
    RESOLVE_ALL,     /* what a client sees */
    RESOLVE_FOLDING, /* what the checkpoint under way is to store: folding and the map */
};

struct resolve_layer_part;

struct resolve {
    struct volume *volume;
    enum resolve_layers layers;
    bool background; /* nobody waits for it */
    uint64_t start, end;
    size_t parts_max; /* 0: any. Of the layers' extents, and gaps between them, so many at most are looked at:
                       * the range then ends with them, and so does `end` */
    bool (*found)(struct resolve *, const struct stretch *); /* false: enough */
    void (*done)(struct resolve *);
    enum err err; /* OK, CANCELED */

    struct resolve_layer_part *parts; /* private from here */
    size_t part_count, part_room, part;
    struct map_root root;
    struct walk walk;
    struct task task;
    bool enough, canceled, walking;
};

/* found and done come from the loop, never from inside. */
void resolve_start(struct resolve *);
void resolve_cancel(struct resolve *);
/* Whether what is at `at` lies in a layer above the map; that holds up to *stop, which is at most `end`. */
bool resolve_is_layered(const struct volume *, uint64_t at, uint64_t end, uint64_t *stop);
/* From memory alone: true when everything was found. done is not called. */
bool resolve_now(struct resolve *);

#endif
