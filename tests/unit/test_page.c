#include "volume/format/page.h"

#include "encoded.h"
#include "unit.h"

#define BLOCK  (UINT32_C(128) << 10)
#define REGION (BLOCK * PAGE_BLOCKS)

static void regions_and_levels(void **state)
{
    (void)state;
    assert_true(page_region(BLOCK, 0) == 16 * MIB && page_region(BLOCK, 1) == 4 * GIB);
    assert_true(page_region(BLOCK, 2) == TIB && page_region(BLOCK, 3) == 256 * TIB);
    assert_true(page_region(4096, 6) == UINT64_C(1) << 63 && page_region(4 << 20, 6) == UINT64_C(1) << 63);
    assert_int_equal(page_root_level(BLOCK, 1), 0);
    assert_int_equal(page_root_level(BLOCK, 16 * MIB), 0);
    assert_int_equal(page_root_level(BLOCK, 16 * MIB + 1), 1);
    assert_int_equal(page_root_level(4096, INT64_MAX), 6);
    assert_int_equal(page_root_level(4 << 20, INT64_MAX), 5);
}

/* --------------------------------------------------------------------- leaves */

static struct page_ref random_ref(struct prng *p)
{
    struct page_ref ref = {.offset = (uint32_t)prng_below(p, 1 << 20),
                           .bytes = 80 + (uint32_t)prng_below(p, 60000)};
    ref.self = prng_below(p, 2);
    if (!ref.self)
        ref.object = random_object(p);
    prng_fill(p, &ref.hash, sizeof ref.hash);
    return ref;
}

static bool ref_equal(const struct page_ref *a, const struct page_ref *b)
{
    return a->self == b->self &&
           (a->self ||
            (sha256_equal(&a->object.hash, &b->object.hash) && a->object.turn == b->object.turn)) &&
           a->offset == b->offset && a->bytes == b->bytes && sha256_equal(&a->hash, &b->hash);
}

/* What a leaf says about each byte, one entry every 512 bytes. */
enum { GRAIN = 512, GRAINS = REGION / GRAIN };

struct picture {
    struct leaf_extent at[GRAINS]; /* as if every grain were an extent of its own */
    uint64_t mapped;
};

static void paint(struct picture *picture, const struct leaf_extent *e)
{
    for (uint32_t g = 0; g < e->bytes / GRAIN; g++) {
        struct leaf_extent *at = &picture->at[e->start / GRAIN + g];
        *at = *e;
        at->skip = e->kind == EXTENT_PIECE ? e->skip + g * GRAIN : 0;
    }
    if (e->kind == EXTENT_PIECE)
        picture->mapped += e->bytes;
}

static struct leaf_extent random_extent(struct prng *p, uint32_t start, const struct object_name *objects,
                                        const struct leaf_extent *last)
{
    struct leaf_extent e = {.start = start, .kind = (enum extent_kind)prng_below(p, 4)};
    e.bytes = GRAIN * (1 + (uint32_t)prng_below(p, BLOCK / GRAIN));
    if (e.kind == EXTENT_PIECE && last->kind == EXTENT_PIECE && prng_below(p, 2)) {
        e.piece = last->piece;
        e.skip = prng_below(p, 2) ? MIN(last->skip + last->bytes, e.piece.bytes - GRAIN) : 0;
        e.bytes = MIN(e.bytes, e.piece.bytes - e.skip);
    } else if (e.kind == EXTENT_PIECE) {
        e.piece = random_piece(p, &objects[prng_below(p, 5)], 1);
        e.piece.stored_bytes = e.piece.bytes = e.bytes + GRAIN * (uint32_t)prng_below(p, 9);
        e.skip = e.piece.bytes - e.bytes;
    }
    e.bytes = MIN(e.bytes, REGION - start);
    return e;
}

