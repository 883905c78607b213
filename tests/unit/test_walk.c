#include "map_object.h"

#include "volume/map/walk.h"

#define BLOCK 4096u
#define LEAF  ((uint64_t)PAGE_BLOCKS * BLOCK)
#define NODE  (PAGE_CHILDREN * LEAF)

static struct world w;

static struct piece_ref piece_of(uint8_t number)
{
    struct piece_ref p = {.bytes = BLOCK, .stored_bytes = BLOCK};
    memset(p.hash.bytes, number, 32);
    return p;
}

static void add(struct leaf_builder *b, uint32_t start, uint32_t bytes, enum extent_kind kind, uint8_t number,
                uint32_t skip)
{
    struct leaf_extent x = {.start = start, .bytes = bytes, .kind = kind, .skip = skip};
    if (kind == EXTENT_PIECE)
        x.piece = piece_of(number);
    leaf_builder_add(b, &x);
}

static struct buf *encoded(struct leaf_builder *b)
{
    struct buf *page = leaf_builder_encode(b);
    leaf_builder_destroy(b);
    return page;
}

/* Block 0 is piece `number`, 1 a hole, 2 zeros, 3 from 100 on the middle of piece number + 1; then a hole. */
static struct buf *leaf_page(uint8_t number)
{
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    add(b, 0, BLOCK, EXTENT_PIECE, number, 0);
    add(b, 2 * BLOCK, BLOCK, EXTENT_ZEROS, 0, 0);
    add(b, 3 * BLOCK + 100, 200, EXTENT_PIECE, (uint8_t)(number + 1), 1000);
    return encoded(b);
}

/* --------------------------------------------------------------------------- the walk */

struct seen {
    struct walk walk;
    bool done;
    unsigned stop_after;
    bool cancel;
    struct place places[64];
    unsigned count;
};
static struct seen seen;

static bool found(struct walk *walk, const struct place *p)
{
    assert_false(seen.done);
    assert_int_equal(p->start, seen.count
                                   ? seen.places[seen.count - 1].start + seen.places[seen.count - 1].bytes
                                   : walk->start);
    assert_true(p->bytes > 0 && p->start + p->bytes <= walk->end);
    assert_true(seen.count < COUNT_OF(seen.places));
    seen.places[seen.count++] = *p;
    if (seen.cancel)
        walk_cancel(walk);
    return seen.count != seen.stop_after;
}

static void walked(struct walk *walk)
{
    assert_ptr_equal(walk, &seen.walk);
    assert_false(seen.done);
    seen.done = true;
}

static void prepare(const struct map_root *root, uint64_t start, uint64_t end)
{
    memset(&seen, 0, sizeof seen);
    seen.walk = (struct walk){.engine = &w.engine,
                              .block_size = BLOCK,
                              .root = root,
                              .start = start,
                              .end = end,
                              .found = found,
                              .done = walked};
}

static void go(const struct map_root *root, uint64_t start, uint64_t end)
{
    prepare(root, start, end);
    walk_start(&seen.walk);
    assert_false(seen.done);
    assert_int_equal(seen.count, 0);
    world_run_until(&w, &seen.done);
}

static void assert_covers(uint64_t end)
{
    assert_int_equal(seen.walk.err, ERR_OK);
    assert_int_equal(seen.places[seen.count - 1].start + seen.places[seen.count - 1].bytes, end);
}

static void assert_place(unsigned i, uint64_t start, uint64_t bytes, enum place_kind kind, uint8_t number,
                         uint32_t skip)
{
    assert_true(i < seen.count);
    const struct place *p = &seen.places[i];
    assert_int_equal(p->start, start);
    assert_int_equal(p->bytes, bytes);
    assert_int_equal(p->kind, kind);
    if (kind == PLACE_PIECE) {
        assert_int_equal(p->piece.hash.bytes[0], number);
        assert_int_equal(p->skip, skip);
    }
}

