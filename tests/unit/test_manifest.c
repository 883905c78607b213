#include "volume/format/manifest.h"

#include <stdio.h>

#include "encoded.h"
#include "unit.h"

#define FIRST_LINE 78

static void random_hex(struct prng *p, char *out, size_t digits)
{
    uint8_t bytes[32];
    prng_fill(p, bytes, digits / 2);
    hex_encode(bytes, digits / 2, out);
}

static struct map_root random_root(struct prng *p, unsigned level)
{
    struct map_root root = {.level = level, .tree = {.kind = (enum subtree_kind)prng_below(p, 3)}};
    if (root.tree.kind != SUBTREE_PAGE)
        return root;
    root.tree.page.object = random_object(p);
    root.tree.page.object.turn = (uint32_t)prng_next(p);
    root.tree.page.offset = (uint32_t)prng_below(p, UINT32_C(1) << 31);
    root.tree.page.bytes = 80 + (uint32_t)prng_below(p, 60000);
    prng_fill(p, &root.tree.page.hash, 32);
    root.tree.sums = (struct map_sums){prng_next(p) >> 1, prng_next(p) >> 1, prng_next(p) >> 1};
    return root;
}

static struct manifest random_manifest(struct prng *p, size_t segments, size_t snapshots)
{
    struct manifest m = {.serial = prng_next(p) >> 1, .state = MANIFEST_OPEN};
    random_hex(p, m.nonce, 32);
    random_hex(p, m.id, 32);
    m.params = (struct export_params){prng_next(p) >> 1 | 1, 4096u << prng_below(p, 11), 0, prng_below(p, 2)};
    m.params.object_size = m.params.block_size * (uint32_t)(1 + prng_below(p, 16));
    m.created_ms = (int64_t)prng_below(p, INT64_MAX);
    m.epoch = 1000 + (uint32_t)prng_below(p, UINT32_C(1) << 31);
    if (prng_below(p, 4))
        random_hex(p, m.owner, 32);
    random_hex(p, m.folder, 16);
    m.position = prng_next(p) >> 1;
    m.breaks = (uint32_t)prng_next(p);
    m.root = random_root(p, 6);
    m.segment_count = segments;
    m.segments = segments ? MEM_ARRAY(struct segment, segments) : NULL;
    for (size_t i = 0; i < segments; i++) {
        m.segments[i] = (struct segment){.epoch = (uint32_t)i + 1, .from = prng_next(p) >> 2};
        m.segments[i].to = m.segments[i].from + 1 + prng_below(p, 1000);
        random_hex(p, m.segments[i].nonce, 16);
    }
    m.snapshot_count = snapshots;
    m.snapshots = snapshots ? MEM_ARRAY(struct manifest_snapshot, snapshots) : NULL;
    for (size_t i = 0; i < snapshots; i++) {
        char name[64];
        snprintf(name, sizeof name, "snap \"%zu\" \xc3\xa9/\\", i);
        m.snapshots[i] = (struct manifest_snapshot){.name = mem_strdup(name),
                                                    .size = prng_next(p) >> 1 | 1,
                                                    .created_ms = (int64_t)i,
                                                    .root = random_root(p, 6)};
        if (i % 2)
            memcpy(m.snapshots[i].id, m.id, sizeof m.id);
    }
    return m;
}

static void same_root(const struct map_root *a, const struct map_root *b)
{
    assert_true(a->level == b->level && a->tree.kind == b->tree.kind);
    if (a->tree.kind != SUBTREE_PAGE)
        return;
    assert_memory_equal(&a->tree.page.object.hash, &b->tree.page.object.hash, 32);
    assert_memory_equal(&a->tree.page.hash, &b->tree.page.hash, 32);
    assert_true(a->tree.page.object.turn == b->tree.page.object.turn && !b->tree.page.self &&
                a->tree.page.offset == b->tree.page.offset && a->tree.page.bytes == b->tree.page.bytes);
    assert_memory_equal(&a->tree.sums, &b->tree.sums, sizeof a->tree.sums);
}

