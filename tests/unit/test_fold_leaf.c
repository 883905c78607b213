#include "volume/map/fold_leaf.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "unit.h"

#define BLOCK (UINT32_C(4) << 20)

static struct budget budget;

static void put_piece(struct extents *x, uint64_t start, uint64_t end, uint64_t n)
{
    struct piece_ref ref = {.bytes = (uint32_t)(end - start), .stored_bytes = (uint32_t)(end - start)};
    ref.hash = sha256_of(&n, sizeof n);
    ref.object.hash = sha256_of(&ref.hash, sizeof ref.hash);
    struct content c = {.kind = CONTENT_PIECE, .piece = piece_create(&ref)};
    extents_put(x, start, end, &c);
    piece_unref(c.piece);
}

static struct buf *fold(const struct extents *changes, const struct buf *old)
{
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    struct fold_leaf f = {.name = "disk",
                          .builder = b,
                          .changes = changes,
                          .block_size = BLOCK,
                          .size = BLOCK * PAGE_BLOCKS,
                          .old = old ? old->data : NULL,
                          .old_kind = old ? SUBTREE_PAGE : SUBTREE_HOLE};
    struct buf *page = NULL;
    enum subtree_kind kind = fold_leaf(&f, &page);
    leaf_builder_destroy(b);
    assert_int_equal(kind, SUBTREE_PAGE);
    assert_true(page->bytes <= PAGE_BYTES_CAP);
    assert_int_equal(page_check(page->data, page->bytes, NULL, 0, BLOCK), ERR_OK);
    return page;
}

static bool says(const struct buf *page, uint32_t at, const struct leaf_extent *expected)
{
    struct leaf_extent x;
    leaf_find(page->data, at, &x);
    return x.kind == expected->kind && x.start == expected->start && x.bytes == expected->bytes &&
           (x.kind != EXTENT_PIECE || sha256_equal(&x.piece.hash, &expected->piece.hash));
}

/* A block of damage overwritten in 200,000 places is more than a page can say: that block alone is lost. */
static void a_leaf_beyond_the_cap(void **state)
{
    struct extents whole, changes;
    struct leaf_extent before, was;
    (void)state;
    budget_init(&budget, 1, NULL);
    extents_init(&whole, &budget);
    extents_init(&changes, &budget);
    for (uint64_t i = 0; i < PAGE_BLOCKS; i++)
        put_piece(&whole, i * BLOCK, (i + 1) * BLOCK, i);
    struct buf *old = fold(&whole, NULL);
    for (uint64_t i = 0; i < 200000; i++)
        put_piece(&changes, BLOCK + i * 16, BLOCK + i * 16 + 8, 1000 + i);
    for (uint64_t i = 0; i < LEAF_PARTS_MAX / 2 - 1; i++) /* not too many */
        put_piece(&changes, 3 * BLOCK + 8 + i * 16, 3 * BLOCK + 16 + i * 16, 1000000 + i);
    struct buf *page = fold(&changes, old);
    leaf_find(old->data, 0, &before);
    assert_true(says(page, 0, &before));
    leaf_find(page->data, BLOCK, &was);
    struct leaf_extent lost = {.start = BLOCK, .bytes = BLOCK, .kind = EXTENT_PIECE};
    assert_true(says(page, BLOCK, &lost) && says(page, 2 * BLOCK - 1, &lost));
    leaf_find(old->data, 2 * BLOCK, &before);
    assert_true(says(page, 2 * BLOCK, &before));
    leaf_find(page->data, 3 * BLOCK + 8, &was);
    assert_true(was.kind == EXTENT_PIECE && was.bytes == 8 && was.skip == 0);
    leaf_find(page->data, 3 * BLOCK + 16, &was);
    assert_true(was.kind == EXTENT_PIECE && was.bytes == 8 && was.skip == 16);

    extents_clear(&changes); /* written anew it is whole again */
    put_piece(&changes, BLOCK, 2 * BLOCK, 7);
    struct buf *mended = fold(&changes, page);
    leaf_find(mended->data, BLOCK, &was);
    assert_true(was.kind == EXTENT_PIECE && was.bytes == BLOCK &&
                !sha256_equal(&was.piece.hash, &lost.piece.hash));
    extents_clear(&changes);
    extents_clear(&whole);
    buf_unref(old);
    buf_unref(page);
    buf_unref(mended);
    assert_int_equal(budget.used, 0);
}

RUN_TESTS(cmocka_unit_test(a_leaf_beyond_the_cap))
