/* The small parts of collecting: lists, sets of names, and what is held of earlier turns. */
#include "volume/format/gc_state.h"
#include "volume/gc/condemned.h"
#include "volume/gc/hold.h"

#include "encoded.h"
#include "unit.h"

static void list_round_trip(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 1);
    struct object_name names[7];
    struct gc_hint hints[3];
    for (size_t i = 0; i < COUNT_OF(names); i++)
        names[i] = random_object(&p);
    for (size_t i = 0; i < COUNT_OF(hints); i++)
        hints[i] = (struct gc_hint){.from = names[i],
                                    .to = random_object(&p),
                                    .from_offset = (uint32_t)i,
                                    .to_offset = 7,
                                    .bytes = 4096,
                                    .hash = names[i].hash};
    struct gc_list l = {.turn = 3,
                        .blocks = names,
                        .block_count = 4,
                        .maps = names + 4,
                        .map_count = 3,
                        .hints = hints,
                        .hint_count = 3};
    struct buf *b = gc_list_encode(&l);
    uint8_t *copy = encoded_copy(b);
    struct gc_list_view v;
    assert_int_equal(gc_list_parse(copy, b->bytes, &v), ERR_OK);
    assert_int_equal(v.turn, 3);
    struct object_name name;
    for (uint32_t i = 0; i < 4; i++) {
        gc_list_block(&v, i, &name);
        assert_memory_equal(&name, &names[i], sizeof name);
    }
    for (uint32_t i = 0; i < 3; i++) {
        gc_list_map(&v, i, &name);
        assert_memory_equal(&name, &names[4 + i], sizeof name);
        struct gc_hint hint;
        gc_list_hint(&v, i, &hint);
        assert_memory_equal(&hint.to, &hints[i].to, sizeof hint.to);
        assert_int_equal(hint.from_offset, i);
    }
    for (size_t i = 0; i < b->bytes; i++) {
        copy[i] ^= 1;
        assert_int_not_equal(gc_list_parse(copy, b->bytes, &v), ERR_OK);
        copy[i] ^= 1;
    }
    copy[48]++; /* a right checksum over a wrong count */
    encoded_reseal(copy, b->bytes);
    assert_int_equal(gc_list_parse(copy, b->bytes, &v), ERR_CORRUPT);
    assert_int_equal(gc_list_parse(copy, 63, &v), ERR_CORRUPT);
    mem_free(copy);
    buf_unref(b);
}

static void state_is_checked(void **state)
{
    (void)state;
    static struct gc_state s = {.serial = 1, .turn = 1}, out;
    memset(s.nonce, 'b', ID_HEX - 1);
    s.list_count = 2;
    s.lists[0].bytes = s.lists[1].bytes = 100;
    s.lists[1].object.hash.bytes[0] = 9;
    struct buf *b = gc_state_encode(&s);
    assert_int_equal(gc_state_parse(b->data, b->bytes, &out, NULL), ERR_OK);
    assert_int_equal(out.list_count, 2);
    assert_int_equal(out.lists[1].object.turn, 1);
    assert_int_equal(out.lists[1].object.hash.bytes[0], 9);
    b->data[100] ^= 1;
    assert_int_equal(gc_state_parse(b->data, b->bytes, &out, NULL), ERR_CORRUPT);
    buf_unref(b);
}

static void names_are_found(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 2);
    struct condemned c = {0};
    static struct object_name names[5000];
    condemned_reserve(&c, 2500);
    for (size_t i = 0; i < 5000; i++) {
        names[i] = random_object(&p);
        if (i < 2500)
            condemned_add(&c, OBJECT_BLOCK, &names[i]);
    }
    for (size_t i = 0; i < 5000; i++) {
        assert_int_equal(condemned_has(&c, OBJECT_BLOCK, &names[i]), i < 2500);
        assert_false(condemned_has(&c, OBJECT_MAP, &names[i]));
        names[i].turn++;
        assert_false(condemned_has(&c, OBJECT_BLOCK, &names[i]));
    }
    condemned_clear(&c);
    assert_false(condemned_has(&c, OBJECT_BLOCK, &names[0]));
}

static unsigned settled_calls;

static void settled(struct holds *h)
{
    (void)h;
    settled_calls++;
}

static void earlier_turns_settle(void **state)
{
    (void)state;
    struct holds h;
    holds_init(&h, 0);
    h.settled = settled;
    struct hold *a = hold_take(&h), *b = hold_share(a);
    hold_give(a);
    assert_int_equal(holds_oldest(&h), 0);
    holds_turn(&h, 1);
    struct hold *c = hold_take(&h);
    holds_turn(&h, 5);
    assert_int_equal(holds_oldest(&h), 0);
    hold_give(c);
    assert_int_equal(settled_calls, 1);
    assert_int_equal(holds_oldest(&h), 0);
    hold_give(b);
    assert_int_equal(settled_calls, 2);
    assert_int_equal(holds_oldest(&h), 5);
    hold_give(hold_take(&h)); /* of the present turn: nobody waits for it */
    assert_int_equal(settled_calls, 2);
    holds_turn(&h, 6);
    assert_int_equal(holds_oldest(&h), 6);
    hold_give(NULL);
    holds_finish(&h);
}

RUN_TESTS(cmocka_unit_test(list_round_trip), cmocka_unit_test(state_is_checked),
          cmocka_unit_test(names_are_found), cmocka_unit_test(earlier_turns_settle))
