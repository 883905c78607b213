#include "map_object.h"

#include "volume/map/diff.h"

#define BLOCK 4096u
#define LEAF  ((uint64_t)PAGE_BLOCKS * BLOCK)
#define NODE  (PAGE_CHILDREN * LEAF)

static struct world w;

/* ------------------------------------------------------------------------ the diff */

struct seen {
    struct diff diff;
    bool done;
    unsigned stop_after;
    bool cancel;
    struct difference *ranges;
    unsigned count, room;
};
static struct seen seen;

static bool found(struct diff *diff, const struct difference *x)
{
    assert_ptr_equal(diff, &seen.diff);
    assert_false(seen.done);
    assert_true(x->bytes > 0 && x->start >= diff->start && x->start + x->bytes <= diff->end);
    if (seen.count) {
        const struct difference *last = &seen.ranges[seen.count - 1];
        assert_true(last->start + last->bytes <= x->start);
        assert_true(last->start + last->bytes < x->start || last->kind != x->kind);
    }
    if (seen.count == seen.room) {
        seen.room = seen.room ? 2 * seen.room : 16;
        seen.ranges = mem_realloc(seen.ranges, seen.room * sizeof *seen.ranges);
    }
    seen.ranges[seen.count++] = *x;
    if (seen.cancel)
        diff_cancel(diff);
    return seen.count != seen.stop_after;
}

static void compared(struct diff *diff)
{
    assert_ptr_equal(diff, &seen.diff);
    assert_false(seen.done);
    seen.done = true;
}

static void prepare(const struct map_root *a, const struct map_root *b, uint64_t start, uint64_t end)
{
    mem_free(seen.ranges);
    memset(&seen, 0, sizeof seen);
    seen.diff = (struct diff){.engine = &w.engine,
                              .block_size = BLOCK,
                              .sides = {{.root = *a, .size = end}, {.root = *b, .size = end}},
                              .start = start,
                              .end = end,
                              .found = found,
                              .done = compared};
}

static void run(void)
{
    diff_start(&seen.diff);
    assert_false(seen.done);
    world_run_until(&w, &seen.done);
}

static void go(const struct map_root *a, const struct map_root *b, uint64_t start, uint64_t end)
{
    prepare(a, b, start, end);
    run();
    assert_int_equal(seen.diff.err, ERR_OK);
}

static void assert_range(unsigned i, uint64_t start, uint64_t bytes, enum difference_kind kind)
{
    assert_true(i < seen.count);
    assert_int_equal(seen.ranges[i].start, start);
    assert_int_equal(seen.ranges[i].bytes, bytes);
    assert_int_equal(seen.ranges[i].kind, kind);
}

static void end_world(void)
{
    mem_free(seen.ranges);
    memset(&seen, 0, sizeof seen);
    world_finish(&w);
}

/* ---------------------------------------------------------------------------- trees */

static struct piece_ref piece_of(uint32_t number)
{
    struct piece_ref p = {.bytes = BLOCK, .stored_bytes = BLOCK};
    memset(p.hash.bytes, 7, sizeof p.hash.bytes);
    put_le32(p.hash.bytes, number);
    return p;
}

static void add(struct leaf_builder *b, uint32_t start, uint32_t bytes, enum extent_kind kind,
                uint32_t number, uint32_t skip)
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

static struct map_root root_of(unsigned level, const struct page_ref *page)
{
    return (struct map_root){.level = level, .tree = {.kind = SUBTREE_PAGE, .page = *page}};
}

/* Blocks 0 to 3 and 10: pieces, of which the one of block 2 is `two`. */
static struct buf *leaf_page(uint32_t two)
{
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    for (uint32_t i = 0; i < 4; i++)
        add(b, i * BLOCK, BLOCK, EXTENT_PIECE, i == 2 ? two : i, 0);
    add(b, 10 * BLOCK, BLOCK, EXTENT_PIECE, 10, 0);
    return encoded(b);
}

/* ---------------------------------------------------------------------------- tests */