/* What the second round of the same walk must find, from the cache alone. */
static void assert_same_now(const struct map_root *root, uint64_t start, uint64_t end)
{
    static struct place before[64];
    unsigned count = seen.count;
    memcpy(before, seen.places, sizeof before);
    prepare(root, start, end);
    assert_true(walk_now(&seen.walk));
    assert_int_equal(seen.count, count);
    for (unsigned i = 0; i < count; i++)
        assert_place(i, before[i].start, before[i].bytes, before[i].kind, before[i].piece.hash.bytes[0],
                     before[i].skip);
    assert_false(seen.done);
}

static struct map_root root_of(unsigned level, const struct page_ref *page)
{
    return (struct map_root){.level = level, .tree = {.kind = SUBTREE_PAGE, .page = *page}};
}

/* -------------------------------------------------------------------------- the tests */

static void roots_without_pages(void **state)
{
    (void)state;
    world_init(&w);
    struct map_root root = {.level = 1, .tree = {.kind = SUBTREE_ZEROS}};
    go(&root, 5, 2 * NODE);
    assert_place(0, 5, NODE - 5, PLACE_ZEROS, 0, 0);
    assert_place(1, NODE, NODE, PLACE_HOLE, 0, 0);
    assert_covers(2 * NODE);
    root.tree.kind = SUBTREE_HOLE;
    go(&root, 0, UINT64_C(1) << 63);
    assert_covers(UINT64_C(1) << 63);
    go(&root, 7, 7);
    assert_int_equal(seen.count, 0);
    assert_int_equal(seen.walk.err, ERR_OK);
    assert_int_equal(w.requests[OBJSTORE_GET], 0);
    world_finish(&w);
}

static void a_leaf_says_what_is_where(void **state)
{
    (void)state;
    struct object o;
    world_init(&w);
    object_init(&o, 1);
    struct page_ref leaf = object_add(&o, leaf_page(10));
    object_store(&o);
    struct map_root root = root_of(0, &leaf);
    prepare(&root, 0, LEAF);
    assert_false(walk_now(&seen.walk)); /* not in the cache */
    go(&root, 7, LEAF + 100);
    assert_int_equal(seen.count, 7);
    assert_place(0, 7, BLOCK - 7, PLACE_PIECE, 10, 7);
    assert_place(1, BLOCK, BLOCK, PLACE_HOLE, 0, 0);
    assert_place(2, 2 * BLOCK, BLOCK, PLACE_ZEROS, 0, 0);
    assert_place(3, 3 * BLOCK, 100, PLACE_HOLE, 0, 0);
    assert_place(4, 3 * BLOCK + 100, 200, PLACE_PIECE, 11, 1000);
    assert_place(5, 3 * BLOCK + 300, LEAF - 3 * BLOCK - 300, PLACE_HOLE, 0, 0);
    assert_place(6, LEAF, 100, PLACE_HOLE, 0, 0);
    assert_int_equal(w.requests[OBJSTORE_GET], 1);
    assert_same_now(&root, 7, LEAF + 100);
    go(&root, 3 * BLOCK + 150, 3 * BLOCK + 160);
    assert_int_equal(seen.count, 1);
    assert_place(0, 3 * BLOCK + 150, 10, PLACE_PIECE, 11, 1050);
    world_finish(&w);
}

/* A tree of three levels whose nodes lie in the same object as their children, but one. */
static struct map_root store_tree(void)
{
    struct object o, other;
    static struct subtree children[PAGE_CHILDREN];
    object_init(&o, 2);
    object_init(&other, 3);
    struct page_ref far = object_add(&other, leaf_page(30)), near = object_add(&o, leaf_page(40));
    near.self = true;
    memset(&near.object, 0xee, sizeof near.object);
    memset(children, 0, sizeof children);
    children[0] = (struct subtree){.kind = SUBTREE_PAGE, .page = near};
    children[1] = (struct subtree){.kind = SUBTREE_ZEROS};
    children[2] = (struct subtree){.kind = SUBTREE_ZEROS};
    children[255] = (struct subtree){.kind = SUBTREE_PAGE, .page = far};
    struct page_ref node = object_add(&o, node_encode(BLOCK, 1, children, NULL));
    node.self = true;
    memset(children, 0, sizeof children);
    children[1] = (struct subtree){.kind = SUBTREE_PAGE, .page = node};
    struct page_ref top = object_add(&o, node_encode(BLOCK, 2, children, NULL));
    object_store(&o);
    object_store(&other);
    return root_of(2, &top);
}

