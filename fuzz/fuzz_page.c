/* Map pages: a byte for the level, one for the block size, then the page. What is accepted covers its region
 * without gaps and within bounds, and says the same when it is encoded again. */
#include "sealed.h"
#include "volume/format/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static bool same_extent(const struct leaf_extent *a, const struct leaf_extent *b)
{
    return a->start == b->start && a->bytes == b->bytes && a->kind == b->kind && a->skip == b->skip &&
           sha256_equal(&a->piece.hash, &b->piece.hash);
}

static void leaf_walk(const uint8_t *page, uint32_t block_size, struct leaf_builder *b)
{
    uint32_t region = block_size * PAGE_BLOCKS;
    for (uint32_t at = 0; at < region;) {
        struct leaf_extent e, last;
        leaf_find(page, at, &e);
        EXPECT(e.start == at && e.bytes > 0 && e.bytes <= region - at);
        leaf_find(page, at + e.bytes - 1, &last);
        EXPECT(same_extent(&e, &last));
        if (e.kind == EXTENT_PIECE)
            EXPECT(e.bytes <= e.piece.bytes && e.skip <= e.piece.bytes - e.bytes);
        leaf_builder_add(b, &e);
        at += e.bytes;
    }
    for (uint32_t i = 0; i < leaf_pieces(page); i++) {
        struct piece_ref piece;
        leaf_piece(page, i, &piece);
        EXPECT(piece.bytes > 0 && piece.stored_bytes == piece.bytes);
    }
}

static void leaf_accepted(const uint8_t *page, size_t n, uint32_t block_size)
{
    struct page_ref base;
    struct leaf_builder *b = leaf_builder_create(block_size);
    leaf_builder_base(b, page_base(page, &base) ? &base : NULL);
    leaf_walk(page, block_size, b);
    struct buf *again = leaf_builder_encode(b);
    EXPECT(again->bytes <= n && page_check(again->data, again->bytes, NULL, 0, block_size) == ERR_OK);
    EXPECT(page_sums(again->data).mapped == page_sums(page).mapped);
    leaf_builder_reset(b);
    leaf_walk(again->data, block_size, b);
    buf_unref(again);
    leaf_builder_destroy(b);
}

static void node_accepted(const uint8_t *page, size_t n, unsigned level, uint32_t block_size)
{
    static struct subtree children[PAGE_CHILDREN];
    struct page_ref base;
    for (unsigned i = 0; i < PAGE_CHILDREN; i++)
        node_child(page, i, &children[i]);
    struct buf *again = node_encode(block_size, level, children, page_base(page, &base) ? &base : NULL);
    EXPECT(again->bytes <= n && page_check(again->data, again->bytes, NULL, level, block_size) == ERR_OK);
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        struct subtree child;
        node_child(again->data, i, &child);
        EXPECT(child.kind == children[i].kind && child.page.self == children[i].page.self &&
               sha256_equal(&child.page.object.hash, &children[i].page.object.hash) &&
               sha256_equal(&child.page.hash, &children[i].page.hash) &&
               child.sums.mapped == children[i].sums.mapped);
    }
    buf_unref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    unsigned level = data[0] % (MAP_LEVEL_MAX + 2);
    uint32_t block_size = UINT32_C(4096) << data[1] % 11;
    uint8_t *page = sealed_binary(data + 2, n - 2);
    n -= 2;
    if (page_check(page, n, NULL, level, block_size) == ERR_OK) {
        EXPECT(page_level(page, n) == level && level <= MAP_LEVEL_MAX);
        if (level == 0)
            leaf_accepted(page, n, block_size);
        else
            node_accepted(page, n, level, block_size);
    }
    mem_free(page);
    return 0;
}
