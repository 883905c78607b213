/* made_store - writes a directory store of exports made up at random, and what each must read as.
 *
 * usage: made_store SEED FOLDER
 *
 * FOLDER/store is the store, FOLDER/expected/{export}[@{snapshot}] are the images. What servers make only in
 * rare cases stands here in every store: bases of the same and of a higher level, pages in their parent's
 * object, batches, segments, seals with records behind them, gaps, batches without an end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "base/prng.h"
#include "volume/format/manifest.h"
#include "volume/format/page.h"
#include "volume/format/record.h"

enum {
    BLOCK = 4096,
    REGION = BLOCK * PAGE_BLOCKS,
    OBJECT_BYTES_MAX = 1 << 20,
    OBJECTS_MAX = 4096,
    PIECES_MAX = 1000
};

static struct prng prng;
static const char *folder;

static bool chance(unsigned percent)
{
    return prng_below(&prng, 100) < percent;
}

/* --------------------------------------------------------------------- files */

static void write_file(const char *below, const char *name, const void *bytes, size_t n)
{
    char path[2000];
    int length = snprintf(path, sizeof path, "%s/%s/%s", folder, below, name);
    for (char *c = path + 1; (c = strchr(c, '/')); *c++ = '/') {
        *c = 0;
        if (mkdir(path, 0777) != 0 && errno != EEXIST)
            abort();
    }
    FILE *f = length < (int)sizeof path ? fopen(path, "w") : NULL;
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
}

static void write_object(const struct key *key, const struct buf *b)
{
    write_file("store", key->text, b->data, b->bytes);
}

/* ----------------------------------------------------------- objects being filled */

static struct growing {
    uint8_t bytes[2 * OBJECT_BYTES_MAX];
    size_t used;
    unsigned number; /* of the object being filled; names of those before it are known */
    struct object_name names[OBJECTS_MAX];
} blocks, maps;

static void object_end(struct growing *g, void (*name_key)(struct key *, const struct object_name *))
{
    struct key key;
    if (g->used == 0)
        return;
    struct object_name *name = &g->names[g->number++];
    *name = (struct object_name){sha256_of(g->bytes, g->used), (uint32_t)prng_below(&prng, 3)};
    name_key(&key, name);
    write_file("store", key.text, g->bytes, g->used);
    g->used = 0;
}

/* Where in the object the bytes now are. */
static uint32_t object_put(struct growing *g, const void *bytes, size_t n)
{
    size_t at = g->used;
    if (at + n > sizeof g->bytes || g->number == OBJECTS_MAX)
        abort();
    memcpy(g->bytes + at, bytes, n);
    g->used += n;
    return (uint32_t)at;
}

static struct made_piece {
    struct piece_ref ref;
    uint8_t bytes[BLOCK];
} pieces[PIECES_MAX];
static unsigned piece_count;

static void make_pieces(void)
{
    unsigned in_object[PIECES_MAX];
    for (piece_count = 0; piece_count < PIECES_MAX; piece_count++) {
        struct made_piece *p = &pieces[piece_count];
        uint32_t bytes = chance(70) ? BLOCK : 512 * (1 + (uint32_t)prng_below(&prng, 8));
        prng_fill(&prng, p->bytes, bytes);
        p->ref = (struct piece_ref){.offset = object_put(&blocks, p->bytes, bytes),
                                    .stored_bytes = bytes,
                                    .bytes = bytes,
                                    .hash = sha256_of(p->bytes, bytes)};
        in_object[piece_count] = blocks.number;
        if (chance(5))
            object_end(&blocks, key_block);
    }
    object_end(&blocks, key_block);
    for (unsigned i = 0; i < piece_count; i++)
        pieces[i].ref.object = blocks.names[in_object[i]];
}

/* ----------------------------------------------------------------------- the map */

struct made_tree {
    struct subtree tree;
    unsigned object; /* in which its page is, as maps.number says */
};

static struct page_ref ref_of(const struct made_tree *t)
{
    struct page_ref ref = t->tree.page;
    ref.self = t->object == maps.number;
    if (!ref.self)
        ref.object = maps.names[t->object];
    return ref;
}

/* Called before a page is encoded: what it refers to in the object that ends here is not in its own any more.
 */
static void maybe_end_object(void)
{
    if (chance(15) || maps.used > OBJECT_BYTES_MAX)
        object_end(&maps, key_map);
}