static void nodes_lead_to_their_children(void **state)
{
    (void)state;
    for (int cached = 0; cached < 2; cached++) {
        world_init(&w);
        struct map_root root = store_tree();
        if (!cached) { /* a cache that keeps nothing: slower, and the same */
            cache_destroy(w.engine.cache);
            w.engine.cache = cache_create(0);
        }
        go(&root, 0, 3 * NODE);
        unsigned i = 0;
        assert_place(i++, 0, NODE, PLACE_HOLE, 0, 0);
        assert_place(i++, NODE, BLOCK, PLACE_PIECE, 40, 0);
        assert_place(i++, NODE + BLOCK, BLOCK, PLACE_HOLE, 0, 0);
        assert_place(i++, NODE + 2 * BLOCK, BLOCK, PLACE_ZEROS, 0, 0);
        assert_place(i++, NODE + 3 * BLOCK, 100, PLACE_HOLE, 0, 0);
        assert_place(i++, NODE + 3 * BLOCK + 100, 200, PLACE_PIECE, 41, 1000);
        assert_place(i++, NODE + 3 * BLOCK + 300, LEAF - 3 * BLOCK - 300, PLACE_HOLE, 0, 0);
        assert_place(i++, NODE + LEAF, 2 * LEAF, PLACE_ZEROS, 0, 0);
        assert_place(i++, NODE + 3 * LEAF, 252 * LEAF, PLACE_HOLE, 0, 0);
        assert_place(i++, NODE + 255 * LEAF, BLOCK, PLACE_PIECE, 30, 0);
        assert_covers(3 * NODE);
        if (cached) {
            assert_int_equal(w.requests[OBJSTORE_GET], 4);
            assert_same_now(&root, 0, 3 * NODE);
        }
        world_finish(&w);
    }
}

static void enough_is_enough(void **state)
{
    (void)state;
    world_init(&w);
    struct map_root root = store_tree();
    prepare(&root, 0, 3 * NODE);
    seen.stop_after = 2;
    walk_start(&seen.walk);
    world_run_until(&w, &seen.done);
    assert_int_equal(seen.walk.err, ERR_OK);
    assert_int_equal(seen.count, 2);
    prepare(&root, 0, 3 * NODE);
    seen.stop_after = 2;
    assert_true(walk_now(&seen.walk));
    assert_int_equal(seen.count, 2);
    world_finish(&w);
}

static void unreadable_pages_are_told_and_the_rest_is_found(void **state)
{
    (void)state;
    struct key key;
    struct object_name gone;
    world_init(&w);
    struct map_root root = store_tree();
    memset(gone.hash.bytes, 3, 32);
    gone.turn = 0;
    key_map(&key, &gone);
    world_delete(&w, key.text);
    go(&root, NODE, 3 * NODE);
    assert_covers(3 * NODE);
    assert_place(seen.count - 2, NODE + 255 * LEAF, LEAF, PLACE_UNREADABLE, 0, 0);
    assert_place(seen.count - 1, 2 * NODE, NODE, PLACE_HOLE, 0, 0);
    assert_int_equal(w.errors_logged, 1);

    root.level = 1; /* stands where a page of level 1 belongs, and is in the cache */
    go(&root, 0, 3 * NODE);
    assert_place(0, 0, NODE, PLACE_UNREADABLE, 0, 0);
    assert_place(1, NODE, 2 * NODE, PLACE_HOLE, 0, 0);
    assert_int_equal(seen.walk.err, ERR_OK);

    world_finish(&w);
}

