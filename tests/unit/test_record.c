#include "volume/format/record.h"

#include "encoded.h"
#include "unit.h"

static const struct record_head head = {.export_id = {1, 2, 3, [15] = 16},
                                        .epoch = 7,
                                        .folder = {9, [7] = 8},
                                        .slot = 41,
                                        .first = 40,
                                        .last = true};

enum { ENTRIES_MAX = 2000, DATA_MAX = 1 << 20 };

struct script {
    struct record_entry entries[ENTRIES_MAX];
    size_t count, data_bytes;
    uint8_t data[DATA_MAX];
};

static bool add_random(struct script *s, struct record_builder *b, struct prng *p,
                       const struct object_name *objects)
{
    struct record_entry e = {.offset = prng_next(p) >> 2, .kind = (enum entry_kind)prng_below(p, 4)};
    e.bytes = 1 + prng_below(p, 9000);
    bool added;
    if (e.kind == ENTRY_INLINE) {
        e.skip = (uint32_t)s->data_bytes;
        if (e.bytes > record_builder_room(b))
            e.bytes = MAX(record_builder_room(b), 1);
        prng_fill(p, s->data + e.skip, e.bytes);
        size_t cut = prng_below(p, e.bytes + 1);
        struct iovec iov[] = {{s->data + e.skip, cut}, {s->data + e.skip + cut, e.bytes - cut}};
        added = record_add_inline(b, e.offset, (uint32_t)e.bytes, iov, 2);
        if (added)
            s->data_bytes += e.bytes;
    } else if (e.kind == ENTRY_PIECE) {
        if (s->count && s->entries[s->count - 1].kind == ENTRY_PIECE && prng_below(p, 2))
            e.piece = s->entries[s->count - 1].piece;
        else
            e.piece = random_piece(p, &objects[prng_below(p, 4)], 1 << 17);
        e.skip = (uint32_t)prng_below(p, e.piece.bytes);
        e.bytes = 1 + prng_below(p, e.piece.bytes - e.skip);
        added = record_add_piece(b, e.offset, e.bytes, &e.piece, e.skip);
    } else {
        e.bytes = 1 + prng_below(p, UINT64_C(1) << 61);
        added = record_add_range(b, e.offset, e.bytes, e.kind);
    }
    if (added)
        s->entries[s->count++] = e;
    return added;
}

static void same_entry(const struct script *s, size_t i, const struct record *r)
{
    struct record_entry got;
    const struct record_entry *put = &s->entries[i];
    record_entry(r, (uint32_t)i, &got);
    assert_true(got.offset == put->offset && got.bytes == put->bytes && got.kind == put->kind);
    if (put->kind == ENTRY_PIECE)
        assert_true(got.skip == put->skip && piece_equal(&got.piece, &put->piece));
    if (put->kind == ENTRY_INLINE)
        assert_memory_equal(r->bytes + got.skip, s->data + put->skip, put->bytes);
}

static void random_records_come_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 2);
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    struct script *s = MEM_NEW(struct script);
    struct object_name objects[4];
    for (int i = 0; i < 4; i++)
        objects[i] = random_object(&p);
    for (int round = 0; round < 60; round++) {
        record_builder_reset(b);
        s->count = s->data_bytes = 0;
        size_t wanted = prng_below(&p, round % 10 ? 12 : ENTRIES_MAX);
        while (s->count < wanted && add_random(s, b, &p, objects))
            ;
        assert_int_equal(record_builder_entries(b), s->count);
        struct buf *out = record_builder_encode(b, &head);
        assert_true(out->bytes > SEAL_BYTES && out->bytes <= RECORD_BYTES_MAX);
        struct record r;
        enum log_object what;
        assert_int_equal(record_parse(out->data, out->bytes, &what, &r), ERR_OK);
        assert_int_equal(what, LOG_RECORD);
        assert_memory_equal(r.head.export_id, head.export_id, 16);
        assert_memory_equal(r.head.folder, head.folder, 8);
        assert_true(r.head.epoch == 7 && r.head.slot == 41 && r.head.first == 40 && r.head.last);
        assert_int_equal(r.entries, s->count);
        for (size_t i = 0; i < s->count; i++)
            same_entry(s, i, &r);
        buf_unref(out);
    }
    mem_free(s);
    record_builder_destroy(b);
}