static void check_picture(const struct buf *page, const struct picture *picture, const struct page_ref *base)
{
    struct page_ref found;
    assert_int_equal(page_base(page->data, &found), base != NULL);
    if (base)
        assert_true(ref_equal(&found, base));
    assert_true(page_sums(page->data).mapped == picture->mapped);
    for (uint32_t at = 0; at < REGION;) {
        struct leaf_extent e;
        leaf_find(page->data, at, &e);
        assert_true(e.start == at && e.bytes > 0 && e.start + e.bytes <= REGION);
        struct leaf_extent inside;
        leaf_find(page->data, at + e.bytes - 1, &inside);
        assert_true(inside.start == e.start && inside.bytes == e.bytes && inside.kind == e.kind);
        for (uint32_t g = 0; g < e.bytes / GRAIN; g++) {
            const struct leaf_extent *put = &picture->at[at / GRAIN + g];
            enum extent_kind kind = put->kind == EXTENT_BASE && !base ? EXTENT_HOLE : put->kind;
            assert_int_equal(e.kind, kind);
            if (kind == EXTENT_PIECE)
                assert_true(e.skip + g * GRAIN == put->skip && piece_equal(&e.piece, &put->piece));
        }
        at += e.bytes;
    }
}

static void random_leaves_say_what_was_put_in(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 10);
    struct object_name objects[5];
    for (int i = 0; i < 5; i++)
        objects[i] = random_object(&p);
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    struct picture *picture = MEM_NEW(struct picture);
    for (int round = 0; round < 60; round++) {
        leaf_builder_reset(b);
        assert_true(leaf_builder_empty(b));
        struct page_ref base = random_ref(&p);
        bool has_base = prng_below(&p, 2);
        leaf_builder_base(b, has_base ? &base : NULL);
        struct leaf_extent last = {.kind = EXTENT_BASE, .bytes = REGION};
        picture->mapped = 0;
        paint(picture, &last);
        for (uint32_t start = 0; start < REGION; start = last.start + last.bytes) {
            last = random_extent(&p, start, objects, &last);
            if (prng_below(&p, 8) == 0) {
                last.kind = EXTENT_BASE;
                continue;
            }
            paint(picture, &last);
            leaf_builder_add(b, &last);
        }
        struct buf *page = leaf_builder_encode(b);
        assert_int_equal(page->bytes, leaf_builder_bytes(b));
        struct sha256 hash = sha256_of(page->data, page->bytes);
        assert_int_equal(page_check(page->data, page->bytes, &hash, 0, BLOCK), ERR_OK);
        assert_int_equal(page_check(page->data, page->bytes, NULL, 0, BLOCK), ERR_OK);
        assert_int_equal(page_check(page->data, page->bytes, NULL, 0, 4096), ERR_CORRUPT);
        assert_int_equal(page_check(page->data, page->bytes, NULL, 1, BLOCK), ERR_CORRUPT);
        hash.bytes[0] ^= 1;
        assert_int_equal(page_check(page->data, page->bytes, &hash, 0, BLOCK), ERR_CORRUPT);
        check_picture(page, picture, has_base ? &base : NULL);
        buf_unref(page);
    }
    mem_free(picture);
    leaf_builder_destroy(b);
}

static struct leaf_extent whole_piece(struct prng *p, uint32_t start, const struct object_name *object)
{
    struct leaf_extent e = {.start = start, .bytes = BLOCK, .kind = EXTENT_PIECE};
    e.piece = random_piece(p, object, 1);
    e.piece.bytes = e.piece.stored_bytes = BLOCK;
    return e;
}