static void roots_without_pages(void **state)
{
    (void)state;
    world_init(&w);
    struct map_root hole = {.level = 0}, zeros = {.level = 1, .tree = {.kind = SUBTREE_ZEROS}};
    go(&hole, &hole, 0, UINT64_C(1) << 63);
    assert_int_equal(seen.count, 0);
    go(&hole, &zeros, 5, 2 * NODE);
    assert_int_equal(seen.count, 1);
    assert_range(0, 5, NODE - 5, DIFFERENCE_ALLOCATION);
    go(&zeros, &zeros, 7, 7);
    assert_int_equal(seen.count, 0);
    prepare(&zeros, &zeros, 0, NODE);
    seen.diff.sides[1].size = 100;
    run();
    assert_range(0, 100, NODE - 100, DIFFERENCE_ALLOCATION);
    assert_int_equal(w.requests[OBJSTORE_GET], 0);
    end_world();
}

/* Two trees of three levels, 200 leaves each, that differ in one block: three pages a side are read. */
static void it_costs_what_differs(void **state)
{
    (void)state;
    static struct subtree children[PAGE_CHILDREN];
    struct map_root roots[2];
    world_init(&w);
    for (int side = 0; side < 2; side++) {
        struct object o;
        object_init(&o, (uint8_t)(1 + side));
        memset(children, 0, sizeof children);
        for (uint32_t i = 0; i < 200; i++) {
            children[i].kind = SUBTREE_PAGE;
            children[i].page = object_add(&o, leaf_page(i == 77 && side ? 1000 : 100 + i));
            children[i].page.self = true;
        }
        struct page_ref node = object_add(&o, node_encode(BLOCK, 1, children, NULL));
        node.self = true;
        memset(children, 0, sizeof children);
        children[0].kind = SUBTREE_ZEROS;
        children[3] = (struct subtree){.kind = SUBTREE_PAGE, .page = node};
        struct page_ref top = object_add(&o, node_encode(BLOCK, 2, children, NULL));
        object_store(&o);
        roots[side] = root_of(2, &top);
    }
    go(&roots[0], &roots[1], 0, 256 * NODE);
    assert_int_equal(seen.count, 1);
    assert_range(0, 3 * NODE + 77 * LEAF + 2 * BLOCK, BLOCK, DIFFERENCE_CONTENT);
    assert_int_equal(w.requests[OBJSTORE_GET], 6);
    assert_int_equal(w.under_way_max, 2);
    go(&roots[0], &roots[0], 0, 256 * NODE);
    assert_int_equal(seen.count, 0);
    assert_int_equal(w.requests[OBJSTORE_GET], 6);
    end_world();
}

/* Grown to a higher level, the map has the former root as a child. */
static void a_root_of_another_level(void **state)
{
    (void)state;
    static struct subtree children[PAGE_CHILDREN];
    struct object o;
    world_init(&w);
    object_init(&o, 1);
    struct page_ref leaf = object_add(&o, leaf_page(2)), other = object_add(&o, leaf_page(3));
    children[0] = (struct subtree){.kind = SUBTREE_PAGE, .page = leaf};
    children[1] = (struct subtree){.kind = SUBTREE_PAGE, .page = other};
    struct page_ref top = object_add(&o, node_encode(BLOCK, 1, children, NULL));
    object_store(&o);
    struct map_root low = root_of(0, &leaf), high = root_of(1, &top);
    for (int turned = 0; turned < 2; turned++) {
        go(turned ? &high : &low, turned ? &low : &high, 0, NODE);
        assert_int_equal(seen.count, 2);
        assert_range(0, LEAF, 4 * BLOCK, DIFFERENCE_CONTENT);
        assert_range(1, LEAF + 10 * BLOCK, BLOCK, DIFFERENCE_CONTENT);
        assert_int_equal(w.requests[OBJSTORE_GET], 2);
    }
    end_world();
}