static void same_manifest(const struct manifest *a, const struct manifest *b)
{
    assert_true(a->serial == b->serial && a->state == b->state && a->params.size == b->params.size &&
                a->params.block_size == b->params.block_size &&
                a->params.object_size == b->params.object_size &&
                a->params.durable_writes == b->params.durable_writes && a->created_ms == b->created_ms &&
                a->epoch == b->epoch && a->position == b->position && a->breaks == b->breaks);
    assert_string_equal(a->nonce, b->nonce);
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->owner, b->owner);
    assert_string_equal(a->folder, b->folder);
    same_root(&a->root, &b->root);
    assert_int_equal(a->segment_count, b->segment_count);
    for (size_t i = 0; i < a->segment_count; i++) {
        assert_true(a->segments[i].epoch == b->segments[i].epoch &&
                    a->segments[i].from == b->segments[i].from && a->segments[i].to == b->segments[i].to);
        assert_string_equal(a->segments[i].nonce, b->segments[i].nonce);
    }
    assert_int_equal(a->snapshot_count, b->snapshot_count);
    for (size_t i = 0; i < a->snapshot_count; i++) {
        assert_string_equal(a->snapshots[i].name, b->snapshots[i].name);
        assert_true(a->snapshots[i].size == b->snapshots[i].size &&
                    a->snapshots[i].created_ms == b->snapshots[i].created_ms &&
                    strcmp(a->snapshots[i].id, b->snapshots[i].id) == 0);
        same_root(&a->snapshots[i].root, &b->snapshots[i].root);
    }
}

static void manifests_come_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 20);
    for (int round = 0; round < 100; round++) {
        size_t snapshots = round == 99 ? MANIFEST_SNAPSHOTS_MAX : prng_below(&p, 5);
        struct manifest m = random_manifest(&p, prng_below(&p, MANIFEST_SEGMENTS_MAX + 1), snapshots);
        struct manifest copy, back;
        manifest_copy(&copy, &m);
        struct buf *out = manifest_encode(&m);
        assert_true(out->bytes < MANIFEST_BYTES_MAX / 2);
        assert_int_equal(manifest_parse(out->data, out->bytes, &back, NULL), ERR_OK);
        same_manifest(&m, &back);
        manifest_finish(&m);
        same_manifest(&copy, &back);
        manifest_finish(&copy);
        manifest_finish(&copy);
        manifest_finish(&back);
        buf_unref(out);
    }
}

/* The same once in every state, and never opened. */
static void every_state(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 21);
    for (unsigned i = 0; i < 4; i++) {
        struct manifest m = random_manifest(&p, 0, 1), back;
        m.state = (enum manifest_state)i;
        if (i != MANIFEST_OPEN) {
            m.epoch = 0;
            m.owner[0] = m.folder[0] = 0;
        }
        struct buf *out = manifest_encode(&m);
        assert_int_equal(manifest_parse(out->data, out->bytes, &back, NULL), ERR_OK);
        same_manifest(&m, &back);
        manifest_finish(&m);
        manifest_finish(&back);
        buf_unref(out);
    }
}

static struct buf *small_manifest(void)
{
    struct prng p;
    prng_seed(&p, 22);
    struct manifest m = random_manifest(&p, 2, 2);
    m.root.tree.kind = SUBTREE_ZEROS;
    while (m.root.tree.kind != SUBTREE_PAGE)
        m.root = random_root(&p, 6);
    m.params = (struct export_params){1 << 30, 131072, 4 << 20, false};
    m.position = 5;
    m.epoch = 7;
    random_hex(&p, m.owner, 32);
    struct buf *out = manifest_encode(&m);
    manifest_finish(&m);
    return out;
}

