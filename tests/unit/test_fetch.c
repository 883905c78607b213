#include "world.h"

#include "volume/format/page.h"
#include "volume/format/record.h"
#include "volume/map/fetch.h"

static struct world w;

struct want {
    struct fetch fetch;
    bool done;
    unsigned when;
};
static unsigned finished;

static void fetched(struct fetch *f)
{
    struct want *want = CONTAINER_OF(f, struct want, fetch);
    assert_false(want->done);
    want->done = true;
    want->when = ++finished;
}

static struct fetch *want_init(struct want *want)
{
    memset(want, 0, sizeof *want);
    want->fetch.engine = &w.engine;
    want->fetch.done = fetched;
    return &want->fetch;
}

static void begin(void)
{
    world_init(&w);
    finished = 0;
}

/* An object whose bytes are the seed's, and the piece of it at that place. */
static struct piece_ref store_piece(uint8_t seed, uint32_t offset, uint32_t bytes)
{
    struct piece_ref p = {.offset = offset, .bytes = bytes, .stored_bytes = bytes};
    uint8_t *object = mem_alloc(offset + bytes + 100);
    struct key key;
    struct prng prng;
    prng_seed(&prng, seed);
    prng_fill(&prng, object, offset + bytes + 100);
    p.hash = sha256_of(object + offset, bytes);
    p.object.hash = sha256_of(object, offset + bytes + 100);
    key_block(&key, &p.object);
    world_put(&w, key.text, object, offset + bytes + 100);
    mem_free(object);
    return p;
}

static void assert_piece(const struct want *want, const struct piece_ref *p)
{
    assert_int_equal(want->fetch.err, ERR_OK);
    assert_int_equal(want->fetch.content->bytes, p->bytes);
    struct sha256 hash = sha256_of(want->fetch.content->data, p->bytes);
    assert_true(sha256_equal(&hash, &p->hash));
}

static void a_piece_is_read_once_and_then_cached(void **state)
{
    (void)state;
    for (uint32_t bytes = 512; bytes <= 128 * KIB; bytes *= 16) {
        struct want want;
        begin();
        struct piece_ref p = store_piece(1, 4096, bytes);
        assert_null(fetch_piece_now(&w.engine, &p));
        for (int i = 0; i < 2; i++) {
            fetch_piece(want_init(&want), &p);
            assert_false(want.done);
            world_run_until(&w, &want.done);
            assert_piece(&want, &p);
            buf_unref(want.fetch.content);
        }
        struct buf *now = fetch_piece_now(&w.engine, &p);
        assert_non_null(now);
        buf_unref(now);
        assert_int_equal(w.requests[OBJSTORE_GET], 1);
        world_finish(&w);
    }
}

static void who_wants_the_same_joins(void **state)
{
    (void)state;
    struct want wants[10], elsewhere, beside;
    begin();
    struct piece_ref p = store_piece(2, 0, 64 * KIB), copy = p, shifted = p;
    copy.object = store_piece(3, 0, 512).object;
    shifted.offset = 1;
    for (size_t i = 0; i < COUNT_OF(wants); i++)
        fetch_piece(want_init(&wants[i]), &p);
    fetch_piece(want_init(&elsewhere), &copy); /* the same bytes, it says, in another object: too short */
    fetch_piece(want_init(&beside), &shifted); /* and beside where they are */
    for (size_t i = 0; i < COUNT_OF(wants); i++) {
        world_run_until(&w, &wants[i].done);
        assert_piece(&wants[i], &p);
        buf_unref(wants[i].fetch.content);
    }
    world_run_until(&w, &elsewhere.done);
    assert_int_equal(elsewhere.fetch.err, ERR_CORRUPT);
    world_run_until(&w, &beside.done);
    assert_int_equal(beside.fetch.err, ERR_CORRUPT);
    assert_int_equal(w.requests[OBJSTORE_GET], 3);
    world_finish(&w);
}

