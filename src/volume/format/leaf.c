#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "volume/format/page_format.h"
#include "volume/format/table.h"

enum { EXTENT_BYTES = 16, AT_BYTES = 4, AT_PIECE = 8, AT_SKIP = 12 };

#define PIECE_IS_HOLE  UINT32_C(0xffffffff)
#define PIECE_IS_ZEROS UINT32_C(0xfffffffe)

static uint32_t leaf_region(uint32_t block_size)
{
    return block_size * PAGE_BLOCKS;
}

/* ------------------------------------------------------------------- reading */

static uint32_t extent_count(const uint8_t *page)
{
    return get_le32(page + PAGE_AT_MORE);
}

static struct piece_view view_of(const uint8_t *page)
{
    return piece_view_at(page_body(page), (uint32_t)get_le64(page + PAGE_AT_OBJECTS),
                         get_le32(page + PAGE_AT_COUNT));
}

static const uint8_t *extent_at(const uint8_t *page, uint32_t i)
{
    uint64_t tables = piece_view_bytes(get_le64(page + PAGE_AT_OBJECTS), get_le32(page + PAGE_AT_COUNT));
    return page_body(page) + tables + (size_t)i * EXTENT_BYTES;
}

static bool extent_check(const uint8_t *extent, const struct piece_view *pieces, bool has_base,
                         uint64_t *mapped)
{
    uint32_t bytes = get_le32(extent + AT_BYTES), piece = get_le32(extent + AT_PIECE);
    uint32_t skip = get_le32(extent + AT_SKIP);
    if (piece == PIECE_IS_ZEROS)
        return skip == 0;
    if (piece == PIECE_IS_HOLE)
        return skip == 0 && has_base;
    if (piece >= pieces->piece_count)
        return false;
    uint32_t held = piece_view_bytes_of(pieces, piece);
    *mapped += bytes;
    return skip < held && bytes <= held - skip;
}

static bool sizes_check(const uint8_t *page, size_t n)
{
    uint64_t objects = get_le64(page + PAGE_AT_OBJECTS);
    if (objects > n / OBJECT_ENTRY_BYTES)
        return false;
    uint64_t body = piece_view_bytes(objects, get_le32(page + PAGE_AT_COUNT)) +
                    (uint64_t)extent_count(page) * EXTENT_BYTES;
    return body == n - (size_t)(page_body(page) - page);
}

bool leaf_check(const uint8_t *page, size_t n, uint32_t block_size)
{
    if (!sizes_check(page, n))
        return false;
    struct piece_view pieces = view_of(page);
    uint64_t stored, mapped = 0, end = 0;
    if (!piece_view_check(&pieces, &stored))
        return false;
    for (uint32_t i = 0; i < extent_count(page); i++) {
        const uint8_t *extent = extent_at(page, i);
        uint64_t start = get_le32(extent), bytes = get_le32(extent + AT_BYTES);
        if (bytes == 0 || start < end || !extent_check(extent, &pieces, page_has_base(page), &mapped))
            return false;
        end = start + bytes;
        if (end > leaf_region(block_size))
            return false;
    }
    return mapped == get_le64(page + PAGE_AT_MAPPED) && stored == get_le64(page + PAGE_AT_STORED);
}