static void extents_that_continue_become_one(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 11);
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    struct object_name object = random_object(&p);
    struct leaf_extent e = whole_piece(&p, 0, &object);
    e.bytes = 4096;
    leaf_builder_add(b, &e);
    size_t one = leaf_builder_bytes(b);
    assert_int_equal(one, 80 + 36 + 52 + 16);
    e.start = e.skip = 4096;
    leaf_builder_add(b, &e);
    assert_int_equal(leaf_builder_bytes(b), one);
    e.start = 8192;
    leaf_builder_add(b, &e); /* the same bytes once more: no continuation */
    assert_int_equal(leaf_builder_bytes(b), one + 16);
    for (uint32_t i = 1; i < 5; i++)
        leaf_builder_add(b, &(struct leaf_extent){.start = i * BLOCK, .bytes = BLOCK, .kind = EXTENT_ZEROS});
    assert_int_equal(leaf_builder_bytes(b), one + 32);
    leaf_builder_add(b, &(struct leaf_extent){.start = 5 * BLOCK, .bytes = BLOCK, .kind = EXTENT_HOLE});
    assert_int_equal(leaf_builder_bytes(b), one + 32);
    leaf_builder_base(b, &(struct page_ref){.bytes = 100});
    assert_int_equal(leaf_builder_bytes(b), one + 48 + 80);
    leaf_builder_base(b, NULL);
    struct buf *page = leaf_builder_encode(b);
    assert_int_equal(page->bytes, one + 32);
    assert_int_equal(page_check(page->data, page->bytes, NULL, 0, BLOCK), ERR_OK);
    struct leaf_extent found;
    leaf_find(page->data, 5000, &found);
    assert_true(found.start == 0 && found.bytes == 8192 && found.skip == 0);
    leaf_find(page->data, 3 * BLOCK, &found);
    assert_true(found.start == BLOCK && found.bytes == 4 * BLOCK && found.kind == EXTENT_ZEROS);
    leaf_find(page->data, REGION - 1, &found);
    assert_true(found.start == 5 * BLOCK && found.bytes == REGION - 5 * BLOCK && found.kind == EXTENT_HOLE);
    struct map_sums sums = page_sums(page->data);
    assert_true(sums.mapped == 3 * 4096 && sums.stored == BLOCK && sums.objects == 1);
    assert_int_equal(leaf_pieces(page->data), 1);
    struct piece_ref piece;
    leaf_piece(page->data, 0, &piece);
    assert_true(piece_equal(&piece, &e.piece));
    buf_unref(page);
    leaf_builder_destroy(b);
}

static void only_holes_are_nothing_without_a_base(void **state)
{
    (void)state;
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    leaf_builder_add(b, &(struct leaf_extent){.start = 0, .bytes = REGION, .kind = EXTENT_HOLE});
    assert_true(leaf_builder_empty(b));
    struct buf *page = leaf_builder_encode(b);
    assert_int_equal(page->bytes, 80);
    assert_int_equal(page_check(page->data, page->bytes, NULL, 0, BLOCK), ERR_OK);
    buf_unref(page);
    leaf_builder_base(b, &(struct page_ref){.bytes = 100});
    assert_false(leaf_builder_empty(b));
    leaf_builder_reset(b);
    assert_true(leaf_builder_empty(b));
    leaf_builder_destroy(b);
    leaf_builder_destroy(NULL);
}

static void a_page_of_whole_blocks_is_small(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 12);
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    for (uint32_t i = 0; i < PAGE_BLOCKS; i++) {
        struct object_name object = random_object(&p);
        struct leaf_extent e = whole_piece(&p, i * BLOCK, &object);
        leaf_builder_add(b, &e);
    }
    assert_true(leaf_builder_bytes(b) < 14000);
    leaf_builder_destroy(b);
}

/* Base, one object, two pieces in it, a piece, zeros, a hole and a piece. */
enum { BASE = 80, OBJECTS = 160, PIECES = 196, EXTENTS = 300, LEAF_END = 364 };

static struct buf *small_leaf(void)
{
    struct prng p;
    prng_seed(&p, 13);
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    struct page_ref base = random_ref(&p);
    base.self = false;
    base.object = random_object(&p);
    leaf_builder_base(b, &base);
    struct object_name object = random_object(&p);
    struct leaf_extent e = whole_piece(&p, 0, &object);
    leaf_builder_add(b, &e);
    leaf_builder_add(b, &(struct leaf_extent){.start = BLOCK, .bytes = 4096, .kind = EXTENT_ZEROS});
    leaf_builder_add(b, &(struct leaf_extent){.start = 2 * BLOCK, .bytes = 4096, .kind = EXTENT_HOLE});
    e = whole_piece(&p, 3 * BLOCK, &object);
    e.skip = 4096;
    e.bytes = 8192;
    leaf_builder_add(b, &e);
    struct buf *page = leaf_builder_encode(b);
    assert_int_equal(page->bytes, LEAF_END);
    leaf_builder_destroy(b);
    return page;
}