/* A page over a base of its own level or a higher one says what it says; the base says the rest. */
static void a_base_says_what_the_page_does_not(void **state)
{
    (void)state;
    for (int level = 0; level < 3; level++) {
        struct object below, o;
        static struct subtree children[PAGE_CHILDREN];
        world_init(&w);
        object_init(&below, 4);
        object_init(&o, 5);
        struct page_ref base = object_add(&below, leaf_page(50));
        for (int i = 1; i <= level; i++) { /* the leaf's region is the second one, all the way up */
            memset(children, 0, sizeof children);
            base.self = true;
            children[i == 1] = (struct subtree){.kind = SUBTREE_PAGE, .page = base};
            base = object_add(&below, node_encode(BLOCK, (unsigned)i, children, NULL));
        }
        object_store(&below);
        struct leaf_builder *b = leaf_builder_create(BLOCK);
        leaf_builder_base(b, &base);
        add(b, BLOCK, BLOCK, EXTENT_PIECE, 60, 0);
        add(b, 2 * BLOCK, 512, EXTENT_HOLE, 0, 0);
        struct page_ref leaf = object_add(&o, encoded(b));
        memset(children, 0, sizeof children);
        leaf.self = true;
        children[level ? 1 : 0] = (struct subtree){.kind = SUBTREE_PAGE, .page = leaf};
        uint64_t at = level ? LEAF : 0;
        struct page_ref top = object_add(&o, node_encode(BLOCK, 1, children, NULL));
        object_store(&o);
        struct map_root root = root_of(1, &top);
        go(&root, at, at + LEAF);
        unsigned i = 0;
        assert_place(i++, at, BLOCK, PLACE_PIECE, 50, 0);
        assert_place(i++, at + BLOCK, BLOCK, PLACE_PIECE, 60, 0);
        assert_place(i++, at + 2 * BLOCK, 512, PLACE_HOLE, 0, 0);
        assert_place(i++, at + 2 * BLOCK + 512, BLOCK - 512, PLACE_ZEROS, 0, 0);
        assert_place(i++, at + 3 * BLOCK, 100, PLACE_HOLE, 0, 0);
        assert_place(i++, at + 3 * BLOCK + 100, 200, PLACE_PIECE, 51, 1000);
        assert_covers(at + LEAF);
        assert_same_now(&root, at, at + LEAF);
        world_finish(&w);
    }
}

static void under_an_unreadable_base_only_what_lies_over_it_is_left(void **state)
{
    (void)state;
    static struct subtree children[PAGE_CHILDREN];
    struct object o;
    struct page_ref gone = {.offset = 3, .bytes = 400};
    memset(&gone.object, 9, sizeof gone.object);
    world_init(&w);
    object_init(&o, 6);
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    leaf_builder_base(b, &gone);
    add(b, BLOCK, BLOCK, EXTENT_PIECE, 70, 0);
    add(b, 5 * BLOCK, BLOCK, EXTENT_ZEROS, 0, 0);
    struct page_ref leaf = object_add(&o, encoded(b));
    leaf.self = true;
    memset(children, 0, sizeof children);
    for (int i = 0; i < 256; i++)
        children[i].kind = SUBTREE_BASE;
    children[3] = (struct subtree){.kind = SUBTREE_PAGE, .page = leaf};
    children[4] = (struct subtree){.kind = SUBTREE_HOLE};
    struct page_ref top = object_add(&o, node_encode(BLOCK, 1, children, &gone));
    object_store(&o);
    struct map_root root = root_of(1, &top);
    go(&root, 2 * LEAF, 6 * LEAF);
    unsigned i = 0;
    assert_place(i++, 2 * LEAF, LEAF, PLACE_UNREADABLE, 0, 0);
    assert_place(i++, 3 * LEAF, BLOCK, PLACE_UNREADABLE, 0, 0);
    assert_place(i++, 3 * LEAF + BLOCK, BLOCK, PLACE_PIECE, 70, 0);
    assert_place(i++, 3 * LEAF + 2 * BLOCK, 3 * BLOCK, PLACE_UNREADABLE, 0, 0);
    assert_place(i++, 3 * LEAF + 5 * BLOCK, BLOCK, PLACE_ZEROS, 0, 0);
    assert_place(i++, 3 * LEAF + 6 * BLOCK, LEAF - 6 * BLOCK, PLACE_UNREADABLE, 0, 0);
    assert_place(i++, 4 * LEAF, LEAF, PLACE_HOLE, 0, 0);
    assert_place(i++, 5 * LEAF, LEAF, PLACE_UNREADABLE, 0, 0);
    assert_int_equal(seen.count, i);
    assert_int_equal(w.errors_logged, 1); /* looked for once in a walk */
    world_finish(&w);
}

