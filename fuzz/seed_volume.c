/* seed_volume DIR: writes one object of every kind to DIR/grown-fuzz_record, -page and -manifest. */
#include <sys/stat.h>

#include "sealed.h"
#include "volume/format/manifest.h"
#include "volume/format/page.h"
#include "volume/format/record.h"

static void save(const char *dir, const char *target, unsigned number, const void *head, size_t head_bytes,
                 const void *bytes, size_t n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/grown-fuzz_%s", dir, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/grown-fuzz_%s/seed-%u", dir, target, number);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(head, 1, head_bytes, f) != head_bytes || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static const struct piece_ref piece = {.stored_bytes = 4096, .bytes = 4096};
static const struct page_ref page = {.offset = 80, .bytes = 264};

static void records(const char *dir)
{
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    struct record_head head = {.epoch = 1, .slot = 2, .first = 1, .last = true};
    struct iovec iov = {(char[]){"inline"}, 6};
    EXPECT(record_add_piece(b, 0, 4000, &piece, 96) && record_add_inline(b, 10, 6, &iov, 1) &&
           record_add_range(b, 4096, 1 << 20, ENTRY_HOLE) && record_add_range(b, 8192, 4096, ENTRY_ZEROS));
    struct buf *out = record_builder_encode(b, &head);
    save(dir, "record", 0, "", 0, out->data, out->bytes);
    buf_unref(out);
    record_builder_destroy(b);
    uint8_t seal[SEAL_BYTES];
    seal_encode(seal, head.export_id, 1, head.folder, 3, "00112233445566778899aabbccddeeff", head.export_id);
    save(dir, "record", 1, "", 0, seal, sizeof seal);
}

static void leaves(const char *dir)
{
    struct leaf_builder *b = leaf_builder_create(4096);
    for (unsigned with_base = 0; with_base < 2; with_base++) {
        leaf_builder_reset(b);
        leaf_builder_base(b, with_base ? &page : NULL);
        leaf_builder_add(b, &(struct leaf_extent){0, 4096, EXTENT_PIECE, 0, piece});
        leaf_builder_add(b, &(struct leaf_extent){.start = 4096, .bytes = 4096, .kind = EXTENT_ZEROS});
        leaf_builder_add(b, &(struct leaf_extent){.start = 8192, .bytes = 4096, .kind = EXTENT_HOLE});
        leaf_builder_add(b, &(struct leaf_extent){16384, 512, EXTENT_PIECE, 512, piece});
        struct buf *out = leaf_builder_encode(b);
        save(dir, "page", with_base, "\0\0", 2, out->data, out->bytes);
        buf_unref(out);
    }
    leaf_builder_destroy(b);
}

static void nodes(const char *dir)
{
    static struct subtree children[PAGE_CHILDREN];
    children[0] = (struct subtree){SUBTREE_PAGE, page, {4096, 4096, 1}};
    children[7].kind = SUBTREE_ZEROS;
    children[9] = children[0];
    children[9].page.self = true;
    for (unsigned with_base = 0; with_base < 2; with_base++) {
        children[8].kind = with_base ? SUBTREE_BASE : SUBTREE_HOLE;
        struct buf *out = node_encode(4096, 1, children, with_base ? &page : NULL);
        save(dir, "page", 2 + with_base, "\1\0", 2, out->data, out->bytes);
        buf_unref(out);
    }
}

static void document(const char *dir, unsigned number, struct buf *out)
{
    save(dir, "manifest", number, "", 0, out->data + SEALED_LINE, out->bytes - SEALED_LINE);
    buf_unref(out);
}

static void documents(const char *dir)
{
    struct segment segment = {1, "0011223344556677", 0, 3};
    struct manifest_snapshot snapshot = {(char[]){"before"}, 4096, 1, {0, {.kind = SUBTREE_ZEROS}}, ""};
    struct manifest m = {.serial = 1,
                         .nonce = "00112233445566778899aabbccddeeff",
                         .id = "ffeeddccbbaa99887766554433221100",
                         .params = {1 << 20, 4096, 8192, false},
                         .epoch = 2,
                         .owner = "00112233445566778899aabbccddeeff",
                         .folder = "8899aabbccddeeff",
                         .root = {1, {SUBTREE_PAGE, page, {1, 2, 3}}},
                         .segments = &segment,
                         .segment_count = 1,
                         .snapshots = &snapshot,
                         .snapshot_count = 1};
    struct heartbeat h = {
        .nonce = "00112233445566778899aabbccddeeff", .process = {.pid = 7}, .lease_ttl_ms = 1};
    document(dir, 0, manifest_encode(&m));
    document(dir, 1, heartbeat_encode(&h));
    document(dir, 2, format_encode());
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: seed_volume DIR\n");
        return 2;
    }
    records(argv[1]);
    leaves(argv[1]);
    nodes(argv[1]);
    documents(argv[1]);
    return 0;
}