static struct made_tree page_store(struct buf *page)
{
    struct made_tree t = {{SUBTREE_PAGE, {.bytes = (uint32_t)page->bytes}, page_sums(page->data)},
                          maps.number};
    t.tree.page.hash = sha256_of(page->data, page->bytes);
    t.tree.page.offset = object_put(&maps, page->data, page->bytes);
    buf_unref(page);
    return t;
}

struct image {
    uint8_t *bytes;
    uint64_t size;
};

static void paint(struct image *image, uint64_t start, uint64_t bytes, const uint8_t *content)
{
    uint64_t end = MIN(start + bytes, image->size);
    if (start >= end)
        return;
    if (content)
        memcpy(image->bytes + start, content, end - start);
    else
        memset(image->bytes + start, 0, end - start);
}

static struct made_tree make_tree(unsigned level, uint64_t start, struct image *image, unsigned depth);

/* A page that covers the region and more or less what lies in it, painted within the region only. */
static struct made_tree make_base(unsigned level, uint64_t start, struct image *image, unsigned depth)
{
    struct image scratch = {mem_calloc(1, image->size), image->size};
    unsigned base_level = level < 2 && chance(30) ? level + 1 : level;
    uint64_t region = page_region(BLOCK, base_level);
    struct made_tree base = make_tree(base_level, start / region * region, &scratch, depth);
    if (start < image->size)
        paint(image, start, page_region(BLOCK, level), scratch.bytes + start);
    mem_free(scratch.bytes);
    return base;
}

static struct leaf_extent random_extent(uint32_t start, const struct made_piece **made)
{
    struct leaf_extent e = {.start = start, .kind = (enum extent_kind)prng_below(&prng, 4)};
    *made = &pieces[prng_below(&prng, piece_count)];
    if (e.kind == EXTENT_PIECE) {
        e.piece = (*made)->ref;
        e.skip = chance(70) ? 0 : (uint32_t)prng_below(&prng, e.piece.bytes);
        e.bytes =
            chance(70) ? e.piece.bytes - e.skip : 1 + (uint32_t)prng_below(&prng, e.piece.bytes - e.skip);
    } else {
        e.bytes = 1 + (uint32_t)prng_below(&prng, 3 * BLOCK);
    }
    e.bytes = MIN(e.bytes, REGION - start);
    return e;
}

static struct made_tree make_leaf(uint64_t start, struct image *image, unsigned depth)
{
    bool has_base = depth > 0 && chance(40);
    struct made_tree base = {0};
    if (has_base)
        base = make_base(0, start, image, depth - 1);
    else
        paint(image, start, REGION, NULL);
    maybe_end_object();
    struct leaf_builder *b = leaf_builder_create(BLOCK);
    for (uint32_t at = 0; at < REGION;) {
        const struct made_piece *made;
        struct leaf_extent e = random_extent(at, &made);
        at += e.bytes;
        if (chance(20))
            continue;
        leaf_builder_add(b, &e);
        if (e.kind != EXTENT_BASE)
            paint(image, start + e.start, e.bytes, e.kind == EXTENT_PIECE ? made->bytes + e.skip : NULL);
    }
    struct page_ref ref = ref_of(&base);
    leaf_builder_base(b, has_base ? &ref : NULL);
    struct made_tree t = page_store(leaf_builder_encode(b));
    leaf_builder_destroy(b);
    return t;
}

static struct made_tree make_node(unsigned level, uint64_t start, struct image *image, unsigned depth)
{
    bool has_base = depth > 0 && chance(30);
    struct made_tree base = {0}, *below = MEM_ARRAY(struct made_tree, PAGE_CHILDREN);
    struct subtree *children = MEM_ARRAY(struct subtree, PAGE_CHILDREN);
    if (has_base)
        base = make_base(level, start, image, depth - 1);
    uint64_t region = page_region(BLOCK, level - 1);
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        uint64_t at = start + i * region;
        below[i].tree.kind = chance(50) ? SUBTREE_HOLE : SUBTREE_ZEROS;
        if (has_base && chance(40))
            below[i].tree.kind = SUBTREE_BASE;
        else if ((at < image->size && chance(level == 1 ? 40 : 90)) || chance(1))
            below[i] = make_tree(level - 1, at, image, depth);
        if (below[i].tree.kind == SUBTREE_HOLE || below[i].tree.kind == SUBTREE_ZEROS)
            paint(image, at, region, NULL);
    }
    maybe_end_object();
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        children[i] = below[i].tree;
        if (children[i].kind == SUBTREE_PAGE)
            children[i].page = ref_of(&below[i]);
    }
    struct page_ref ref = ref_of(&base);
    struct made_tree t = page_store(node_encode(BLOCK, level, children, has_base ? &ref : NULL));
    mem_free(below);
    mem_free(children);
    return t;
}

