#include "volume/dedup.h"

#include "encoded.h"
#include "unit.h"

enum { BLOCK = 131072 };

static struct object_name object_of(uint64_t v)
{
    return (struct object_name){.hash = sha256_of(&v, sizeof v), .turn = (uint32_t)(v % 3)};
}

static struct piece_ref piece_of(uint64_t v, uint64_t blocks_an_object)
{
    struct piece_ref piece = {.object = object_of(v / blocks_an_object),
                              .offset = (uint32_t)(v % blocks_an_object) * BLOCK,
                              .stored_bytes = BLOCK,
                              .bytes = BLOCK};
    v ^= UINT64_C(1) << 60;
    piece.hash = sha256_of(&v, sizeof v);
    return piece;
}

static bool find(struct dedup *d, uint64_t v, uint64_t blocks_an_object)
{
    struct piece_ref wanted = piece_of(v, blocks_an_object), found;
    if (!dedup_find(d, &wanted.hash, BLOCK, &found))
        return false;
    assert_true(piece_equal(&wanted, &found));
    return true;
}

static void add(struct dedup *d, uint64_t v, uint64_t blocks_an_object)
{
    struct piece_ref piece = piece_of(v, blocks_an_object);
    dedup_add(d, &piece);
}

static void what_is_added_is_found(void **state)
{
    (void)state;
    struct dedup *d = dedup_create(1 << 20);
    struct dedup_stats s;
    dedup_stats(d, &s);
    assert_true(s.bytes < 1000);
    assert_false(find(d, 0, 32));
    for (uint64_t v = 0; v < 5000; v++)
        add(d, v, 32);
    for (uint64_t v = 0; v < 5000; v++)
        assert_true(find(d, v, 32));
    assert_false(find(d, 5000, 32));
    struct piece_ref piece = piece_of(3, 32), other = piece_of(4000, 32);
    assert_false(dedup_find(d, &piece.hash, 4096, &other));
    dedup_stats(d, &s);
    assert_true(s.entries == 5000 && s.hits == 5000 && s.misses == 3 && s.evictions == 0);

    other.hash = piece.hash; /* the same block somewhere else: the first place stays */
    dedup_add(d, &other);
    assert_true(find(d, 3, 32));
    dedup_stats(d, &s);
    assert_int_equal(s.entries, 5000);
    dedup_destroy(d);
    dedup_destroy(NULL);
}

static void only_plain_pieces_are_taken_in(void **state)
{
    (void)state;
    struct dedup *d = dedup_create(1 << 20);
    for (int i = 0; i < 4; i++) {
        struct piece_ref piece = piece_of((uint64_t)i, 32), found;
        piece.codec = i == 0;
        piece.cipher = i == 1;
        piece.key = i == 2;
        piece.stored_bytes -= i == 3;
        dedup_add(d, &piece);
        assert_false(dedup_find(d, &piece.hash, BLOCK, &found));
    }
    dedup_destroy(d);
}

static void a_forgotten_object_is_not_found_again(void **state)
{
    (void)state;
    struct dedup *d = dedup_create(1 << 20);
    struct dedup_stats s;
    for (uint64_t v = 0; v < 320; v++)
        add(d, v, 32);
    struct object_name object = object_of(3), unknown = object_of(99), turned = object_of(3);
    turned.turn++;
    dedup_forget(d, &unknown);
    dedup_forget(d, &turned);
    dedup_forget(d, &object);
    dedup_forget(d, &object);
    for (uint64_t v = 0; v < 320; v++)
        assert_int_equal(find(d, v, 32), v / 32 != 3);
    dedup_stats(d, &s);
    assert_int_equal(s.entries, 288);
    add(d, 100, 32);
    assert_true(find(d, 100, 32));
    assert_false(find(d, 101, 32));
    dedup_destroy(d);
}

static void all_is_forgotten_at_once(void **state)
{
    (void)state;
    struct dedup *d = dedup_create(1 << 16);
    struct dedup_stats s;
    dedup_clear(d); /* empty */
    for (unsigned round = 0; round < 4; round++) {
        for (uint64_t v = 0; v < 3200; v++)
            add(d, v, 32);
        struct object_name object = object_of(99);
        dedup_forget(d, &object);
        dedup_clear(d);
        for (uint64_t v = 0; v < 3200; v++)
            assert_false(find(d, v, 32));
        dedup_stats(d, &s);
        assert_int_equal(s.entries, 0);
        add(d, round, 32);
        assert_true(find(d, round, 32));
    }
    dedup_destroy(d);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 400000; bytes = bytes * 2 + 37) {
        struct dedup *d = dedup_create(bytes);
        struct dedup_stats s;
        for (uint64_t v = 0; v < 20000; v++)
            add(d, v, v % 2 ? 1 : 32);
        dedup_stats(d, &s);
        assert_true(s.bytes <= bytes || s.entries == 0);
        assert_true(s.entries <= bytes / 48);
        dedup_destroy(d);
    }
}

static void what_is_asked_for_stays(void **state)
{
    (void)state;
    struct dedup *d = dedup_create(256 << 10);
    unsigned kept = 0, cold = 0;
    for (uint64_t v = 0; v < 100; v++)
        add(d, v, 4);
    for (uint64_t v = 1000; v < 60000; v++) {
        add(d, v, 4);
        find(d, v % 100, 4);
    }
    for (uint64_t v = 0; v < 100; v++)
        kept += find(d, v, 4);
    for (uint64_t v = 1000; v < 1100; v++)
        cold += find(d, v, 4);
    assert_true(kept >= 90 && cold == 0);
    dedup_destroy(d);
}

/* Under every kind of pressure: an answer is what was added, and nothing of a forgotten object. */
static void answers_are_always_right(void **state)
{
    (void)state;
    static const uint64_t shapes[] = {1, 4, 32, 1000};
    enum { BLOCKS = 4000 };
    struct prng p;
    prng_seed(&p, 40);
    for (size_t shape = 0; shape < COUNT_OF(shapes); shape++) {
        uint64_t each = shapes[shape];
        struct dedup *d = dedup_create(100000);
        uint8_t *forgotten = MEM_ARRAY(uint8_t, BLOCKS);
        uint64_t hits = 0;
        for (int round = 0; round < 60000; round++) {
            uint64_t v = prng_below(&p, BLOCKS);
            uint64_t what = prng_below(&p, 1000);
            if (what < 2) {
                struct object_name object = object_of(v / each);
                dedup_forget(d, &object);
                forgotten[v / each] = 1;
            } else if (what < 500) {
                add(d, v, each);
                forgotten[v / each] = 0;
            } else if (find(d, v, each)) {
                assert_false(forgotten[v / each]);
                hits++;
            }
        }
        struct dedup_stats s;
        dedup_stats(d, &s);
        assert_true(hits > 1000 && hits == s.hits && s.bytes <= 100000);
        mem_free(forgotten);
        dedup_destroy(d);
    }
}

RUN_TESTS(cmocka_unit_test(what_is_added_is_found), cmocka_unit_test(only_plain_pieces_are_taken_in),
          cmocka_unit_test(a_forgotten_object_is_not_found_again), cmocka_unit_test(all_is_forgotten_at_once),
          cmocka_unit_test(memory_is_bounded), cmocka_unit_test(what_is_asked_for_stays),
          cmocka_unit_test(answers_are_always_right))