static void damage_is_told_to_all_who_wait_and_logged_once(void **state)
{
    (void)state;
    for (uint32_t bytes = 4 * KIB; bytes <= 64 * KIB; bytes *= 16) {
        struct want a, b;
        char hex[SHA256_HEX];
        begin();
        struct piece_ref p = store_piece(4, 512, bytes);
        struct key key;
        key_block(&key, &p.object);
        hex_encode(p.hash.bytes, 32, hex);
        world_fault(&w, OBJSTORE_GET, FAULT_DAMAGE, 1);
        fetch_piece(want_init(&a), &p);
        fetch_piece(want_init(&b), &p);
        world_run_until(&w, &b.done);
        assert_int_equal(a.fetch.err, ERR_CORRUPT);
        assert_int_equal(b.fetch.err, ERR_CORRUPT);
        assert_null(a.fetch.content);
        assert_int_equal(w.errors_logged, 1);
        assert_non_null(strstr(w.last_error, key.text));
        assert_non_null(strstr(w.last_error, hex));
        assert_non_null(strstr(w.last_error, "offset 512"));
        fetch_piece(want_init(&a), &p); /* it was on the wire: looked at again it is well */
        world_run_until(&w, &a.done);
        assert_piece(&a, &p);
        buf_unref(a.fetch.content);
        world_finish(&w);
    }
}

static void a_missing_object_is_told_and_logged_once(void **state)
{
    (void)state;
    struct want a, b;
    begin();
    struct piece_ref p = {.bytes = 512, .stored_bytes = 512};
    fetch_piece(want_init(&a), &p);
    fetch_piece(want_init(&b), &p);
    world_run_until(&w, &b.done);
    assert_int_equal(a.fetch.err, ERR_NOTFOUND);
    assert_int_equal(b.fetch.err, ERR_NOTFOUND);
    assert_int_equal(w.errors_logged, 1);
    world_finish(&w);
}

static void what_this_version_cannot_read_is_refused(void **state)
{
    (void)state;
    begin();
    struct piece_ref good = store_piece(5, 0, 512);
    for (int i = 0; i < 5; i++) {
        struct want want;
        struct piece_ref p = good;
        p.codec = i == 0;
        p.cipher = i == 1;
        p.key = i == 2;
        p.stored_bytes = i == 3 ? 100 : 512;
        if (i == 4)
            p.bytes = p.stored_bytes = 0;
        fetch_piece(want_init(&want), &p);
        world_run_until(&w, &want.done);
        assert_int_equal(want.fetch.err, ERR_CORRUPT);
        assert_int_equal(w.errors_logged, i + 1);
    }
    assert_int_equal(w.requests[OBJSTORE_GET], 0);
    world_finish(&w);
}

/* The cache goes by hash; a reference that claims more bytes than those reads nothing past their end. */
static void a_reference_that_lies_about_the_length_is_not_believed(void **state)
{
    (void)state;
    struct want want;
    begin();
    struct piece_ref p = store_piece(6, 0, 512), liar = p;
    fetch_piece(want_init(&want), &p);
    world_run_until(&w, &want.done);
    buf_unref(want.fetch.content);
    liar.bytes = liar.stored_bytes = 600;
    assert_null(fetch_piece_now(&w.engine, &liar));
    fetch_piece(want_init(&want), &liar);
    world_run_until(&w, &want.done);
    assert_int_equal(want.fetch.err, ERR_CORRUPT);
    world_finish(&w);
}

static void the_last_who_cancels_cancels_the_request(void **state)
{
    (void)state;
    struct want a, b, c;
    begin();
    struct piece_ref p = store_piece(7, 0, 64 * KIB);
    world_fault(&w, OBJSTORE_GET, FAULT_STUCK, 1);
    fetch_piece(want_init(&a), &p);
    fetch_piece(want_init(&b), &p);
    world_run_for(&w, NS_PER_S);
    fetch_cancel(&a.fetch);
    assert_false(a.done);
    world_run_until(&w, &a.done);
    assert_int_equal(a.fetch.err, ERR_CANCELED);
    assert_int_equal(w.canceled, 0);
    assert_false(b.done);
    fetch_cancel(&b.fetch);
    fetch_cancel(&b.fetch);
    fetch_piece(want_init(&c), &p); /* does not join what is being given up */
    world_run_until(&w, &c.done);
    assert_true(b.done);
    assert_int_equal(b.fetch.err, ERR_CANCELED);
    assert_int_equal(w.canceled, 1);
    assert_piece(&c, &p);
    buf_unref(c.fetch.content);
    fetch_cancel(&c.fetch); /* harmless after done */
    world_finish(&w);
}

static void canceling_while_the_content_is_checked_is_fine(void **state)
{
    (void)state;
    struct want a;
    begin();
    struct piece_ref p = store_piece(8, 0, 64 * KIB);
    fetch_piece(want_init(&a), &p);
    for (int i = 0; i < 3 && !a.done; i++) {
        world_step(&w);
        fetch_cancel(&a.fetch);
    }
    world_run_until(&w, &a.done);
    assert_int_equal(a.fetch.err, ERR_CANCELED);
    world_finish(&w);
}