static struct made_tree make_tree(unsigned level, uint64_t start, struct image *image, unsigned depth)
{
    return level == 0 ? make_leaf(start, image, depth) : make_node(level, start, image, depth);
}

static struct map_root make_root(struct image *image)
{
    struct map_root root = {.level = page_root_level(BLOCK, image->size)};
    if (chance(10)) {
        root.tree.kind = chance(50) ? SUBTREE_HOLE : SUBTREE_ZEROS;
        return root;
    }
    struct made_tree t = make_tree(root.level, 0, image, 2);
    object_end(&maps, key_map);
    root.tree = t.tree;
    root.tree.page = ref_of(&t);
    return root;
}

/* ----------------------------------------------------------------------- the log */

static void random_hex(char *out, size_t digits)
{
    uint8_t bytes[16];
    prng_fill(&prng, bytes, digits / 2);
    hex_encode(bytes, digits / 2, out);
}

/* The image is painted when the record counts. */
static void add_entry(struct record_builder *b, struct image *image, bool counts)
{
    const struct made_piece *made = &pieces[prng_below(&prng, piece_count)];
    enum entry_kind kind = (enum entry_kind)prng_below(&prng, 4);
    uint64_t offset = prng_below(&prng, image->size);
    uint64_t bytes = 1 + prng_below(&prng, chance(90) ? 3 * BLOCK : 4 * REGION);
    uint8_t content[3 * BLOCK];
    const uint8_t *shown = NULL;
    uint32_t skip = 0;
    bool added;
    if (kind == ENTRY_PIECE) {
        skip = (uint32_t)prng_below(&prng, made->ref.bytes);
        bytes = MIN(bytes, made->ref.bytes - skip);
    } else if (kind == ENTRY_INLINE) {
        bytes = MIN(bytes, sizeof content);
    }
    bytes = MIN(bytes, image->size - offset);
    if (kind == ENTRY_PIECE) {
        added = record_add_piece(b, offset, bytes, &made->ref, skip);
        shown = made->bytes + skip;
    } else if (kind == ENTRY_INLINE) {
        prng_fill(&prng, content, bytes);
        struct iovec iov = {content, bytes};
        added = record_add_inline(b, offset, (uint32_t)bytes, &iov, 1);
        shown = content;
    } else {
        added = record_add_range(b, offset, bytes, kind);
    }
    if (added && counts)
        paint(image, offset, bytes, shown);
}

struct log {
    const char *name;
    const struct manifest *manifest;
    uint32_t epoch;
    char nonce[FOLDER_HEX];
};

static void write_record(const struct log *log, uint64_t slot, uint64_t first, bool last, struct image *image,
                         bool counts)
{
    struct record_head head = {.epoch = log->epoch, .slot = slot, .first = first, .last = last};
    if (!hex_decode(log->manifest->id, head.export_id, 16) || !hex_decode(log->nonce, head.folder, 8))
        abort();
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    for (uint64_t i = prng_below(&prng, 20) + 1; i--;)
        add_entry(b, image, counts);
    struct buf *out = record_builder_encode(b, &head);
    struct key key;
    key_log_slot(&key, log->name, log->manifest->id, log->epoch, log->nonce, slot);
    write_object(&key, out);
    buf_unref(out);
    record_builder_destroy(b);
}

/* The slot behind the last batch. */
static uint64_t write_batches(const struct log *log, uint64_t slot, struct image *image, bool count)
{
    for (uint64_t batches = 1 + prng_below(&prng, 6); batches--;) {
        uint64_t first = slot, records = chance(60) ? 1 : 2 + prng_below(&prng, 4);
        while (records--)
            write_record(log, slot++, first, records == 0, image, count);
    }
    return slot;
}

static void write_seal(const struct log *log, uint64_t slot)
{
    uint8_t seal[SEAL_BYTES], id[16], folder_nonce[8], nonce[16];
    char server[ID_HEX];
    struct key key;
    if (!hex_decode(log->manifest->id, id, 16) || !hex_decode(log->nonce, folder_nonce, 8))
        abort();
    prng_fill(&prng, nonce, sizeof nonce);
    random_hex(server, 32);
    seal_encode(seal, id, log->epoch, folder_nonce, slot, server, nonce);
    key_log_slot(&key, log->name, log->manifest->id, log->epoch, log->nonce, slot);
    write_file("store", key.text, seal, sizeof seal);
}