/* The number of extents that begin at or before `at`. */
static uint32_t extents_up_to(const uint8_t *page, uint32_t at)
{
    const uint8_t *first = extent_at(page, 0);
    uint32_t low = 0, high = extent_count(page);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (get_le32(first + (size_t)middle * EXTENT_BYTES) <= at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void extent_get(const uint8_t *page, const uint8_t *entry, struct leaf_extent *out)
{
    uint32_t piece = get_le32(entry + AT_PIECE);
    *out = (struct leaf_extent){
        .start = get_le32(entry), .bytes = get_le32(entry + AT_BYTES), .skip = get_le32(entry + AT_SKIP)};
    if (piece == PIECE_IS_HOLE) {
        out->kind = EXTENT_HOLE;
    } else if (piece == PIECE_IS_ZEROS) {
        out->kind = EXTENT_ZEROS;
    } else {
        struct piece_view pieces = view_of(page);
        out->kind = EXTENT_PIECE;
        piece_view_get(&pieces, piece, &out->piece);
    }
}

void leaf_find(const void *bytes, uint32_t at, struct leaf_extent *out)
{
    const uint8_t *page = bytes;
    uint32_t next = extents_up_to(page, at), gap_start = 0;
    uint32_t gap_end = leaf_region(get_le32(page + PAGE_AT_BLOCK_SIZE));
    assert(at < gap_end);
    if (next > 0) {
        const uint8_t *entry = extent_at(page, next - 1);
        gap_start = get_le32(entry) + get_le32(entry + AT_BYTES);
        if (at < gap_start) {
            extent_get(page, entry, out);
            return;
        }
    }
    if (next < extent_count(page))
        gap_end = get_le32(extent_at(page, next));
    *out = (struct leaf_extent){.start = gap_start,
                                .bytes = gap_end - gap_start,
                                .kind = page_has_base(page) ? EXTENT_BASE : EXTENT_HOLE};
}

uint32_t leaf_pieces(const void *page)
{
    return get_le32((const uint8_t *)page + PAGE_AT_COUNT);
}

void leaf_piece(const void *page, uint32_t i, struct piece_ref *piece)
{
    struct piece_view pieces = view_of(page);
    piece_view_get(&pieces, i, piece);
}

/* -------------------------------------------------------------------- making */

struct extent {
    uint32_t start, bytes, piece, skip;
};

struct leaf_builder {
    uint32_t block_size;
    struct piece_tables tables;
    struct extent *extents; /* holes among them, which are encoded only over a base */
    size_t count, capacity, holes;
    uint64_t mapped;
    bool has_base;
    struct page_ref base;
};

struct leaf_builder *leaf_builder_create(uint32_t block_size)
{
    struct leaf_builder *b = MEM_NEW(struct leaf_builder);
    b->block_size = block_size;
    piece_tables_init(&b->tables);
    return b;
}

void leaf_builder_destroy(struct leaf_builder *b)
{
    if (!b)
        return;
    piece_tables_finish(&b->tables);
    mem_free(b->extents);
    mem_free(b);
}

void leaf_builder_base(struct leaf_builder *b, const struct page_ref *base)
{
    b->has_base = base != NULL;
    if (base)
        b->base = *base;
}

void leaf_builder_reset(struct leaf_builder *b)
{
    piece_tables_reset(&b->tables);
    b->count = b->holes = 0;
    b->mapped = 0;
    b->has_base = false;
}

static bool continues(const struct extent *last, const struct extent *e)
{
    if (last->start + last->bytes != e->start || last->piece != e->piece)
        return false;
    return e->piece == PIECE_IS_HOLE || e->piece == PIECE_IS_ZEROS || last->skip + last->bytes == e->skip;
}

void leaf_builder_add(struct leaf_builder *b, const struct leaf_extent *from)
{
    struct extent *last = b->count ? &b->extents[b->count - 1] : NULL;
    assert(from->bytes > 0 && from->bytes <= leaf_region(b->block_size) &&
           from->start <= leaf_region(b->block_size) - from->bytes);
    assert(!last || last->start + last->bytes <= from->start);
    if (from->kind == EXTENT_BASE)
        return;
    struct extent e = {.start = from->start, .bytes = from->bytes, .piece = PIECE_IS_HOLE};
    if (from->kind == EXTENT_ZEROS)
        e.piece = PIECE_IS_ZEROS;
    if (from->kind == EXTENT_PIECE) {
        assert(from->skip < from->piece.bytes && from->bytes <= from->piece.bytes - from->skip);
        e.piece = piece_tables_add(&b->tables, &from->piece);
        e.skip = from->skip;
        b->mapped += e.bytes;
    }
    if (last && continues(last, &e)) {
        last->bytes += e.bytes;
        return;
    }
    if (b->count == b->capacity) {
        b->capacity = b->capacity ? 2 * b->capacity : PAGE_BLOCKS;
        b->extents = mem_realloc(b->extents, b->capacity * sizeof *b->extents);
    }
    b->holes += e.piece == PIECE_IS_HOLE;
    b->extents[b->count++] = e;
}

static size_t extents_encoded(const struct leaf_builder *b)
{
    return b->has_base ? b->count : b->count - b->holes;
}

size_t leaf_builder_bytes(const struct leaf_builder *b)
{
    return PAGE_HEAD_BYTES + (b->has_base ? PAGE_BASE_BYTES : 0) + piece_tables_bytes(&b->tables) +
           extents_encoded(b) * EXTENT_BYTES;
}

bool leaf_builder_empty(const struct leaf_builder *b)
{
    return !b->has_base && b->count == b->holes;
}

struct buf *leaf_builder_encode(const struct leaf_builder *b)
{
    struct buf *out = buf_create(leaf_builder_bytes(b));
    struct map_sums sums = {
        .mapped = b->mapped, .stored = b->tables.stored, .objects = b->tables.objects.count};
    uint8_t *to = page_put_head(out->data, b->block_size, 0, sums, b->tables.pieces.count,
                                (uint32_t)extents_encoded(b), b->has_base ? &b->base : NULL);
    to = piece_tables_put(&b->tables, to);
    for (size_t i = 0; i < b->count; i++) {
        const struct extent *e = &b->extents[i];
        if (e->piece == PIECE_IS_HOLE && !b->has_base)
            continue;
        put_le32(to, e->start);
        put_le32(to + AT_BYTES, e->bytes);
        put_le32(to + AT_PIECE, e->piece);
        put_le32(to + AT_SKIP, e->skip);
        to += EXTENT_BYTES;
    }
    assert(to == out->data + out->bytes);
    page_close(out->data, out->bytes);
    return out;
}
