/* The examples in docs/FORMAT.md are what the code makes, byte for byte: neither can change without the
 * other. */
#include <stdio.h>
#include <stdlib.h>

#include "volume/format/gc_state.h"
#include "volume/format/manifest.h"
#include "volume/format/page.h"
#include "volume/format/record.h"

#include "encoded.h"
#include "unit.h"

#define ID    "00112233445566778899aabbccddeeff"
#define NONCE "0f0e0d0c0b0a09080706050403020100"

static char *document;

static int document_load(void **state)
{
    (void)state;
    FILE *f = fopen(SOURCE_ROOT "/docs/FORMAT.md", "r");
    if (!f)
        return -1;
    document = mem_calloc(1, 1 << 20);
    size_t n = fread(document, 1, (1 << 20) - 1, f);
    fclose(f);
    return n > 0 ? 0 : -1;
}

static int document_free(void **state)
{
    (void)state;
    mem_free(document);
    return 0;
}

/* What stands between "```text NAME" and "```", or NULL. */
static const char *example(const char *name, size_t *n)
{
    char fence[80];
    snprintf(fence, sizeof fence, "```text %s\n", name);
    const char *at = strstr(document, fence), *end;
    if (!at)
        return NULL;
    at += strlen(fence);
    end = strstr(at, "```");
    *n = end ? (size_t)(end - at) : 0;
    return end ? at : NULL;
}

static void print_hex(const char *name, const uint8_t *bytes, size_t n)
{
    fprintf(stderr, "%s:", name);
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "%s%02x", i % 32 ? "" : "\n", bytes[i]);
    fprintf(stderr, "\n");
}

/* Lines of hex digits; what follows a ';' is for people. */
static void expect_hex(const char *name, const uint8_t *bytes, size_t n)
{
    size_t length = 0, at = 0;
    const char *text = example(name, &length);
    bool same = text != NULL;
    for (size_t i = 0; same && i < length; i++) {
        if (text[i] == ';')
            i += strcspn(text + i, "\n");
        else if (text[i] != ' ' && text[i] != '\n') {
            char digits[3] = {text[i], text[i + 1], 0};
            uint8_t byte = 0;
            same = hex_decode(digits, &byte, 1) && at < n && byte == bytes[at++];
            i++;
        }
    }
    if (!same || at != n) {
        print_hex(name, bytes, n);
        fail_msg("docs/FORMAT.md has another %s, from byte %zu on", name, at);
    }
}

static void expect_text(const char *name, struct buf *out)
{
    size_t length = 0;
    const char *text = example(name, &length);
    if (!text || length != out->bytes || memcmp(text, out->data, length) != 0) {
        fprintf(stderr, "%s:\n%.*s", name, (int)out->bytes, (const char *)out->data);
        fail_msg("docs/FORMAT.md has another %s", name);
    }
    buf_unref(out);
}

static struct sha256 filled(uint8_t byte)
{
    struct sha256 hash;
    memset(hash.bytes, byte, sizeof hash.bytes);
    return hash;
}

static struct piece_ref piece(void)
{
    return (struct piece_ref){.object = {filled(0xaa), 1},
                              .offset = 4096,
                              .stored_bytes = 131072,
                              .bytes = 131072,
                              .hash = filled(0xbb)};
}

static struct page_ref page_at(uint8_t object, uint8_t hash)
{
    return (struct page_ref){
        .object = {filled(object), 2}, .offset = 512, .bytes = 264, .hash = filled(hash)};
}

static void leaf(void **state)
{
    (void)state;
    struct page_ref base = page_at(0xcc, 0xdd);
    struct leaf_builder *b = leaf_builder_create(131072);
    leaf_builder_base(b, &base);
    leaf_builder_add(
        b, &(struct leaf_extent){.start = 0, .bytes = 131072, .kind = EXTENT_PIECE, .piece = piece()});
    leaf_builder_add(b, &(struct leaf_extent){.start = 131072, .bytes = 4096, .kind = EXTENT_ZEROS});
    leaf_builder_add(b, &(struct leaf_extent){.start = 135168, .bytes = 4096, .kind = EXTENT_HOLE});
    leaf_builder_add(
        b, &(struct leaf_extent){
               .start = 262144, .bytes = 8192, .kind = EXTENT_PIECE, .skip = 512, .piece = piece()});
    struct buf *out = leaf_builder_encode(b);
    expect_hex("leaf", out->data, out->bytes);
    buf_unref(out);
    leaf_builder_destroy(b);
}

static void node(void **state)
{
    (void)state;
    struct subtree *children = MEM_ARRAY(struct subtree, PAGE_CHILDREN);
    children[1].kind = SUBTREE_ZEROS;
    children[2] = (struct subtree){SUBTREE_PAGE, page_at(0xcc, 0xdd), {139264, 131072, 1}};
    children[255] = (struct subtree){SUBTREE_PAGE, page_at(0, 0xee), {4096, 4096, 1}};
    children[255].page.self = true;
    children[255].page.offset = 0;
    struct buf *out = node_encode(131072, 1, children, NULL);
    expect_hex("node", out->data, out->bytes);
    buf_unref(out);
    mem_free(children);
}

