#include "volume/map/fold_leaf.h"

#include <assert.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"

static struct leaf_extent old_extent(const struct fold_leaf *f, uint32_t at, uint32_t end)
{
    struct leaf_extent x = {.start = at, .bytes = end - at, .kind = EXTENT_HOLE};
    if (f->old) {
        leaf_find(f->old, at, &x);
        uint32_t cut = at - x.start;
        x.skip += x.kind == EXTENT_PIECE ? cut : 0;
        x.start = at;
        x.bytes = MIN(x.bytes - cut, end - at);
    } else if (f->old_kind == SUBTREE_ZEROS) {
        x.kind = EXTENT_ZEROS;
    } else if (f->old_kind != SUBTREE_HOLE) {
        x.kind = EXTENT_BASE;
    }
    return x;
}

static struct leaf_extent new_extent(const struct extent *e, uint64_t region, uint32_t at, uint32_t end)
{
    struct leaf_extent x = {.start = at, .bytes = (uint32_t)(MIN(e->end, region + end) - region) - at};
    switch (e->content.kind) {
    case CONTENT_HOLE:
        x.kind = EXTENT_HOLE;
        break;
    case CONTENT_ZEROS:
        x.kind = EXTENT_ZEROS;
        break;
    case CONTENT_PIECE:
        x.kind = EXTENT_PIECE;
        x.piece = e->content.piece->ref;
        x.skip = e->content.skip + (uint32_t)(region + at - e->start);
        break;
    case CONTENT_DATA:
    case CONTENT_LOGGED:
        assert(!"fold: not packed");
    }
    return x;
}

/* What is at `at`, up to where it changes or the region ends. */
static struct leaf_extent merged_at(const struct fold_leaf *f, uint32_t at)
{
    const struct extent *e = extents_from(f->changes, f->region + at);
    if (e && e->start <= f->region + at)
        return new_extent(e, f->region, at, f->size);
    return old_extent(f, at,
                      e && e->start < f->region + f->size ? (uint32_t)(e->start - f->region) : f->size);
}

/* Changes over what the old page says, or until they pass the cap. Returns how many extents were added, and
 * the kind of the last. */
static unsigned merge(const struct fold_leaf *f, struct leaf_extent *last)
{
    unsigned count = 0;
    leaf_builder_reset(f->builder);
    leaf_builder_base(f->builder, f->base);
    for (uint32_t at = 0; at < f->size && leaf_builder_bytes(f->builder) <= PAGE_BYTES_CAP;
         at = last->start + last->bytes) {
        struct leaf_extent x = merged_at(f, at);
        leaf_builder_add(f->builder, &x);
        count += !count || x.kind != EXTENT_ZEROS || last->kind != EXTENT_ZEROS;
        *last = x;
    }
    return count;
}

/* ---------------------------------------------------------------- beyond the cap */

static uint32_t block_end(const struct fold_leaf *f, uint32_t at)
{
    return MIN(f->size, (at / f->block_size + 1) * f->block_size);
}

/* Whether the block that begins at `at` is in too many parts. */
static bool is_given_up(const struct fold_leaf *f, uint32_t at)
{
    uint32_t end = block_end(f, at);
    unsigned parts = 0;
    while (at < end && parts <= LEAF_PARTS_MAX) {
        struct leaf_extent x = merged_at(f, at);
        at = x.start + x.bytes;
        parts++;
    }
    return parts > LEAF_PARTS_MAX;
}

/* A piece that is nowhere, so that reading says so. */
static void add_unreadable(const struct fold_leaf *f, uint32_t at, uint32_t end)
{
    struct leaf_extent x = {.start = at, .bytes = end - at, .kind = EXTENT_PIECE};
    x.piece.bytes = x.piece.stored_bytes = end - at;
    leaf_builder_add(f->builder, &x);
    mark_hit("leaf-gives-up-block");
    log_error("checkpoint",
              "%s: %u bytes at %llu are damaged and were overwritten in more than %u parts: given up, an I/O "
              "error until they are written anew",
              f->name, end - at, (unsigned long long)(f->region + at), LEAF_PARTS_MAX);
}

static void merge_within_cap(const struct fold_leaf *f)
{
    leaf_builder_reset(f->builder);
    leaf_builder_base(f->builder, f->base);
    for (uint32_t at = 0, end; at < f->size; at = end) {
        end = block_end(f, at);
        if (is_given_up(f, at)) {
            add_unreadable(f, at, end);
            continue;
        }
        for (uint32_t next = at; next < end;) {
            struct leaf_extent x = merged_at(f, next);
            x.bytes = MIN(x.bytes, end - next);
            leaf_builder_add(f->builder, &x);
            next += x.bytes;
        }
    }
    assert(leaf_builder_bytes(f->builder) <= PAGE_BYTES_CAP);
}

enum subtree_kind fold_leaf(const struct fold_leaf *f, struct buf **page)
{
    struct leaf_extent last = {0};
    unsigned extents = merge(f, &last);
    if (leaf_builder_empty(f->builder))
        return SUBTREE_HOLE;
    if (extents == 1 && last.kind == EXTENT_ZEROS)
        return SUBTREE_ZEROS;
    if (leaf_builder_bytes(f->builder) > PAGE_BYTES_CAP)
        merge_within_cap(f);
    *page = leaf_builder_encode(f->builder);
    return SUBTREE_PAGE;
}
