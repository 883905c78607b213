#include "volume/format/root.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/format/page.h"

static const char *const trees[] = {"hole", "zeros", "page"};

enum { NAME_OF_OBJECT = 2 * 32 + 1 + 8 };

bool root_holds(const struct map_root *root, uint32_t block_size, uint64_t size)
{
    if (root->level > MAP_LEVEL_MAX || root->tree.kind == SUBTREE_BASE)
        return false;
    return root->tree.kind != SUBTREE_PAGE ||
           (!root->tree.page.self && page_region(block_size, root->level) >= size);
}

static json_int_t number(uint64_t v)
{
    assert(v <= INT64_MAX);
    return (json_int_t)v;
}

json_t *root_encode(const struct map_root *root)
{
    const struct page_ref *page = &root->tree.page;
    json_t *o = json_pack("{s:i, s:s}", "level", (int)root->level, "tree", trees[root->tree.kind]);
    assert(o);
    if (root->tree.kind != SUBTREE_PAGE)
        return o;
    char object[NAME_OF_OBJECT + 1], turn[9], hash[SHA256_HEX];
    uint8_t turn_bytes[4];
    hex_encode(page->object.hash.bytes, 32, object);
    put_be32(turn_bytes, page->object.turn);
    hex_encode(turn_bytes, 4, turn);
    object[64] = '-';
    memcpy(object + 65, turn, sizeof turn);
    hex_encode(page->hash.bytes, 32, hash);
    json_t *more =
        json_pack("{s:s, s:I, s:I, s:s, s:I, s:I, s:I}", "object", object, "offset", (json_int_t)page->offset,
                  "bytes", (json_int_t)page->bytes, "page", hash, "mapped", number(root->tree.sums.mapped),
                  "stored", number(root->tree.sums.stored), "objects", number(root->tree.sums.objects));
    assert(more);
    json_object_update(o, more);
    json_decref(more);
    return o;
}

static void read_object_name(const struct reader *r, struct object_name *object)
{
    char text[NAME_OF_OBJECT + 1];
    uint8_t turn[4];
    read_text(r, "object", text, sizeof text);
    bool right = strlen(text) == NAME_OF_OBJECT && text[64] == '-';
    if (right) {
        text[64] = 0;
        right = hex_decode(text, object->hash.bytes, 32) && hex_decode(text + 65, turn, 4);
    }
    if (right)
        object->turn = get_be32(turn);
    else
        reader_refuse(r, "object");
}

void read_root(const struct reader *r, struct map_root *root)
{
    memset(root, 0, sizeof *root);
    root->level = (unsigned)read_int(r, "level", 0, MAP_LEVEL_MAX);
    root->tree.kind = (enum subtree_kind)read_choice(r, "tree", trees, COUNT_OF(trees));
    if (root->tree.kind != SUBTREE_PAGE)
        return;
    struct page_ref *page = &root->tree.page;
    char hash[SHA256_HEX];
    read_object_name(r, &page->object);
    page->bytes = (uint32_t)read_int(r, "bytes", 1, PAGE_BYTES_CAP);
    page->offset = (uint32_t)read_int(r, "offset", 0, (int64_t)UINT32_MAX - page->bytes);
    read_hex(r, "page", 64, false, hash);
    if (hash[0] && !hex_decode(hash, page->hash.bytes, 32))
        reader_refuse(r, "page");
    root->tree.sums.mapped = (uint64_t)read_int(r, "mapped", 0, INT64_MAX);
    root->tree.sums.stored = (uint64_t)read_int(r, "stored", 0, INT64_MAX);
    root->tree.sums.objects = (uint64_t)read_int(r, "objects", 0, INT64_MAX);
}