static void damage_is_seen(void **state)
{
    (void)state;
    struct buf *out = small_manifest();
    struct manifest m;
    for (size_t n = 0; n < out->bytes; n++) {
        char *cut = mem_dup(out->data, n);
        assert_int_equal(manifest_parse(cut, n, &m, NULL), ERR_CORRUPT);
        mem_free(cut);
    }
    uint8_t *copy = encoded_copy(out);
    for (size_t bit = 0; bit < 8 * out->bytes; bit++) {
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(manifest_parse(copy, out->bytes, &m, NULL), ERR_CORRUPT);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    mem_free(copy);
    buf_unref(out);
}

/* The document with the first `was` replaced, under a right checksum. */
static struct buf *edited(const char *text, const char *was, const char *is)
{
    const char *at = strstr(text + FIRST_LINE, was);
    if (!at)
        fail_msg("no %s", was);
    size_t head = (size_t)(at - text), tail = strlen(at + strlen(was));
    struct buf *out = buf_create(head + strlen(is) + tail);
    memcpy(out->data, text, head);
    memcpy(out->data + head, is, strlen(is));
    memcpy(out->data + head + strlen(is), at + strlen(was), tail);
    struct sha256 sum = sha256_of(out->data + FIRST_LINE, out->bytes - FIRST_LINE);
    char hex[SHA256_HEX];
    hex_encode(sum.bytes, 32, hex);
    memcpy(out->data + 11, hex, 64);
    return out;
}

static enum err parse_edited(const char *text, const char *was, const char *is)
{
    struct buf *out = edited(text, was, is);
    struct complaint c = {{0}};
    struct manifest m;
    enum err err = manifest_parse(out->data, out->bytes, &m, &c);
    if (err)
        assert_true(c.text[0]);
    else
        manifest_finish(&m);
    buf_unref(out);
    return err;
}

static const struct {
    const char *was, *is;
    enum err err;
} hostile[] = {
    {"\"ashlar\": 1", "\"ashlar\": 2", ERR_UNSUPPORTED},
    {"\"ashlar\": 1", "\"ashlar\": 0", ERR_CORRUPT},
    {"\"ashlar\": 1", "\"ashlar\": \"1\"", ERR_CORRUPT},
    {"\"ashlar\": 1", "\"ashlar\": 1.0", ERR_CORRUPT},
    {"\"manifest\"", "\"heartbeat\"", ERR_CORRUPT},
    {"\"serial\": ", "\"serial\": -", ERR_CORRUPT},
    {"\"serial\": ", "\"serial\": 99999999999", ERR_CORRUPT},
    {"\"serial\"", "\"Serial\"", ERR_CORRUPT},
    {"\"nonce\": \"", "\"nonce\": \"0", ERR_CORRUPT},
    {"\"nonce\": \"", "\"nonce\": \"\\u0000", ERR_CORRUPT},
    {"\"id\": \"", "\"id\": \"", ERR_OK},
    {"\"id\": \"", "\"id\": \"G", ERR_CORRUPT},
    {"\"open\"", "\"ajar\"", ERR_CORRUPT},
    {"\"open\"", "\"closed\"", ERR_CORRUPT}, /* has segments */
    {"\"open\"", "0", ERR_CORRUPT},
    {"\"size\": 1073741824", "\"size\": 0", ERR_CORRUPT},
    {"\"size\": 1073741824", "\"size\": 9223372036854775807", ERR_OK},
    {"\"size\": 1073741824", "\"size\": 9223372036854775808", ERR_CORRUPT},
    {"\"size\": 1073741824", "\"size\": 1e9", ERR_CORRUPT},
    {"\"block_size\": 131072", "\"block_size\": 131073", ERR_CORRUPT},
    {"\"block_size\": 131072", "\"block_size\": 2048", ERR_CORRUPT},
    {"\"block_size\": 131072", "\"block_size\": 8388608", ERR_CORRUPT},
    {"\"object_size\": 4194304", "\"object_size\": 4194305", ERR_CORRUPT},
    {"\"object_size\": 4194304", "\"object_size\": 65536", ERR_CORRUPT},
    {"\"object_size\": 4194304", "\"object_size\": 134217728", ERR_CORRUPT},
    {"\"durable_writes\": false", "\"durable_writes\": 0", ERR_CORRUPT},
    {"\"durable_writes\": false", "\"durable_writes\": true, \"more\": [1]", ERR_OK},
    {"\"durable_writes\": false", "\"durable_writes\": false, \"durable_writes\": true", ERR_CORRUPT},
    {"\"epoch\": 7", "\"epoch\": 0", ERR_CORRUPT},
    {"\"epoch\": 7", "\"epoch\": 4294967296", ERR_CORRUPT},
    {"\"epoch\": 7", "\"epoch\": 2", ERR_CORRUPT}, /* not above the segments' */
    {"\"epoch\": 7", "\"epoch\": 3", ERR_OK},
    {"\"owner\": \"", "\"owner\": \"\", \"x\": \"", ERR_OK},
    {"\"folder\": \"", "\"folder\": \"\", \"x\": \"", ERR_CORRUPT},
    {"\"folder\": \"", "\"folder\": \"00", ERR_CORRUPT},
    {"\"position\": 5", "\"position\": -1", ERR_CORRUPT},
    {"\"position\": 5", "\"position\": null", ERR_CORRUPT},
    {"\"level\": 6", "\"level\": 7", ERR_CORRUPT},
    {"\"level\": 6", "\"level\": 0", ERR_CORRUPT}, /* too low for the size */
    {"\"level\": 6", "\"level\": -1", ERR_CORRUPT},
    {"\"page\"", "\"base\"", ERR_CORRUPT},
    {"\"object\": \"", "\"object\": \"0", ERR_CORRUPT},
    {"\"offset\": ", "\"offset\": 9", ERR_CORRUPT},
    {"\"bytes\": ", "\"bytes\": 0, \"x\": ", ERR_CORRUPT},
    {"\"bytes\": ", "\"bytes\": 16777217, \"x\": ", ERR_CORRUPT},
    {"\"page\": \"", "\"page\": \"ff", ERR_CORRUPT},
    {"\"mapped\": ", "\"mapped\": -", ERR_CORRUPT},
    {"\"segments\": [", "\"segments\": [0, ", ERR_CORRUPT},
    {"\"segments\": [", "\"segments\": {}, \"x\": [", ERR_CORRUPT},
    {"\"from\": ", "\"from\": 9223372036854775806, \"x\": ", ERR_CORRUPT},
    {"\"epoch\": 2", "\"epoch\": 1", ERR_CORRUPT}, /* segments out of order */
    {"\"snapshots\": [", "\"snapshots\": [[], ", ERR_CORRUPT},
    {"snap \\\"1", "snap \\\"0", ERR_CORRUPT}, /* two of one name */
    {"\"name\": \"", "\"name\": \"\", \"x\": \"", ERR_CORRUPT},
    {"\xc3\xa9", "\xc3", ERR_CORRUPT},
};

static void hostile_manifests_are_refused(void **state)
{
    (void)state;
    struct buf *out = small_manifest();
    char *text = mem_calloc(1, out->bytes + 1);
    memcpy(text, out->data, out->bytes);
    for (size_t i = 0; i < COUNT_OF(hostile); i++) {
        enum err err = parse_edited(text, hostile[i].was, hostile[i].is);
        if (err != hostile[i].err)
            fail_msg("%s -> %s: %s", hostile[i].was, hostile[i].is, err_text(err));
    }
    mem_free(text);
    buf_unref(out);
}

static void depth_and_size_are_bounded(void **state)
{
    (void)state;
    struct buf *out = small_manifest();
    char *text = mem_calloc(1, out->bytes + 1);
    memcpy(text, out->data, out->bytes);
    char *deep = mem_calloc(1, 1500000 + 100);
    memcpy(deep, "\"x\": ", 5);
    memset(deep + 5, '[', 1000000);
    assert_int_equal(parse_edited(text, "\"ashlar\"", deep), ERR_CORRUPT);
    memset(deep + 5, ' ', 1000000);
    strcpy(deep + 1000005, "0, \"ashlar\"");
    assert_int_equal(parse_edited(text, "\"ashlar\"", deep), ERR_OK);
    mem_free(deep);
    mem_free(text);
    buf_unref(out);
    uint8_t *large = mem_calloc(1, MANIFEST_BYTES_MAX + 1);
    struct manifest m;
    assert_int_equal(manifest_parse(large, MANIFEST_BYTES_MAX + 1, &m, NULL), ERR_CORRUPT);
    mem_free(large);
}

static const struct heartbeat beat = {
    .serial = 12,
    .nonce = "000102030405060708090a0b0c0d0e0f",
    .process = {"stone", "6f3d1c0e-8b1f-4c7e-9a43-0d9f2f1b5a11", 4026531836, 4711, 123456},
    .addresses = "127.0.0.1:10809 unix:/run/a\xff.sock",
    .lease_ttl_ms = 30000,
    .turn = 3};

static void heartbeats_come_back(void **state)
{
    (void)state;
    struct buf *out = heartbeat_encode(&beat);
    struct heartbeat back;
    assert_int_equal(heartbeat_parse(out->data, out->bytes, &back, NULL), ERR_OK);
    assert_true(back.serial == 12 && back.process.pid_ns == 4026531836 && back.process.pid == 4711 &&
                back.process.start_time == 123456 && back.lease_ttl_ms == 30000 && back.turn == 3);
    assert_string_equal(back.nonce, beat.nonce);
    assert_string_equal(back.process.host, "stone");
    assert_string_equal(back.process.boot_id, beat.process.boot_id);
    assert_string_equal(back.addresses, "127.0.0.1:10809 unix:/run/a?.sock");
    for (size_t i = 0; i < out->bytes; i++) {
        out->data[i] ^= 4;
        assert_int_equal(heartbeat_parse(out->data, out->bytes, &back, NULL), ERR_CORRUPT);
        assert_int_equal(heartbeat_parse(out->data, i, &back, NULL), ERR_CORRUPT);
        out->data[i] ^= 4;
    }
    char *text = mem_calloc(1, out->bytes + 1);
    memcpy(text, out->data, out->bytes);
    static const char *const edits[][2] = {{"\"pid\": 4711", "\"pid\": -4711"},
                                           {"\"turn\": 3", "\"turn\": 4294967296"},
                                           {"\"stone\"", "7"},
                                           {"30000", "0"},
                                           {"6f3d1c0e-", "6f3d1c0e-0"},
                                           {"4026531836", "-1"}};
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        struct buf *bad = edited(text, edits[i][0], edits[i][1]);
        assert_int_equal(heartbeat_parse(bad->data, bad->bytes, &back, NULL), ERR_CORRUPT);
        buf_unref(bad);
    }
    mem_free(text);
    buf_unref(out);
}