static const struct record_head head = {.export_id = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88,
                                                      0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff},
                                        .epoch = 3,
                                        .folder = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef},
                                        .slot = 18,
                                        .first = 17,
                                        .last = true};

static void record(void **state)
{
    (void)state;
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    struct piece_ref whole = piece();
    struct iovec hello = {(char[]){"hello"}, 5}, bye = {(char[]){"bye"}, 3};
    assert_true(record_add_piece(b, 1048576, 65536, &whole, 512));
    assert_true(record_add_inline(b, 7, 5, &hello, 1));
    assert_true(record_add_range(b, 2097152, 1048576, ENTRY_HOLE));
    assert_true(record_add_range(b, 2097152, 4096, ENTRY_ZEROS));
    assert_true(record_add_inline(b, 2097152, 3, &bye, 1));
    struct buf *out = record_builder_encode(b, &head);
    expect_hex("record", out->data, out->bytes);
    buf_unref(out);
    record_builder_destroy(b);
}

static void seal(void **state)
{
    (void)state;
    uint8_t out[SEAL_BYTES], nonce[16];
    memset(nonce, 0x5e, sizeof nonce);
    seal_encode(out, head.export_id, head.epoch, head.folder, 19, "ffeeddccbbaa99887766554433221100", nonce);
    expect_hex("seal", out, sizeof out);
}

static struct map_root root_page(void)
{
    return (struct map_root){1, {SUBTREE_PAGE, page_at(0xcc, 0xdd), {143360, 135168, 2}}};
}

static void manifest(void **state)
{
    (void)state;
    struct segment segment = {2, "fedcba9876543210", 4, 9};
    struct manifest_snapshot snapshot = {(char[]){"before the upgrade"},
                                         1 << 29,
                                         1767225600000,
                                         {0, {SUBTREE_HOLE, {{{{0}}, 0}, false, 0, 0, {{0}}}, {0, 0, 0}}},
                                         ""};
    struct manifest m = {.serial = 42,
                         .nonce = NONCE,
                         .id = ID,
                         .state = MANIFEST_OPEN,
                         .params = {1 << 30, 131072, 4194304, false},
                         .created_ms = 1767139200000,
                         .epoch = 3,
                         .owner = "ffeeddccbbaa99887766554433221100",
                         .folder = "0123456789abcdef",
                         .position = 17,
                         .breaks = 1,
                         .root = root_page(),
                         .segments = &segment,
                         .segment_count = 1,
                         .snapshots = &snapshot,
                         .snapshot_count = 1};
    expect_text("manifest", manifest_encode(&m));
}

static void heartbeat(void **state)
{
    (void)state;
    static const struct heartbeat beat = {
        .serial = 7,
        .nonce = NONCE,
        .process = {"stone", "6f3d1c0e-8b1f-4c7e-9a43-0d9f2f1b5a11", 4026531836, 4711, 123456},
        .addresses = "127.0.0.1:10809",
        .lease_ttl_ms = 30000};
    expect_text("heartbeat", heartbeat_encode(&beat));
}

static void collector(void **state)
{
    (void)state;
    static struct gc_state s = {.serial = 12, .nonce = NONCE, .turn = 9, .list_count = 1};
    s.lists[0] = (struct gc_list_ref){.object = {filled(0xee), 9}, .bytes = 252};
    expect_text("collector", gc_state_encode(&s));
}

static void condemned(void **state)
{
    (void)state;
    struct object_name block = {filled(0xaa), 1}, map = {filled(0xcc), 2};
    struct gc_hint hint = {.from = block,
                           .to = {filled(0xab), 8},
                           .from_offset = 4096,
                           .to_offset = 131072,
                           .bytes = 131072,
                           .hash = filled(0xbb)};
    struct gc_list l = {.turn = 9,
                        .blocks = &block,
                        .block_count = 1,
                        .maps = &map,
                        .map_count = 1,
                        .hints = &hint,
                        .hint_count = 1};
    struct buf *b = gc_list_encode(&l);
    expect_hex("condemned", b->data, b->bytes);
    buf_unref(b);
}

static void format(void **state)
{
    (void)state;
    expect_text("format", format_encode());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaf),   cmocka_unit_test(node),      cmocka_unit_test(record),
        cmocka_unit_test(seal),   cmocka_unit_test(manifest),  cmocka_unit_test(heartbeat),
        cmocka_unit_test(format), cmocka_unit_test(collector), cmocka_unit_test(condemned)};
    return cmocka_run_group_tests(tests, document_load, document_free);
}
