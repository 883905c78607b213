/* What is referred to, and how much memory knowing it takes. */
#include "volume/gc/digests.h"
#include "volume/gc/marks.h"

#include "encoded.h"
#include "unit.h"

#define MIB_4   (UINT32_C(4) << 20)
#define PIECE   (UINT32_C(128) << 10)
#define OBJECTS 3200000u /* 100 million blocks, 32 to an object */
#define PAGES   800000u

static struct object_name numbered(uint64_t n)
{
    struct object_name name = {.turn = 1};
    struct prng p;
    prng_seed(&p, n);
    prng_fill(&p, &name.hash, sizeof name.hash);
    return name;
}

static struct piece_ref piece(const struct object_name *object, uint32_t offset, uint32_t bytes)
{
    return (struct piece_ref){.object = *object, .offset = offset, .bytes = bytes, .stored_bytes = bytes};
}

/* However often a part is referred to, it counts once. */
static void live_part_is_a_union(void **state)
{
    (void)state;
    struct marks *m = marks_create();
    struct object_name a = numbered(1), b = numbered(2);
    for (int i = 0; i < 1000; i++) {
        struct piece_ref p = piece(&a, 5 * PIECE, PIECE);
        marks_piece(m, &p);
    }
    assert_int_equal(marks_live_bytes(m, &a, MIB_4), PIECE);
    assert_true(marks_has(m, OBJECT_BLOCK, &a));
    assert_false(marks_has(m, OBJECT_BLOCK, &b));
    assert_false(marks_has(m, OBJECT_MAP, &a));
    struct piece_ref overlapping = piece(&a, 5 * PIECE + PIECE / 2, PIECE);
    marks_piece(m, &overlapping);
    assert_int_equal(marks_live_bytes(m, &a, MIB_4), PIECE + PIECE / 2);
    a.turn = 2;
    assert_false(marks_has(m, OBJECT_BLOCK, &a));
    marks_map(m, &b);
    assert_true(marks_has(m, OBJECT_MAP, &b));
    assert_false(marks_has(m, OBJECT_BLOCK, &b));
    marks_destroy(m);
}

/* Larger objects have larger granules, smaller pieces are counted by chance: never more than there is. */
static void sizes_are_estimated(void **state)
{
    (void)state;
    struct marks *m = marks_create();
    struct object_name large = numbered(3), small = numbered(4);
    for (uint32_t i = 0; i < 512; i += 2) {
        struct piece_ref p = piece(&large, i * PIECE, PIECE);
        marks_piece(m, &p);
    }
    assert_int_equal(marks_live_bytes(m, &large, 512 * (uint64_t)PIECE), 256 * (uint64_t)PIECE);
    uint64_t live = 0;
    for (uint32_t at = 0; at < MIB_4; at += 1000) {
        struct piece_ref p = piece(&small, at, 500);
        marks_piece(m, &p);
        live += 500;
    }
    uint64_t says = marks_live_bytes(m, &small, MIB_4);
    assert_true(says > live * 9 / 10 && says < live * 11 / 10);
    struct piece_ref tiny = piece(&small, 1, 10);
    tiny.object.turn = 9;
    marks_piece(m, &tiny);
    assert_true(marks_has(m, OBJECT_BLOCK, &tiny.object));
    assert_int_equal(marks_live_bytes(m, &tiny.object, 4096), 0);
    marks_destroy(m);
}

static void a_hundred_million_blocks(void **state)
{
    (void)state;
    struct marks *m = marks_create();
    struct digests seen = {0};
    for (uint32_t i = 0; i < OBJECTS; i++) {
        struct object_name name = numbered(i);
        struct piece_ref p = piece(&name, (i % 32) * PIECE, PIECE);
        marks_piece(m, &p);
        if (i < PAGES) {
            assert_true(digests_add(&seen, &name.hash));
            name.turn = 7;
            marks_map(m, &name);
        }
    }
    assert_int_equal(marks_objects(m), OBJECTS);
    for (uint32_t i = 0; i < OBJECTS; i += 97) {
        struct object_name name = numbered(i), unknown = numbered((uint64_t)OBJECTS + i);
        assert_int_equal(marks_live_bytes(m, &name, MIB_4), PIECE);
        assert_false(marks_has(m, OBJECT_BLOCK, &unknown));
        assert_int_equal(digests_has(&seen, &name.hash), i < PAGES);
    }
    size_t condemned = 2 * (size_t)(UINT32_C(1) << 20) * sizeof(struct object_name) + (16u << 20);
    size_t all = marks_bytes(m) + digests_bytes(&seen) + condemned;
    print_message("%zu MiB for 100 million blocks\n", all >> 20);
    assert_true(all < (size_t)700 * 1000 * 1000);
    marks_destroy(m);
    digests_finish(&seen);
}

RUN_TESTS(cmocka_unit_test(live_part_is_a_union), cmocka_unit_test(sizes_are_estimated),
          cmocka_unit_test(a_hundred_million_blocks))