static void a_full_record_takes_nothing_more(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 3);
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    uint8_t *data = mem_calloc(1, RECORD_BYTES_MAX);
    struct iovec iov = {data, record_builder_room(b)};
    assert_true(iov.iov_len > RECORD_BYTES_MAX - 200);
    iov.iov_len -= 23;
    assert_true(record_add_inline(b, 0, (uint32_t)iov.iov_len, &iov, 1));
    assert_int_equal(record_builder_room(b), 0);
    struct object_name object = random_object(&p);
    struct piece_ref piece = random_piece(&p, &object, 4096);
    assert_false(record_add_range(b, 0, 1, ENTRY_HOLE));
    assert_false(record_add_piece(b, 0, 1, &piece, 0));
    iov.iov_len = 1;
    assert_false(record_add_inline(b, 0, 1, &iov, 1));
    assert_int_equal(record_builder_entries(b), 1);
    struct buf *out = record_builder_encode(b, &head);
    assert_int_equal(out->bytes, RECORD_BYTES_MAX - 23);
    buf_unref(out);

    record_builder_reset(b);
    iov.iov_len = record_builder_room(b);
    assert_true(record_add_inline(b, 0, (uint32_t)iov.iov_len, &iov, 1));
    out = record_builder_encode(b, &head);
    assert_int_equal(out->bytes, RECORD_BYTES_MAX);
    struct record r;
    enum log_object what;
    assert_int_equal(record_parse(out->data, out->bytes, &what, &r), ERR_OK);
    buf_unref(out);
    mem_free(data);
    record_builder_destroy(b);
}

static void an_object_named_twice_is_stored_once(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 4);
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    struct object_name object = random_object(&p);
    size_t sizes[3];
    for (int i = 0; i < 3; i++) {
        struct piece_ref piece = random_piece(&p, &object, 4096);
        assert_true(record_add_piece(b, 0, piece.bytes, &piece, 0));
        assert_true(record_add_piece(b, 9999, piece.bytes, &piece, 0));
        struct buf *out = record_builder_encode(b, &head);
        sizes[i] = out->bytes;
        buf_unref(out);
    }
    assert_int_equal(sizes[0], 136 + 36 + 52 + 2 * 24);
    assert_int_equal(sizes[1] - sizes[0], 52 + 2 * 24);
    assert_int_equal(sizes[2] - sizes[1], 52 + 2 * 24);
    record_builder_destroy(b);
}

/* Two entries of every kind; tables at 136, entries at 136 + 36 + 52, data behind them. */
static struct buf *small_record(void)
{
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    struct prng p;
    prng_seed(&p, 5);
    struct object_name object = random_object(&p);
    struct piece_ref piece = {
        .object = object, .offset = 100, .stored_bytes = 4096, .bytes = 4096, .hash = {{5}}};
    struct iovec iov = {(char[]){"0123456789"}, 10};
    assert_true(record_add_piece(b, 4096, 4000, &piece, 96));
    assert_true(record_add_inline(b, 0, 10, &iov, 1));
    assert_true(record_add_range(b, 1 << 20, 1 << 20, ENTRY_ZEROS));
    assert_true(record_add_range(b, 1 << 20, 4096, ENTRY_HOLE));
    assert_true(record_add_inline(b, 20, 10, &iov, 1));
    struct buf *out = record_builder_encode(b, &head);
    record_builder_destroy(b);
    return out;
}

static enum err parse(const uint8_t *bytes, size_t n)
{
    struct record r;
    enum log_object what;
    return record_parse(bytes, n, &what, &r);
}

static void damage_is_seen(void **state)
{
    (void)state;
    struct buf *out = small_record();
    assert_int_equal(parse(out->data, out->bytes), ERR_OK);
    for (size_t n = 0; n < out->bytes; n++) {
        uint8_t *cut = mem_dup(out->data, n);
        assert_int_equal(parse(cut, n), ERR_CORRUPT);
        mem_free(cut);
    }
    uint8_t *copy = encoded_copy(out);
    for (size_t i = 0; i < out->bytes; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            copy[i] ^= (uint8_t)(1u << bit);
            assert_int_equal(parse(copy, out->bytes), ERR_CORRUPT);
            copy[i] ^= (uint8_t)(1u << bit);
        }
    }
    mem_free(copy);
    buf_unref(out);
}

