/* page.h - pages of the map, encoded (docs/FORMAT.md: Map pages).
 *
 * A leaf page covers 128 blocks, a node page 256 pages of the level below. Pages stay encoded in memory:
 * page_check goes over every field once when a page is loaded; the accessors then search the bytes and trust
 * them.
 */
#ifndef VOLUME_PAGE_H
#define VOLUME_PAGE_H

#include "base/buf.h"
#include "volume/format/stored.h"

#define PAGE_BLOCKS    128u
#define PAGE_CHILDREN  256u
#define PAGE_BYTES_MAX (UINT32_C(64) << 10) /* what a checkpoint aims at */
#define PAGE_BYTES_CAP (UINT32_C(16) << 20) /* what unreadable pieces may force */
#define MAP_LEVEL_MAX  6u

/* Bytes of the export under one page of that level; saturates at 2^63. */
uint64_t page_region(uint32_t block_size, unsigned level);
/* The lowest level whose region holds `size` bytes. */
unsigned page_root_level(uint32_t block_size, uint64_t size);

/* ------------------------------------------------------------------- reading */

/* Checks magic, version, lengths, checksum (`hash` when given is what the page must hash to), every index,
 * order and bound, and that it is a page of this level and block size. CORRUPT otherwise. */
MUST_CHECK enum err page_check(const void *bytes, size_t n, const struct sha256 *hash, unsigned level,
                               uint32_t block_size);
struct map_sums page_sums(const void *page);
/* As the head says; for a page whose level is not known from where its reference was found (a base): read
 * this first, then page_check with it. n is at least the head's size, or the answer is > MAP_LEVEL_MAX. */
unsigned page_level(const void *page, size_t n);
/* True when the page lies over another, unreadable one: *base is set, and what the page does not say is as
 * there. The base is a page of the same or of a higher level which covers this page's region. */
bool page_base(const void *page, struct page_ref *base);

enum extent_kind { EXTENT_HOLE, EXTENT_ZEROS, EXTENT_PIECE, EXTENT_BASE };

struct leaf_extent {
    uint32_t start, bytes; /* relative to the page's region */
    enum extent_kind kind; /* what no extent of the page covers is a HOLE, or with a base BASE */
    uint32_t skip;         /* PIECE: the extent's first byte within the piece */
    struct piece_ref piece;
};

/* The extent that holds `at` (below the region's size), gaps included: start <= at < start + bytes. */
void leaf_find(const void *page, uint32_t at, struct leaf_extent *);

/* The page's pieces, for the index of duplicates: 0 .. leaf_pieces - 1. */
uint32_t leaf_pieces(const void *page);
void leaf_piece(const void *page, uint32_t i, struct piece_ref *);

/* A node's child, 0 .. PAGE_CHILDREN - 1. */
void node_child(const void *page, unsigned i, struct subtree *);

/* A reference found in a page which itself lies in `holder`: as it reads from outside (self resolved). */
static inline struct page_ref page_ref_from(struct page_ref ref, const struct object_name *holder)
{
    if (ref.self) {
        ref.object = *holder;
        ref.self = false;
    }
    return ref;
}

/* ------------------------------------------------------------------- making */

struct leaf_builder; /* on the heap; grows with what is added */
struct leaf_builder *leaf_builder_create(uint32_t block_size);
void leaf_builder_destroy(struct leaf_builder *);                           /* NULL is fine */
void leaf_builder_base(struct leaf_builder *, const struct page_ref *base); /* NULL: none (again) */
void leaf_builder_reset(struct leaf_builder *);
/* In ascending order, not overlapping. Adjacent extents that continue each other (same kind; same piece and
 * skip that goes on) become one. Without a base a HOLE adds nothing; with one, BASE adds nothing. */
void leaf_builder_add(struct leaf_builder *, const struct leaf_extent *);
/* Bytes it would encode to now. */
size_t leaf_builder_bytes(const struct leaf_builder *);
/* True when nothing was added and there is no base: the region is a hole. */
bool leaf_builder_empty(const struct leaf_builder *);
/* One reference to the encoded page; the builder is unchanged. */
struct buf *leaf_builder_encode(const struct leaf_builder *);

/* Encodes PAGE_CHILDREN children; sums are the children's added up. base may be NULL; SUBTREE_BASE children
 * only with a base. */
struct buf *node_encode(uint32_t block_size, unsigned level, const struct subtree children[PAGE_CHILDREN],
                        const struct page_ref *base);

#endif