struct edit {
    size_t at;
    unsigned width;
    uint64_t value;
};

static void expect_each(const struct buf *page, unsigned level, const struct edit *edits, size_t n,
                        enum err err)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t *copy = encoded_copy(page);
        memcpy(copy + edits[i].at, &edits[i].value, edits[i].width);
        encoded_reseal(copy, page->bytes);
        if (page_check(copy, page->bytes, NULL, level, BLOCK) != err)
            fail_msg("edit %zu at %zu is not %s", i, edits[i].at, err_text(err));
        mem_free(copy);
    }
}

static const struct edit bad_leaves[] = {
    {0, 1, 0},
    {4, 2, 2},
    {6, 1, 1},
    {7, 1, 0},
    {7, 1, 3},
    {8, 4, 365},
    {12, 4, 4096},
    {48, 8, 0},
    {48, 8, UINT64_MAX},
    {56, 8, 1},
    {56, 8, UINT64_MAX}, /* sums */
    {64, 8, 0},
    {64, 8, 2},
    {64, 8, UINT64_C(1) << 33 | 1},
    {64, 8, UINT64_MAX},
    {64, 8, UINT64_MAX / 36 + 2},
    {72, 4, 0},
    {72, 4, UINT32_MAX},
    {72, 4, 1},
    {76, 4, 0},
    {76, 4, UINT32_MAX},
    {76, 4, 3},
    {BASE + 36, 4, 1},
    {BASE + 36, 4, 2},
    {BASE + 40, 4, UINT32_MAX},
    {BASE + 44, 4, 0},
    {BASE + 44, 4, UINT32_MAX},
    {BASE + 44, 4, 79},
    {PIECES, 4, 1},
    {PIECES, 4, UINT32_MAX},
    {PIECES + 4, 4, UINT32_MAX},
    {PIECES + 8, 4, 1},
    {PIECES + 12, 4, 0},
    {PIECES + 8, 8, 0},
    {PIECES + 16, 1, 1},
    {PIECES + 17, 1, 1},
    {PIECES + 18, 2, 9},
    {PIECES + 12, 4, UINT32_MAX},
    {EXTENTS, 4, REGION},
    {EXTENTS, 4, UINT32_MAX},
    {EXTENTS, 4, 1}, /* overlaps the next */
    {EXTENTS + 4, 4, 0},
    {EXTENTS + 4, 4, BLOCK + 1},
    {EXTENTS + 4, 4, UINT32_MAX},
    {EXTENTS + 4, 4, BLOCK - 1},
    {EXTENTS + 8, 4, 2},
    {EXTENTS + 8, 4, 0xfffffffd},
    {EXTENTS + 12, 4, 1},
    {EXTENTS + 12, 4, UINT32_MAX},
    {EXTENTS + 16, 4, BLOCK - 1},
    {EXTENTS + 16 + 12, 4, 1},
    {EXTENTS + 32 + 12, 4, 1},
    {EXTENTS + 48, 4, REGION - 8191},
    {EXTENTS + 48, 4, 2 * BLOCK},
    {EXTENTS + 48 + 4, 4, UINT32_MAX},
    {EXTENTS + 48 + 12, 4, BLOCK - 8191},
};

static const struct edit good_leaves[] = {{EXTENTS + 48, 4, REGION - 8192},
                                          {EXTENTS + 48 + 12, 4, BLOCK - 8192},
                                          {EXTENTS + 8, 4, 1},
                                          {EXTENTS + 16 + 4, 4, BLOCK}};