static void bytes_on_their_way_are_bounded_and_demand_goes_first(void **state)
{
    (void)state;
    enum { N = 40 };
    static struct want background[N], demand[N];
    begin();
    w.always[OBJSTORE_GET] = FAULT_SLOW;
    struct piece_ref p = store_piece(9, 0, 4 * MIB);
    for (unsigned i = 0; i < N; i++) {
        struct piece_ref q = p;
        q.hash.bytes[31] ^= (uint8_t)i; /* none but the first will be found right */
        q.hash.bytes[30] = 1;
        want_init(&background[i])->priority = OBJSTORE_BACKGROUND;
        fetch_piece(&background[i].fetch, &q);
    }
    for (unsigned i = 0; i < N; i++) {
        struct piece_ref q = p;
        q.hash.bytes[31] ^= (uint8_t)i;
        q.hash.bytes[30] = 2;
        fetch_piece(want_init(&demand[i]), &q);
    }
    for (unsigned i = 0; i < N; i++) {
        world_run_until(&w, &background[i].done);
        world_run_until(&w, &demand[i].done);
    }
    assert_int_equal(w.under_way_max, FETCH_BYTES_MAX / (4 * MIB));
    assert_in_range(demand[0].when, 1, 12); /* only what was under way already went before it */
    assert_in_range(demand[N - 1].when, N, N + 12);
    assert_true(background[1].when < demand[N - 1].when); /* background is not forgotten */
    assert_int_equal(w.engine.fetches.budget.used, 0);
    world_finish(&w);
}

/* -------------------------------------------------------------------------- spans */

enum { SIDE_BY_SIDE = 12, BESIDE_BYTES = 128 << 10 };

/* Pieces that lie side by side in one object. */
static void store_side_by_side(struct piece_ref pieces[SIDE_BY_SIDE])
{
    struct piece_ref all = store_piece(11, 0, SIDE_BY_SIDE * BESIDE_BYTES);
    uint8_t *object = mem_alloc(SIDE_BY_SIDE * BESIDE_BYTES);
    struct prng prng;
    prng_seed(&prng, 11);
    prng_fill(&prng, object, SIDE_BY_SIDE * BESIDE_BYTES);
    for (uint32_t i = 0; i < SIDE_BY_SIDE; i++) {
        pieces[i] = all;
        pieces[i].offset = i * BESIDE_BYTES;
        pieces[i].bytes = pieces[i].stored_bytes = BESIDE_BYTES;
        pieces[i].hash = sha256_of(object + i * BESIDE_BYTES, BESIDE_BYTES);
    }
    mem_free(object);
}

static void pieces_side_by_side_come_together(void **state)
{
    (void)state;
    struct piece_ref pieces[SIDE_BY_SIDE];
    struct want wants[SIDE_BY_SIDE];
    begin();
    store_side_by_side(pieces);
    for (unsigned i = 0; i < SIDE_BY_SIDE; i++)
        fetch_piece(want_init(&wants[i]), &pieces[i]);
    for (unsigned i = 0; i < SIDE_BY_SIDE; i++) {
        world_run_until(&w, &wants[i].done);
        assert_piece(&wants[i], &pieces[i]);
        buf_unref(wants[i].fetch.content);
    }
    assert_int_equal(w.requests[OBJSTORE_GET], 2); /* of a mebibyte at most */
    assert_int_equal(w.engine.fetches.budget.used, 0);
    world_finish(&w);
}

static void one_damaged_piece_does_not_harm_those_beside_it(void **state)
{
    (void)state;
    struct piece_ref pieces[SIDE_BY_SIDE];
    struct want wants[SIDE_BY_SIDE];
    begin();
    store_side_by_side(pieces);
    pieces[2].hash.bytes[0] ^= 1;
    for (unsigned i = 0; i < 5; i++)
        fetch_piece(want_init(&wants[i]), &pieces[i]);
    for (unsigned i = 0; i < 5; i++) {
        world_run_until(&w, &wants[i].done);
        assert_int_equal(wants[i].fetch.err, i == 2 ? ERR_CORRUPT : ERR_OK);
        buf_unref(wants[i].fetch.content);
    }
    world_finish(&w);
}