/* A page over a page over a page ...: as deep as is allowed, and one deeper. */
static void chains_of_bases_are_bounded(void **state)
{
    (void)state;
    for (unsigned depth = WALK_BASES_MAX; depth <= WALK_BASES_MAX + 1; depth++) {
        struct object o;
        world_init(&w);
        object_init(&o, 7);
        struct page_ref page = object_add(&o, leaf_page(80));
        for (unsigned i = 0; i < depth; i++) {
            struct leaf_builder *b = leaf_builder_create(BLOCK);
            page.self = true;
            leaf_builder_base(b, &page);
            add(b, (10 + i) * BLOCK, BLOCK, EXTENT_PIECE, (uint8_t)i, 0);
            page = object_add(&o, encoded(b));
        }
        object_store(&o);
        struct map_root root = root_of(0, &page);
        go(&root, 0, BLOCK);
        assert_int_equal(seen.count, 1);
        assert_place(0, 0, BLOCK, depth > WALK_BASES_MAX ? PLACE_UNREADABLE : PLACE_PIECE, 80, 0);
        world_finish(&w);
    }
}

static void a_base_below_its_page_is_not_followed(void **state)
{
    (void)state;
    static struct subtree children[PAGE_CHILDREN];
    struct object o;
    world_init(&w);
    object_init(&o, 8);
    struct page_ref leaf = object_add(&o, leaf_page(90));
    memset(children, 0, sizeof children);
    children[0].kind = SUBTREE_BASE;
    leaf.self = true;
    struct page_ref top = object_add(&o, node_encode(BLOCK, 1, children, &leaf));
    object_store(&o);
    struct map_root root = root_of(1, &top);
    go(&root, 0, 2 * LEAF);
    assert_place(0, 0, LEAF, PLACE_UNREADABLE, 0, 0);
    assert_covers(2 * LEAF);
    world_finish(&w);
}

static void canceled_it_ends(void **state)
{
    (void)state;
    world_init(&w); /* before it began */
    struct map_root root = store_tree();
    prepare(&root, 0, 3 * NODE);
    walk_start(&seen.walk);
    walk_cancel(&seen.walk);
    assert_false(seen.done);
    world_run_until(&w, &seen.done);
    assert_int_equal(seen.walk.err, ERR_CANCELED);
    assert_int_equal(seen.count, 0);

    world_fault(&w, OBJSTORE_GET, FAULT_STUCK, 1); /* while it waits for a page */
    prepare(&root, NODE, 3 * NODE);
    walk_start(&seen.walk);
    world_run_for(&w, NS_PER_S);
    assert_false(seen.done);
    walk_cancel(&seen.walk);
    assert_false(seen.done);
    world_run_until(&w, &seen.done);
    assert_int_equal(seen.walk.err, ERR_CANCELED);
    assert_int_equal(w.canceled, 1);

    prepare(&root, NODE, 3 * NODE); /* from inside of found */
    seen.cancel = true;
    walk_start(&seen.walk);
    world_run_until(&w, &seen.done);
    assert_int_equal(seen.walk.err, ERR_CANCELED);
    assert_int_equal(seen.count, 1);
    world_finish(&w);
}

RUN_TESTS(cmocka_unit_test(roots_without_pages), cmocka_unit_test(a_leaf_says_what_is_where),
          cmocka_unit_test(nodes_lead_to_their_children), cmocka_unit_test(enough_is_enough),
          cmocka_unit_test(unreadable_pages_are_told_and_the_rest_is_found),
          cmocka_unit_test(a_base_says_what_the_page_does_not),
          cmocka_unit_test(under_an_unreadable_base_only_what_lies_over_it_is_left),
          cmocka_unit_test(chains_of_bases_are_bounded),
          cmocka_unit_test(a_base_below_its_page_is_not_followed), cmocka_unit_test(canceled_it_ends))