static void hostile_leaves_are_refused(void **state)
{
    (void)state;
    struct buf *page = small_leaf();
    expect_each(page, 0, bad_leaves, COUNT_OF(bad_leaves), ERR_CORRUPT);
    expect_each(page, 0, good_leaves, COUNT_OF(good_leaves), ERR_OK);

    /* a hole where there is no base */
    uint8_t *copy = mem_alloc(LEAF_END - 80);
    memcpy(copy, page->data, BASE);
    memcpy(copy + BASE, page->data + OBJECTS, LEAF_END - OBJECTS);
    copy[7] = 0;
    put_le32(copy + 8, LEAF_END - 80);
    encoded_reseal(copy, LEAF_END - 80);
    assert_int_equal(page_check(copy, LEAF_END - 80, NULL, 0, BLOCK), ERR_CORRUPT);
    put_le32(copy + EXTENTS - 80 + 32 + 8, 0xfffffffe);
    encoded_reseal(copy, LEAF_END - 80);
    assert_int_equal(page_check(copy, LEAF_END - 80, NULL, 0, BLOCK), ERR_OK);
    mem_free(copy);
    buf_unref(page);
}

/* ---------------------------------------------------------------------- nodes */

static void random_children(struct prng *p, struct subtree children[PAGE_CHILDREN], bool has_base,
                            unsigned full)
{
    struct object_name object = random_object(p);
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        children[i] = (struct subtree){.kind = (enum subtree_kind)prng_below(p, has_base ? 4 : 3)};
        if (prng_below(p, 100) < full)
            children[i].kind = SUBTREE_PAGE;
        if (children[i].kind != SUBTREE_PAGE)
            continue;
        children[i].page = random_ref(p);
        if (prng_below(p, 2))
            children[i].page.object = object;
        children[i].sums =
            (struct map_sums){prng_below(p, REGION), prng_below(p, REGION), prng_below(p, 128)};
    }
}

static void random_nodes_say_what_was_put_in(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 14);
    struct subtree *children = MEM_ARRAY(struct subtree, PAGE_CHILDREN);
    for (unsigned round = 0; round < 50; round++) {
        struct page_ref base = random_ref(&p);
        bool has_base = prng_below(&p, 2);
        random_children(&p, children, has_base, round * 2);
        unsigned level = 1 + round % 3;
        struct buf *page = node_encode(BLOCK, level, children, has_base ? &base : NULL);
        assert_true(page->bytes <= PAGE_BYTES_MAX);
        struct sha256 hash = sha256_of(page->data, page->bytes);
        assert_int_equal(page_check(page->data, page->bytes, &hash, level, BLOCK), ERR_OK);
        struct page_ref found;
        assert_int_equal(page_base(page->data, &found), has_base);
        if (has_base)
            assert_true(ref_equal(&found, &base));
        struct map_sums sums = {0};
        for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
            struct subtree child;
            node_child(page->data, i, &child);
            assert_int_equal(child.kind, children[i].kind);
            if (child.kind == SUBTREE_PAGE)
                assert_true(ref_equal(&child.page, &children[i].page));
            assert_memory_equal(&child.sums, &children[i].sums, sizeof child.sums);
            sums.mapped += child.sums.mapped;
            sums.stored += child.sums.stored;
            sums.objects += child.sums.objects;
        }
        struct map_sums said = page_sums(page->data);
        assert_memory_equal(&said, &sums, sizeof sums);
        buf_unref(page);
    }
    mem_free(children);
}

static void an_empty_node_is_tiny_and_sums_do_not_wrap(void **state)
{
    (void)state;
    struct subtree *children = MEM_ARRAY(struct subtree, PAGE_CHILDREN);
    struct buf *page = node_encode(BLOCK, 1, children, NULL);
    assert_int_equal(page->bytes, 80 + 64);
    assert_int_equal(page_check(page->data, page->bytes, NULL, 1, BLOCK), ERR_OK);
    buf_unref(page);
    for (unsigned i = 0; i < 3; i++)
        children[i] = (struct subtree){SUBTREE_PAGE, {.bytes = 80}, {5, INT64_MAX, INT64_MAX - 1}};
    page = node_encode(BLOCK, 1, children, NULL);
    assert_int_equal(page_check(page->data, page->bytes, NULL, 1, BLOCK), ERR_OK);
    struct map_sums sums = page_sums(page->data);
    assert_true(sums.mapped == 15 && sums.stored == INT64_MAX && sums.objects == INT64_MAX);
    buf_unref(page);
    mem_free(children);
}