static void pieces_are_the_same_by_hash_and_place(void **state)
{
    (void)state;
    struct object o;
    world_init(&w);
    object_init(&o, 1);
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    add(b, 0, BLOCK, EXTENT_PIECE, 1, 0);
    add(b, BLOCK, BLOCK, EXTENT_PIECE, 2, 0);
    add(b, 2 * BLOCK, 100, EXTENT_ZEROS, 0, 0);
    struct page_ref first = object_add(&o, encoded(b));
    b = leaf_builder_create(BLOCK);
    struct leaf_extent x = {.start = 0, .bytes = 1000, .kind = EXTENT_PIECE, .piece = piece_of(1)};
    x.piece.object.turn = 5; /* the same piece, stored elsewhere */
    leaf_builder_add(b, &x);
    add(b, 1000, 24, EXTENT_PIECE, 9, 0);
    add(b, 1024, BLOCK - 1024, EXTENT_PIECE, 1, 1024);
    add(b, BLOCK, BLOCK - 1, EXTENT_PIECE, 2, 1); /* out of place by a byte */
    struct page_ref second = object_add(&o, encoded(b));
    object_store(&o);
    struct map_root roots[2] = {root_of(0, &first), root_of(0, &second)};
    go(&roots[0], &roots[1], 0, LEAF);
    assert_range(0, 1000, 24, DIFFERENCE_CONTENT);
    assert_range(1, BLOCK, BLOCK, DIFFERENCE_CONTENT);
    assert_range(2, 2 * BLOCK, 100, DIFFERENCE_ALLOCATION);
    assert_int_equal(seen.count, 3);
    go(&roots[1], &roots[0], 1010, BLOCK + 1);
    assert_range(0, 1010, 14, DIFFERENCE_CONTENT);
    assert_range(1, BLOCK, 1, DIFFERENCE_CONTENT);
    assert_int_equal(seen.count, 2);
    end_world();
}

static void enough_is_enough_and_canceled_it_ends(void **state)
{
    (void)state;
    struct object o;
    world_init(&w);
    object_init(&o, 1);
    struct page_ref leaf = object_add(&o, leaf_page(2));
    object_store(&o);
    struct map_root full = root_of(0, &leaf), hole = {.level = 0};
    prepare(&full, &hole, 0, LEAF);
    seen.stop_after = 1;
    run();
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.diff.err, ERR_OK);
    prepare(&full, &hole, 0, LEAF);
    seen.cancel = true;
    run();
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.diff.err, ERR_CANCELED);
    prepare(&full, &hole, 0, LEAF);
    diff_start(&seen.diff);
    diff_cancel(&seen.diff);
    world_run_until(&w, &seen.done);
    assert_int_equal(seen.count, 0);
    assert_int_equal(seen.diff.err, ERR_CANCELED);
    cache_destroy(w.engine.cache);
    w.engine.cache = cache_create(0);
    world_fault(&w, OBJSTORE_GET, FAULT_STUCK, 1);
    prepare(&full, &hole, 0, LEAF);
    diff_start(&seen.diff);
    world_run_for(&w, NS_PER_S);
    assert_false(seen.done);
    diff_cancel(&seen.diff);
    world_run_until(&w, &seen.done);
    assert_int_equal(seen.diff.err, ERR_CANCELED);
    assert_int_equal(w.canceled, 1);
    end_world();
}

/* ------------------------------------------------- random trees against their content */

enum { UNIT = 512, LEAVES = 6, LEAF_UNITS = 1024, UNITS = LEAVES * LEAF_UNITS };

struct unit {
    enum { UNIT_HOLE, UNIT_ZEROS, UNIT_DATA, UNIT_BASE } kind;
    uint32_t number, skip; /* BASE: the number of the base */
};

struct tree {
    struct unit units[UNITS];
    int base[LEAVES]; /* -1: none */
    bool gone[LEAVES];
    struct sha256 hashes[LEAVES];
    bool page[LEAVES];
    uint64_t size;
    struct map_root root;
};

enum { BASES = 2 }; /* the first can be read, the second cannot */
static struct page_ref bases[BASES];
static struct unit base_units[LEAF_UNITS];
static struct prng prng;

static uint32_t below(uint32_t n)
{
    return (uint32_t)prng_below(&prng, n);
}