static void pins_come_back(void **state)
{
    (void)state;
    struct heartbeat_pin pins[2] = {
        {.name = "a@b\xff", .block_size = 4096, .root = {.level = 1, .tree = {.kind = SUBTREE_ZEROS}}},
        {.name = "disk", .block_size = 131072, .root = {.tree = {.kind = SUBTREE_PAGE}}}};
    pins[1].root.tree.page = (struct page_ref){.object = {.turn = 3}, .offset = 7, .bytes = 300};
    pins[1].root.tree.page.hash.bytes[31] = 9;
    struct heartbeat with = beat, plain;
    with.pins = pins;
    with.pin_count = 2;
    struct buf *out = heartbeat_encode(&with);
    struct heartbeat_pin *back = NULL;
    size_t count = 0;
    assert_int_equal(heartbeat_parse(out->data, out->bytes, &plain, NULL), ERR_OK);
    assert_int_equal(plain.pin_count, 0);
    assert_int_equal(heartbeat_pins(out->data, out->bytes, &back, &count, NULL), ERR_OK);
    assert_int_equal(count, 2);
    assert_string_equal(back[0].name, "a@b?");
    assert_true(back[0].root.level == 1 && back[0].root.tree.kind == SUBTREE_ZEROS);
    assert_memory_equal(&back[1].root.tree.page.object, &pins[1].root.tree.page.object,
                        sizeof(struct object_name));
    assert_true(sha256_equal(&back[1].root.tree.page.hash, &pins[1].root.tree.page.hash));
    assert_true(back[1].root.tree.page.offset == 7 && back[1].block_size == 131072);
    mem_free(back);
    char *text = mem_calloc(1, out->bytes + 1);
    memcpy(text, out->data, out->bytes);
    static const char *const edits[][2] = {{"131072", "131073"},
                                           {"\"zeros\"", "\"ones\""},
                                           {"\"bytes\": 300", "\"bytes\": 0"},
                                           {"\"disk\"", "7"},
                                           {"\"pins\": [", "\"pins\": 3, \"spins\": ["}};
    for (size_t i = 0; i < COUNT_OF(edits); i++) {
        struct buf *bad = edited(text, edits[i][0], edits[i][1]);
        back = NULL;
        assert_int_equal(heartbeat_pins(bad->data, bad->bytes, &back, &count, NULL), ERR_CORRUPT);
        assert_null(back);
        assert_int_equal(heartbeat_parse(bad->data, bad->bytes, &plain, NULL), ERR_OK);
        buf_unref(bad);
    }
    mem_free(text);
    buf_unref(out);
    out = heartbeat_encode(&beat);
    assert_int_equal(heartbeat_pins(out->data, out->bytes, &back, &count, NULL), ERR_OK);
    assert_true(!count && !back);
    buf_unref(out);
}

