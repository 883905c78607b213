/* extents.h - an ordered map from ranges of the export to what they hold: one layer of changes over the map.
 *
 * Ranges do not overlap. What is put replaces what was there; the parts of older extents that stick out
 * stay. DATA never crosses a block boundary (the caller's duty). Nodes and data are charged to the layer's
 * budget.
 */
#ifndef VOLUME_EXTENTS_H
#define VOLUME_EXTENTS_H

#include <uv/tree.h>

#include "base/buf.h"
#include "volume/format/stored.h"
#include "volume/gc/hold.h"

/* A piece that is stored, shared by the extents that refer to it. */
struct piece {
    unsigned refs;
    struct hold *hold; /* NULL: some log record or page names it */
    struct piece_ref ref;
};
struct piece *piece_create(const struct piece_ref *);
struct piece *piece_ref_get(struct piece *);
void piece_unref(struct piece *); /* NULL is fine */
/* A log record or a page of a manifest's map names it now. */
void piece_settle(struct piece *);

/* A folder of the log; lives as long as its volume. */
struct log_folder {
    struct link link;
    uint32_t epoch;
    char nonce[FOLDER_HEX];
};

enum content_kind {
    CONTENT_HOLE,
    CONTENT_ZEROS,
    CONTENT_DATA,   /* in memory */
    CONTENT_PIECE,  /* in a block object */
    CONTENT_LOGGED, /* in a log record, and no longer in memory */
};

struct content {
    enum content_kind kind;
    uint32_t skip; /* DATA: in buf; PIECE: in the piece; LOGGED: in the encoded record */
    union {
        struct {
            struct buf *buf;
            uint64_t generation; /* of the change that brought it: a part of it has the same */
        } data;
        struct piece *piece;
        struct {
            const struct log_folder *folder;
            uint64_t slot;
        } logged;
    };
};

struct extent {
    RB_ENTRY(extent) node;
    uint64_t start, end;
    struct content content;
};

struct extents {
    RB_HEAD(extent_tree, extent) tree;
    struct budget *budget;
    size_t count;
    uint64_t data_bytes; /* in DATA extents */
    size_t node_bytes;   /* what the extents themselves take, whatever they hold */
};

void extents_init(struct extents *, struct budget *);
void extents_clear(struct extents *);
static inline bool extents_empty(const struct extents *x)
{
    return x->count == 0;
}

/* Takes references of its own to what content names. */
void extents_put(struct extents *, uint64_t start, uint64_t end, const struct content *);
/* Lays everything of `over` onto `x`, which then has it all; over is empty after. */
void extents_overlay(struct extents *x, struct extents *over);
/* Moves everything into an empty layer of the same budget: O(1). */
void extents_move(struct extents *to, struct extents *from);

/* Every piece in it is named by a log record or a page now. */
void extents_settle(struct extents *);
/* Some piece in it is not. */
bool extents_held(const struct extents *);

/* The first extent that ends after `at`; NULL when there is none. */
struct extent *extents_from(const struct extents *, uint64_t at);
struct extent *extents_next(const struct extent *);

/* Wherever DATA of that generation still is in [start, end), it becomes a reference to the piece (whose
 * first byte is the export's byte piece_start), or zeros when piece is NULL. */
void extents_stored(struct extents *, uint64_t start, uint64_t end, uint64_t generation, struct piece *,
                    uint64_t piece_start);

#endif