enum { KINDS = 160, NODE_OBJECTS = 224, CHILDREN = 260, NODE_END = 260 + 2 * 68 };

/* A base, children 3 (in another object) and 9 (in its own). */
static struct buf *small_node(struct prng *p, unsigned level)
{
    struct subtree *children = MEM_ARRAY(struct subtree, PAGE_CHILDREN);
    children[3] = (struct subtree){SUBTREE_PAGE, random_ref(p), {4096, 4096, 1}};
    children[9] = (struct subtree){SUBTREE_PAGE, random_ref(p), {8192, 4096, 1}};
    children[3].page.self = false;
    children[9].page.self = true;
    children[4].kind = SUBTREE_ZEROS;
    children[5].kind = SUBTREE_BASE;
    struct page_ref base = random_ref(p);
    base.self = false;
    base.object = random_object(p);
    struct buf *page = node_encode(BLOCK, level, children, &base);
    assert_int_equal(page->bytes, NODE_END);
    mem_free(children);
    return page;
}

static void hostile_nodes_are_refused(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 15);
    static const struct edit bad[] = {
        {6, 1, 0},
        {6, 1, 2},
        {7, 1, 0},
        {48, 8, 1},
        {56, 8, 1},
        {64, 8, 1},
        {72, 4, 0},
        {72, 4, UINT32_MAX},
        {76, 4, 1},
        {76, 4, UINT32_MAX},
        {BASE + 36, 4, 1},
        {KINDS, 1, 0},
        {KINDS, 1, 0x82},
        {KINDS + 63, 1, 0x80},
        {CHILDREN, 4, 1},
        {CHILDREN, 4, 0xfffffffe},
        {CHILDREN + 4, 4, UINT32_MAX},
        {CHILDREN + 8, 4, 0},
        {CHILDREN + 8, 4, (16 << 20) + 1},
        {CHILDREN + 44, 8, UINT64_MAX},
        {CHILDREN + 44, 8, REGION + 1},
        {CHILDREN + 52, 8, UINT64_MAX},
        {CHILDREN + 60, 8, UINT64_C(1) << 63},
        {CHILDREN + 68, 4, 7},
    };
    static const struct edit good[] = {{CHILDREN, 4, UINT32_MAX},
                                       {CHILDREN + 68, 4, 0},
                                       {KINDS + 63, 1, 0x40},
                                       {KINDS + 63, 1, 0xc0},
                                       {CHILDREN + 8, 4, 16 << 20}};
    struct buf *page = small_node(&p, 1);
    expect_each(page, 1, bad, COUNT_OF(bad), ERR_CORRUPT);
    expect_each(page, 1, good, COUNT_OF(good), ERR_OK);
    buf_unref(page);

    /* children behind 2^63 - 1 */
    struct subtree *children = MEM_ARRAY(struct subtree, PAGE_CHILDREN);
    for (unsigned i = 7; i < 9; i++) {
        children[7] = children[8] = (struct subtree){0};
        children[i] = (struct subtree){SUBTREE_PAGE, random_ref(&p), {1, 1, 1}};
        page = node_encode(4096 << 1, 6, children, NULL);
        assert_int_equal(page_check(page->data, page->bytes, NULL, 6, 4096 << 1),
                         i == 7 ? ERR_OK : ERR_CORRUPT);
        buf_unref(page);
    }
    mem_free(children);
}

/* -------------------------------------------------------------------- damage */