enum { OBJECTS = 136, PIECES = OBJECTS + 36, ENTRIES = PIECES + 52, DATA = ENTRIES + 5 * 24 };

static void hostile_records_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned width;
        uint64_t value;
        enum err err;
    } edits[] = {
        {4, 2, 2, ERR_UNSUPPORTED},
        {4, 2, 0, ERR_UNSUPPORTED},
        {0, 1, 'B', ERR_CORRUPT},
        {6, 2, 2, ERR_CORRUPT},   /* unknown flag */
        {8, 4, 136, ERR_CORRUPT}, /* length */
        {80, 8, 42, ERR_CORRUPT}, /* first behind slot */
        {88, 4, 0, ERR_CORRUPT},  /* object count */
        {88, 4, UINT32_MAX, ERR_CORRUPT},
        {92, 4, UINT32_MAX, ERR_CORRUPT}, /* piece count */
        {92, 4, 0, ERR_CORRUPT},
        {96, 4, UINT32_MAX, ERR_CORRUPT}, /* entry count */
        {96, 4, 4, ERR_CORRUPT},
        {100, 4, UINT32_MAX, ERR_CORRUPT}, /* data bytes */
        {100, 4, 19, ERR_CORRUPT},
        {104, 1, 1, ERR_CORRUPT}, /* reserved */
        {135, 1, 1, ERR_CORRUPT},
        {PIECES, 4, 1, ERR_CORRUPT},                     /* object index */
        {PIECES + 4, 4, UINT32_MAX, ERR_CORRUPT},        /* offset */
        {PIECES + 4, 4, (64 << 20) - 4095, ERR_CORRUPT}, /* ends behind the largest object */
        {PIECES + 8, 4, 4095, ERR_CORRUPT},              /* stored bytes of a plain piece */
        {PIECES + 8, 8, 0, ERR_CORRUPT},                 /* zero length */
        {PIECES + 16, 1, 1, ERR_CORRUPT},                /* codec */
        {PIECES + 17, 1, 1, ERR_CORRUPT},                /* cipher */
        {PIECES + 18, 2, 1, ERR_CORRUPT},                /* key */
        {ENTRIES, 8, UINT64_MAX, ERR_CORRUPT},           /* offset */
        {ENTRIES, 8, INT64_MAX - 3999, ERR_CORRUPT},     /* end behind 2^63 - 1 */
        {ENTRIES + 8, 8, 0, ERR_CORRUPT},                /* no bytes */
        {ENTRIES + 8, 8, UINT64_MAX, ERR_CORRUPT},
        {ENTRIES + 8, 8, 4001, ERR_CORRUPT},        /* more than the piece has behind skip */
        {ENTRIES + 16, 4, 1, ERR_CORRUPT},          /* piece index */
        {ENTRIES + 16, 4, 0xfffffffc, ERR_CORRUPT}, /* unknown kind */
        {ENTRIES + 20, 4, 97, ERR_CORRUPT},         /* skip */
        {ENTRIES + 20, 4, UINT32_MAX, ERR_CORRUPT},
        {ENTRIES + 24 + 8, 8, UINT64_MAX - 3, ERR_CORRUPT}, /* inline longer than the record */
        {ENTRIES + 24 + 8, 8, 9, ERR_CORRUPT},              /* a gap in the data */
        {ENTRIES + 24 + 20, 4, DATA + 1, ERR_CORRUPT},
        {ENTRIES + 24 + 20, 4, 0, ERR_CORRUPT}, /* inline bytes in the head */
        {ENTRIES + 48 + 20, 4, 1, ERR_CORRUPT}, /* skip of zeros */
        {ENTRIES + 96 + 8, 8, 11, ERR_CORRUPT},
        /* and these are fine */
        {6, 2, 0, ERR_OK},
        {PIECES + 4, 4, (64 << 20) - 4096, ERR_OK},
        {ENTRIES, 8, INT64_MAX - 4000, ERR_OK},
        {ENTRIES + 20, 4, 0, ERR_OK},
        {DATA, 1, 0, ERR_OK},
    };
    struct buf *out = small_record();
    assert_int_equal(out->bytes, DATA + 20);
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        uint8_t *copy = encoded_copy(out);
        memcpy(copy + edits[i].at, &edits[i].value, edits[i].width);
        encoded_reseal(copy, out->bytes);
        if (parse(copy, out->bytes) != edits[i].err)
            fail_msg("edit %zu at %zu: %s", i, edits[i].at, err_text(parse(copy, out->bytes)));
        mem_free(copy);
    }
    buf_unref(out);
}