static void a_span_past_the_end_is_asked_for_piece_by_piece(void **state)
{
    (void)state;
    struct piece_ref pieces[SIDE_BY_SIDE];
    struct want wants[3];
    begin();
    store_side_by_side(pieces);
    pieces[SIDE_BY_SIDE - 1].bytes = pieces[SIDE_BY_SIDE - 1].stored_bytes = 2 * BESIDE_BYTES;
    for (unsigned i = 0; i < 3; i++)
        fetch_piece(want_init(&wants[i]), &pieces[SIDE_BY_SIDE - 3 + i]);
    for (unsigned i = 0; i < 3; i++) {
        world_run_until(&w, &wants[i].done);
        assert_int_equal(wants[i].fetch.err, i == 2 ? ERR_CORRUPT : ERR_OK);
        buf_unref(wants[i].fetch.content);
    }
    assert_int_equal(w.errors_logged, 1);
    assert_int_equal(w.engine.fetches.budget.used, 0);
    world_finish(&w);
}

/* Whoever of a span is canceled gets nothing; the others get theirs; when all are, the store is told. */
static void canceling_in_a_span(void **state)
{
    (void)state;
    for (unsigned canceled = 1; canceled <= 4; canceled++) {
        struct piece_ref pieces[SIDE_BY_SIDE];
        struct want wants[4];
        begin();
        w.always[OBJSTORE_GET] = FAULT_SLOW;
        store_side_by_side(pieces);
        for (unsigned i = 0; i < 4; i++)
            fetch_piece(want_init(&wants[i]), &pieces[i]);
        world_run_for(&w, NS_PER_MS);
        for (unsigned i = 0; i < canceled; i++)
            fetch_cancel(&wants[i].fetch);
        for (unsigned i = 0; i < 4; i++) {
            world_run_until(&w, &wants[i].done);
            assert_int_equal(wants[i].fetch.err, i < canceled ? ERR_CANCELED : ERR_OK);
            buf_unref(wants[i].fetch.content);
        }
        assert_int_equal(w.requests[OBJSTORE_GET], 1);
        assert_int_equal(w.canceled, canceled == 4);
        assert_int_equal(w.engine.fetches.budget.used, 0);
        world_finish(&w);
    }
}

/* ------------------------------------------------------------------------- pages */

/* A leaf page at offset 10 of a map object: one whole block and a part of one. */
static struct page_ref store_leaf(struct piece_ref *whole)
{
    struct leaf_builder *b = leaf_builder_create(4096);
    struct page_ref ref = {.offset = 10};
    struct piece_ref part = {.offset = 4096, .bytes = 512, .stored_bytes = 512};
    struct key key;
    *whole = (struct piece_ref){.bytes = 4096, .stored_bytes = 4096};
    memset(whole->hash.bytes, 7, 32);
    memset(part.hash.bytes, 8, 32);
    leaf_builder_add(b,
                     &(struct leaf_extent){.start = 0, .bytes = 4096, .kind = EXTENT_PIECE, .piece = *whole});
    leaf_builder_add(b,
                     &(struct leaf_extent){.start = 8192, .bytes = 512, .kind = EXTENT_PIECE, .piece = part});
    struct buf *page = leaf_builder_encode(b);
    leaf_builder_destroy(b);
    uint8_t *object = mem_calloc(1, page->bytes + 20);
    memcpy(object + 10, page->data, page->bytes);
    ref.bytes = (uint32_t)page->bytes;
    ref.hash = sha256_of(page->data, page->bytes);
    ref.object.hash = sha256_of(object, page->bytes + 20);
    key_map(&key, &ref.object);
    world_put(&w, key.text, object, page->bytes + 20);
    mem_free(object);
    buf_unref(page);
    return ref;
}

static enum err get_page(const struct page_ref *ref, unsigned level, uint32_t block_size)
{
    struct want want;
    fetch_page(want_init(&want), ref, level, block_size);
    world_run_until(&w, &want.done);
    buf_unref(want.fetch.content);
    return want.fetch.err;
}