static void a_later_format_is_told_from_damage(void **state)
{
    (void)state;
    struct buf *out = format_encode();
    struct complaint c = {{0}};
    assert_int_equal(format_parse(out->data, out->bytes, NULL), ERR_OK);
    char *text = mem_calloc(1, out->bytes + 1);
    memcpy(text, out->data, out->bytes);
    struct buf *later = edited(text, ": 1", ": 2");
    assert_int_equal(format_parse(later->data, later->bytes, &c), ERR_UNSUPPORTED);
    assert_non_null(strstr(c.text, "version 2"));
    later->data[later->bytes - 2] = ' ';
    assert_int_equal(format_parse(later->data, later->bytes, &c), ERR_CORRUPT);
    mem_free(text);
    buf_unref(later);
    struct buf *other = heartbeat_encode(&beat);
    assert_int_equal(format_parse(other->data, other->bytes, &c), ERR_CORRUPT);
    buf_unref(other);
    buf_unref(out);
}

RUN_TESTS(cmocka_unit_test(manifests_come_back), cmocka_unit_test(every_state),
          cmocka_unit_test(damage_is_seen), cmocka_unit_test(hostile_manifests_are_refused),
          cmocka_unit_test(depth_and_size_are_bounded), cmocka_unit_test(heartbeats_come_back),
          cmocka_unit_test(pins_come_back), cmocka_unit_test(a_later_format_is_told_from_damage))