static void a_longer_record_is_refused(void **state)
{
    (void)state;
    struct buf *out = small_record();
    for (size_t more = 1; more < 60; more += 7) {
        size_t n = out->bytes + more;
        uint8_t *copy = mem_calloc(1, n);
        memcpy(copy, out->data, out->bytes);
        put_le32(copy + 8, (uint32_t)n);
        encoded_reseal(copy, n);
        assert_int_equal(parse(copy, n), ERR_CORRUPT);
        mem_free(copy);
    }
    buf_unref(out);
}

static void random_damage_with_a_right_checksum_is_harmless(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 6);
    struct buf *out = small_record();
    uint8_t *copy = encoded_copy(out);
    for (int round = 0; round < 20000; round++) {
        memcpy(copy, out->data, out->bytes);
        for (uint64_t i = 1 + prng_below(&p, 3); i--;)
            copy[prng_below(&p, out->bytes)] = (uint8_t)prng_next(&p);
        encoded_reseal(copy, out->bytes);
        struct record r;
        enum log_object what;
        if (record_parse(copy, out->bytes, &what, &r))
            continue;
        for (uint32_t i = 0; i < r.entries; i++) {
            struct record_entry e;
            record_entry(&r, i, &e);
            assert_true(e.bytes > 0 && e.offset + e.bytes <= INT64_MAX);
            if (e.kind == ENTRY_INLINE)
                assert_true(e.skip + e.bytes <= out->bytes);
            if (e.kind == ENTRY_PIECE)
                assert_true(e.skip + e.bytes <= e.piece.bytes);
        }
    }
    mem_free(copy);
    buf_unref(out);
}

static void seals_are_told_from_records(void **state)
{
    (void)state;
    uint8_t seal[SEAL_BYTES];
    uint8_t nonce[16] = {3};
    seal_encode(seal, head.export_id, 7, head.folder, 41, "00112233445566778899aabbccddeeff", nonce);
    struct record r;
    enum log_object what = LOG_RECORD;
    assert_int_equal(record_parse(seal, sizeof seal, &what, &r), ERR_OK);
    assert_int_equal(what, LOG_SEAL);
    for (size_t i = 0; i < sizeof seal; i++) {
        seal[i] ^= 1;
        assert_int_equal(parse(seal, sizeof seal), ERR_CORRUPT);
        seal[i] ^= 1;
        assert_int_equal(parse(seal, i), ERR_CORRUPT);
    }
    static const size_t zeros[] = {6, 7, 112, 127};
    for (size_t i = 0; i < COUNT_OF(zeros); i++) {
        uint8_t bad[SEAL_BYTES];
        memcpy(bad, seal, sizeof bad);
        bad[zeros[i]] = 1;
        encoded_reseal(bad, sizeof bad);
        assert_int_equal(parse(bad, sizeof bad), ERR_CORRUPT);
    }
    seal[4] = 2;
    encoded_reseal(seal, sizeof seal);
    assert_int_equal(parse(seal, sizeof seal), ERR_UNSUPPORTED);
}

RUN_TESTS(cmocka_unit_test(random_records_come_back), cmocka_unit_test(a_full_record_takes_nothing_more),
          cmocka_unit_test(an_object_named_twice_is_stored_once), cmocka_unit_test(damage_is_seen),
          cmocka_unit_test(hostile_records_are_refused), cmocka_unit_test(a_longer_record_is_refused),
          cmocka_unit_test(random_damage_with_a_right_checksum_is_harmless),
          cmocka_unit_test(seals_are_told_from_records))