/* What may lie behind the records that count: the rest of a batch, then a gap or a seal, then anything. */
static void write_tail(const struct log *log, uint64_t slot, struct image *image)
{
    uint64_t first = slot;
    while (chance(40))
        write_record(log, slot++, first, false, image, false);
    if (chance(50))
        write_seal(log, slot);
    if (chance(50))
        write_batches(log, slot + 1, image, false);
}

static void write_log(const char *name, struct manifest *m, struct image *image)
{
    struct segment *segments = MEM_ARRAY(struct segment, 3);
    struct log log = {.name = name, .manifest = m};
    m->segments = segments;
    for (m->segment_count = 0; m->segment_count < 3 && chance(60); m->segment_count++) {
        struct segment *s = &segments[m->segment_count];
        log.epoch = s->epoch = 2 + 2 * (uint32_t)m->segment_count;
        random_hex(s->nonce, FOLDER_HEX - 1);
        memcpy(log.nonce, s->nonce, FOLDER_HEX);
        s->from = prng_below(&prng, 5);
        if (s->from)
            write_record(&log, s->from - 1, s->from - 1, true, image, false);
        s->to = write_batches(&log, s->from, image, true);
        write_tail(&log, s->to, image);
    }
    log.epoch = m->epoch;
    memcpy(log.nonce, m->folder, FOLDER_HEX);
    m->position = prng_below(&prng, 5);
    if (m->position)
        write_record(&log, m->position - 1, m->position - 1, true, image, false);
    write_tail(&log, chance(20) ? m->position : write_batches(&log, m->position, image, true), image);
}

/* ------------------------------------------------------------------- whole exports */

static void write_expected(const char *encoded, const char *snapshot, const struct image *image)
{
    char name[600];
    snprintf(name, sizeof name, "%s%s%s", encoded, snapshot ? "@" : "", snapshot ? snapshot : "");
    write_file("expected", name, image->bytes, image->size);
}

static void make_snapshot(struct manifest *m, const char *encoded)
{
    struct image image = {.size = 1 + prng_below(&prng, 4 * REGION)};
    image.bytes = mem_calloc(1, image.size);
    m->snapshots = MEM_ARRAY(struct manifest_snapshot, 1);
    m->snapshot_count = 1;
    m->snapshots[0] = (struct manifest_snapshot){
        .name = mem_strdup("before"), .size = image.size, .created_ms = 1, .root = make_root(&image)};
    write_expected(encoded, "before", &image);
    mem_free(image.bytes);
}

static void make_export(const char *name, uint64_t size)
{
    struct image image = {mem_calloc(1, size), size};
    struct manifest m = {.serial = 9, .params = {size, BLOCK, 4 * BLOCK, false}, .epoch = 8};
    char encoded[EXPORT_NAME_MAX + 1];
    struct key key;
    if (name_encode(name, encoded))
        abort();
    random_hex(m.nonce, ID_HEX - 1);
    random_hex(m.id, ID_HEX - 1);
    random_hex(m.owner, ID_HEX - 1);
    random_hex(m.folder, FOLDER_HEX - 1);
    m.state = chance(80) ? MANIFEST_OPEN : MANIFEST_CLOSED;
    m.root = make_root(&image);
    if (m.state == MANIFEST_OPEN)
        write_log(name, &m, &image);
    if (chance(50))
        make_snapshot(&m, encoded);
    struct buf *out = manifest_encode(&m);
    key_manifest(&key, name);
    write_object(&key, out);
    write_expected(encoded, NULL, &image);
    buf_unref(out);
    manifest_finish(&m);
    mem_free(image.bytes);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: made_store SEED FOLDER\n");
        return 2;
    }
    prng_seed(&prng, strtoull(argv[1], NULL, 10));
    folder = argv[2];
    struct buf *format = format_encode();
    write_file("store", "format", format->data, format->bytes);
    buf_unref(format);
    make_pieces();
    make_export("tiny", 1 + prng_below(&prng, 3 * BLOCK));
    make_export("one leaf", REGION - prng_below(&prng, BLOCK));
    make_export(".a/\xc3\xa9", REGION + prng_below(&prng, 8 * REGION));
    make_export("b", 2 * REGION + prng_below(&prng, 3 * REGION));
    if (chance(20))
        make_export("large", UINT64_C(256) * REGION + prng_below(&prng, 3 * REGION));
    return 0;
}