static void scribble(struct unit *units, uint32_t first, uint32_t count)
{
    uint32_t kind = below(4), number = below(8);
    for (uint32_t i = first; i < first + count; i++)
        units[i] = kind == 0   ? (struct unit){UNIT_HOLE, 0, 0}
                   : kind == 1 ? (struct unit){UNIT_ZEROS, 0, 0}
                               : (struct unit){UNIT_DATA, number, i % (BLOCK / UNIT) * UNIT};
}

static void change(struct tree *t)
{
    uint32_t first = below(UNITS), most = below(2) ? 16 : 3 * LEAF_UNITS;
    scribble(t->units, first, 1 + below(MIN(UNITS - first, most)));
}

static struct buf *page_of(const struct unit *units, const struct page_ref *base)
{
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    static const enum extent_kind kinds[] = {[UNIT_HOLE] = EXTENT_HOLE,
                                             [UNIT_ZEROS] = EXTENT_ZEROS,
                                             [UNIT_DATA] = EXTENT_PIECE,
                                             [UNIT_BASE] = EXTENT_BASE};
    leaf_builder_base(b, base);
    for (uint32_t i = 0; i < LEAF_UNITS; i++)
        add(b, i * UNIT, UNIT, kinds[units[i].kind], units[i].number, units[i].skip);
    return encoded(b);
}

static bool all_of_kind(const struct unit *units, int kind)
{
    for (uint32_t i = 0; i < LEAF_UNITS; i++)
        if ((int)units[i].kind != kind)
            return false;
    return true;
}

/* The tree as pages, in objects of its own; of the leaves that are gone in one that is not stored. */
static void build(struct tree *t, uint8_t number, unsigned level)
{
    static struct subtree children[PAGE_CHILDREN];
    struct object o, lost;
    object_init(&o, number);
    object_init(&lost, (uint8_t)(number + 100));
    memset(children, 0, sizeof children);
    for (int i = 0; i < LEAVES; i++) {
        const struct unit *units = t->units + i * LEAF_UNITS;
        t->page[i] = !all_of_kind(units, UNIT_HOLE) && !all_of_kind(units, UNIT_ZEROS);
        children[i].kind = all_of_kind(units, UNIT_ZEROS) ? SUBTREE_ZEROS : SUBTREE_HOLE;
        if (!t->page[i])
            continue;
        children[i].kind = SUBTREE_PAGE;
        children[i].page =
            object_add(t->gone[i] ? &lost : &o, page_of(units, t->base[i] < 0 ? NULL : &bases[t->base[i]]));
        children[i].page.self = !t->gone[i] && below(2);
        t->hashes[i] = children[i].page.hash;
    }
    struct page_ref top = object_add(&o, node_encode(BLOCK, 1, children, NULL));
    for (unsigned up = 2; up <= level; up++) {
        memset(children, 0, sizeof children);
        children[0] = (struct subtree){.kind = SUBTREE_PAGE, .page = top};
        top = object_add(&o, node_encode(BLOCK, up, children, NULL));
    }
    object_store(&o);
    mem_free(lost.bytes);
    t->root = root_of(level, &top);
}

/* What stands at a unit when every page that can be read is. */
static struct unit unit_at(const struct tree *t, uint32_t i)
{
    struct unit u = t->units[i];
    if ((uint64_t)i * UNIT >= t->size)
        return (struct unit){UNIT_HOLE, 0, 0};
    if (u.kind == UNIT_BASE && u.number == 0)
        return base_units[i % LEAF_UNITS];
    return u;
}

static int expected(const struct tree *a, const struct tree *b, uint32_t i)
{
    int leaf = (int)(i / LEAF_UNITS);
    uint64_t at = (uint64_t)i * UNIT;
    struct unit x = unit_at(a, i), y = unit_at(b, i);
    bool gone =
        (a->gone[leaf] && a->page[leaf] && at < a->size) || (b->gone[leaf] && b->page[leaf] && at < b->size);
    bool inside = at < a->size && at < b->size;
    if (inside && a->page[leaf] && b->page[leaf] && sha256_equal(&a->hashes[leaf], &b->hashes[leaf]))
        return -1;
    if (gone)
        return DIFFERENCE_UNREADABLE;
    if (x.kind == UNIT_BASE && y.kind == UNIT_BASE)
        return -1;
    if (x.kind == UNIT_BASE || y.kind == UNIT_BASE)
        return DIFFERENCE_UNREADABLE;
    if (x.kind != y.kind)
        return x.kind == UNIT_DATA || y.kind == UNIT_DATA ? DIFFERENCE_CONTENT : DIFFERENCE_ALLOCATION;
    return x.kind != UNIT_DATA || (x.number == y.number && x.skip == y.skip) ? -1 : DIFFERENCE_CONTENT;
}