static void a_page_says_its_level(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 18);
    struct buf *leaf = small_leaf(), *node = small_node(&p, 3);
    assert_int_equal(page_level(leaf->data, leaf->bytes), 0);
    assert_int_equal(page_level(node->data, node->bytes), 3);
    assert_true(page_level(node->data, 79) > MAP_LEVEL_MAX);
    node->data[6] = 200;
    encoded_reseal(node->data, node->bytes);
    assert_int_equal(page_check(node->data, node->bytes, NULL, page_level(node->data, node->bytes), BLOCK),
                     ERR_CORRUPT);
    buf_unref(leaf);
    buf_unref(node);
}

static void damage_is_seen(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 16);
    struct buf *pages[] = {small_leaf(), small_node(&p, 1)};
    for (unsigned level = 0; level < 2; level++) {
        struct buf *page = pages[level];
        assert_int_equal(page_check(page->data, page->bytes, NULL, level, BLOCK), ERR_OK);
        for (size_t n = 0; n < page->bytes; n++) {
            uint8_t *cut = mem_dup(page->data, n);
            assert_int_equal(page_check(cut, n, NULL, level, BLOCK), ERR_CORRUPT);
            mem_free(cut);
        }
        uint8_t *copy = encoded_copy(page);
        for (size_t bit = 0; bit < 8 * page->bytes; bit++) {
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            assert_int_equal(page_check(copy, page->bytes, NULL, level, BLOCK), ERR_CORRUPT);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        mem_free(copy);
        buf_unref(page);
    }
}

static void walk(const uint8_t *page, unsigned level)
{
    for (unsigned i = 0; level && i < PAGE_CHILDREN; i++) {
        struct subtree child;
        node_child(page, i, &child);
        assert_true(child.kind != SUBTREE_PAGE || child.page.bytes >= 80);
    }
    for (uint32_t at = 0; !level && at < REGION;) {
        struct leaf_extent e;
        leaf_find(page, at, &e);
        assert_true(e.start == at && e.bytes > 0 && e.start + e.bytes <= REGION);
        if (e.kind == EXTENT_PIECE)
            assert_true(e.skip + e.bytes <= e.piece.bytes);
        at += e.bytes;
    }
    for (uint32_t i = 0; !level && i < leaf_pieces(page); i++) {
        struct piece_ref piece;
        leaf_piece(page, i, &piece);
        assert_true(piece.bytes > 0 && piece.codec == 0);
    }
}

static void random_damage_with_a_right_checksum_is_harmless(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 17);
    struct buf *pages[] = {small_leaf(), small_node(&p, 1)};
    for (unsigned level = 0; level < 2; level++) {
        struct buf *page = pages[level];
        uint8_t *copy = encoded_copy(page);
        for (int round = 0; round < 20000; round++) {
            memcpy(copy, page->data, page->bytes);
            for (uint64_t i = 1 + prng_below(&p, 3); i--;)
                copy[prng_below(&p, page->bytes)] = (uint8_t)prng_next(&p);
            encoded_reseal(copy, page->bytes);
            if (page_check(copy, page->bytes, NULL, level, BLOCK) == ERR_OK)
                walk(copy, level);
        }
        mem_free(copy);
        buf_unref(page);
    }
}

RUN_TESTS(cmocka_unit_test(regions_and_levels), cmocka_unit_test(random_leaves_say_what_was_put_in),
          cmocka_unit_test(extents_that_continue_become_one),
          cmocka_unit_test(only_holes_are_nothing_without_a_base),
          cmocka_unit_test(a_page_of_whole_blocks_is_small), cmocka_unit_test(hostile_leaves_are_refused),
          cmocka_unit_test(random_nodes_say_what_was_put_in),
          cmocka_unit_test(an_empty_node_is_tiny_and_sums_do_not_wrap),
          cmocka_unit_test(hostile_nodes_are_refused), cmocka_unit_test(a_page_says_its_level),
          cmocka_unit_test(damage_is_seen), cmocka_unit_test(random_damage_with_a_right_checksum_is_harmless))