static void a_page_is_checked_and_its_whole_blocks_become_known(void **state)
{
    (void)state;
    struct piece_ref whole, found;
    struct sha256 part;
    begin();
    struct page_ref ref = store_leaf(&whole), big = ref;
    assert_int_equal(get_page(&ref, 1, 4096), ERR_CORRUPT);
    assert_int_equal(get_page(&ref, 0, 8192), ERR_CORRUPT);
    big.bytes = PAGE_BYTES_CAP + 1;
    assert_int_equal(get_page(&big, 0, 4096), ERR_CORRUPT);
    assert_int_equal(w.errors_logged, 3);
    assert_false(dedup_find(w.engine.dedup, &whole.hash, 4096, &found));
    assert_int_equal(get_page(&ref, PAGE_LEVEL_ANY, 4096), ERR_OK);
    assert_true(dedup_find(w.engine.dedup, &whole.hash, 4096, &found));
    memset(part.bytes, 8, 32);
    assert_false(dedup_find(w.engine.dedup, &part, 512, &found));
    assert_int_equal(get_page(&ref, 0, 4096), ERR_OK);
    assert_int_equal(w.requests[OBJSTORE_GET], 3);
    world_finish(&w);
}

static void a_condemned_page_teaches_nothing(void **state)
{
    (void)state;
    struct piece_ref whole, found;
    begin();
    struct page_ref ref = store_leaf(&whole);
    condemned_reserve(&w.engine.turns.condemned, 1);
    condemned_add(&w.engine.turns.condemned, OBJECT_MAP, &ref.object);
    assert_int_equal(get_page(&ref, 0, 4096), ERR_OK);
    assert_false(dedup_find(w.engine.dedup, &whole.hash, 4096, &found));
    condemned_clear(&w.engine.turns.condemned);
    world_finish(&w);
}

/* ----------------------------------------------------------------------- records */

static enum err get_record(const char *key, size_t *bytes)
{
    struct want want;
    fetch_record(want_init(&want), key);
    world_run_until(&w, &want.done);
    *bytes = want.fetch.content ? want.fetch.content->bytes : 0;
    buf_unref(want.fetch.content);
    return want.fetch.err;
}

static void records_and_seals_are_read_whole(void **state)
{
    (void)state;
    static const char key[] = "exports/disk/00/1", seal_key[] = "exports/disk/00/2";
    uint8_t seal[SEAL_BYTES], id[16] = {1}, folder[8] = {2}, nonce[16] = {3};
    struct record_head head = {.epoch = 1, .last = true};
    size_t bytes;
    begin();
    assert_int_equal(get_record(key, &bytes), ERR_NOTFOUND);
    assert_int_equal(w.errors_logged, 0);

    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    assert_true(record_add_range(b, 0, 4096, ENTRY_ZEROS));
    struct buf *record = record_builder_encode(b, &head);
    record_builder_destroy(b);
    world_put(&w, key, record->data, record->bytes);
    world_fault(&w, OBJSTORE_GET, FAULT_DAMAGE, 1);
    assert_int_equal(get_record(key, &bytes), ERR_CORRUPT);
    assert_int_equal(w.errors_logged, 1);
    assert_int_equal(get_record(key, &bytes), ERR_OK);
    assert_int_equal(bytes, record->bytes);
    buf_unref(record);
    unsigned before = w.requests[OBJSTORE_GET];
    assert_int_equal(get_record(key, &bytes), ERR_OK);
    assert_int_equal(w.requests[OBJSTORE_GET], before);

    seal_encode(seal, id, 1, folder, 2, w.engine.server_id, nonce);
    world_put(&w, seal_key, seal, sizeof seal);
    assert_int_equal(get_record(seal_key, &bytes), ERR_OK);
    assert_int_equal(bytes, SEAL_BYTES);
    world_finish(&w);
}

RUN_TESTS(cmocka_unit_test(a_piece_is_read_once_and_then_cached), cmocka_unit_test(who_wants_the_same_joins),
          cmocka_unit_test(damage_is_told_to_all_who_wait_and_logged_once),
          cmocka_unit_test(a_missing_object_is_told_and_logged_once),
          cmocka_unit_test(what_this_version_cannot_read_is_refused),
          cmocka_unit_test(a_reference_that_lies_about_the_length_is_not_believed),
          cmocka_unit_test(the_last_who_cancels_cancels_the_request),
          cmocka_unit_test(canceling_while_the_content_is_checked_is_fine),
          cmocka_unit_test(bytes_on_their_way_are_bounded_and_demand_goes_first),
          cmocka_unit_test(pieces_side_by_side_come_together),
          cmocka_unit_test(one_damaged_piece_does_not_harm_those_beside_it),
          cmocka_unit_test(a_span_past_the_end_is_asked_for_piece_by_piece),
          cmocka_unit_test(canceling_in_a_span),
          cmocka_unit_test(a_page_is_checked_and_its_whole_blocks_become_known),
          cmocka_unit_test(a_condemned_page_teaches_nothing),
          cmocka_unit_test(records_and_seals_are_read_whole))