static void give_a_base(struct tree *t, int leaf)
{
    uint32_t number = below(BASES), first = below(LEAF_UNITS), count = 1 + below(LEAF_UNITS - first);
    t->base[leaf] = (int)number;
    for (uint32_t i = first; i < first + count; i++)
        t->units[leaf * LEAF_UNITS + (int)i] = (struct unit){UNIT_BASE, number, 0};
}

static void make_trees(struct tree *a, struct tree *b)
{
    memset(a, 0, sizeof *a);
    for (int i = 0; i < LEAVES; i++)
        a->base[i] = -1;
    a->size = b->size = UNITS * UNIT;
    for (uint32_t n = below(30); n > 0; n--)
        change(a);
    for (int i = 0; i < LEAVES; i++)
        if (below(4) == 0)
            give_a_base(a, i);
    *b = *a;
    for (uint32_t n = below(8); n > 0; n--)
        change(b);
    for (int i = 0; i < LEAVES; i++) {
        if (b->base[i] >= 0 && all_of_kind(b->units + i * LEAF_UNITS, UNIT_HOLE))
            b->base[i] = -1;
        a->gone[i] = below(12) == 0;
        b->gone[i] = below(12) == 0;
    }
    b->size = below(2) ? b->size : UNIT * (uint64_t)(1 + below(UNITS));
}

static void random_trees_differ_where_their_content_does(void **state)
{
    (void)state;
    static struct tree a, b;
    prng_seed(&prng, 20);
    for (int round = 0; round < 300; round++) {
        world_init(&w);
        struct object kept;
        object_init(&kept, 50);
        scribble(base_units, 0, LEAF_UNITS);
        scribble(base_units, 100, 200);
        bases[0] = object_add(&kept, page_of(base_units, NULL));
        object_store(&kept);
        bases[1] = (struct page_ref){.offset = 3, .bytes = 400};
        memset(&bases[1].object, 9, sizeof bases[1].object);
        make_trees(&a, &b);
        build(&a, 1, 1);
        build(&b, 2, 1 + below(3));
        if (below(2)) {
            cache_destroy(w.engine.cache);
            w.engine.cache = cache_create(0);
        }
        uint32_t first = below(3) ? 0 : below(UNITS),
                 last = below(3) ? UNITS : first + 1 + below(UNITS - first);
        prepare(&a.root, &b.root, (uint64_t)first * UNIT, (uint64_t)last * UNIT);
        seen.diff.sides[0].size = a.size;
        seen.diff.sides[1].size = b.size;
        run();
        assert_int_equal(seen.diff.err, ERR_OK);
        unsigned n = 0;
        for (uint32_t i = first; i < last; i++) {
            uint64_t at = (uint64_t)i * UNIT;
            while (n < seen.count && seen.ranges[n].start + seen.ranges[n].bytes <= at)
                n++;
            int told = n < seen.count && seen.ranges[n].start <= at ? (int)seen.ranges[n].kind : -1;
            if (told != expected(&a, &b, i))
                fail_msg("round %d, unit %u: told %d instead of %d", round, i, told, expected(&a, &b, i));
        }
        end_world();
    }
}

RUN_TESTS(cmocka_unit_test(roots_without_pages), cmocka_unit_test(it_costs_what_differs),
          cmocka_unit_test(a_root_of_another_level), cmocka_unit_test(pieces_are_the_same_by_hash_and_place),
          cmocka_unit_test(enough_is_enough_and_canceled_it_ends),
          cmocka_unit_test(random_trees_differ_where_their_content_does))
