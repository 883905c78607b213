#include "volume/map/fold_leaf.h"

#include <assert.h>

#include "base/bytes.h"

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

/* Changes over what the old page says. Returns how many extents were added, and the kind of the last. */
static unsigned merge(const struct fold_leaf *f, struct leaf_extent *last)
{
    unsigned count = 0;
    leaf_builder_reset(f->builder);
    leaf_builder_base(f->builder, f->base);
    for (uint32_t at = 0; at < f->size;) {
        const struct extent *e = extents_from(f->changes, f->region + at);
        struct leaf_extent x;
        if (e && e->start <= f->region + at)
            x = new_extent(e, f->region, at, f->size);
        else
            x = old_extent(f, at,
                           e && e->start < f->region + f->size ? (uint32_t)(e->start - f->region) : f->size);
        leaf_builder_add(f->builder, &x);
        count += !count || x.kind != EXTENT_ZEROS || last->kind != EXTENT_ZEROS;
        *last = x;
        at = x.start + x.bytes;
    }
    return count;
}

enum subtree_kind fold_leaf(const struct fold_leaf *f, struct buf **page)
{
    struct leaf_extent last = {0};
    unsigned extents = merge(f, &last);
    if (leaf_builder_empty(f->builder))
        return SUBTREE_HOLE;
    if (extents == 1 && last.kind == EXTENT_ZEROS)
        return SUBTREE_ZEROS;
    *page = leaf_builder_encode(f->builder);
    return SUBTREE_PAGE;
}
