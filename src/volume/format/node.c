#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/format/page_format.h"
#include "volume/format/table.h"

enum { KINDS_BYTES = PAGE_CHILDREN / 4, CHILD_BYTES = 68, KINDS_A_WORD = 32 };
enum { AT_OFFSET = 4, AT_BYTES = 8, AT_HASH = 12, AT_MAPPED = 44, AT_STORED = 52, AT_OBJECTS = 60 };

#define OBJECT_IS_SELF UINT32_MAX

/* ------------------------------------------------------------------- reading */

static enum subtree_kind kind_of(const uint8_t *kinds, unsigned i)
{
    return (enum subtree_kind)(kinds[i / 4] >> i % 4 * 2 & 3);
}

/* How many of the first i children are pages: pairs of bits that are 10. */
static unsigned pages_before(const uint8_t *kinds, unsigned i)
{
    unsigned pages = 0;
    for (unsigned word = 0; word * KINDS_A_WORD < i; word++) {
        uint64_t bits = get_le64(kinds + word * sizeof bits);
        uint64_t found = bits >> 1 & ~bits & UINT64_C(0x5555555555555555);
        unsigned left = i - word * KINDS_A_WORD;
        if (left < KINDS_A_WORD)
            found &= (UINT64_C(1) << 2 * left) - 1;
        pages += (unsigned)__builtin_popcountll(found);
    }
    return pages;
}

static uint32_t object_count(const uint8_t *page)
{
    return get_le32(page + PAGE_AT_COUNT);
}

static const uint8_t *objects_of(const uint8_t *page)
{
    return page_body(page) + KINDS_BYTES;
}

static const uint8_t *child_at(const uint8_t *page, unsigned nth)
{
    return objects_of(page) + (size_t)object_count(page) * OBJECT_ENTRY_BYTES + (size_t)nth * CHILD_BYTES;
}

static bool sizes_check(const uint8_t *page, size_t n)
{
    uint64_t body = KINDS_BYTES + (uint64_t)object_count(page) * OBJECT_ENTRY_BYTES +
                    (uint64_t)get_le32(page + PAGE_AT_MORE) * CHILD_BYTES;
    return body == n - (size_t)(page_body(page) - page) &&
           pages_before(page_body(page), PAGE_CHILDREN) == get_le32(page + PAGE_AT_MORE);
}

static struct map_sums child_sums(const uint8_t *child)
{
    return (struct map_sums){.mapped = get_le64(child + AT_MAPPED),
                             .stored = get_le64(child + AT_STORED),
                             .objects = get_le64(child + AT_OBJECTS)};
}

static void sums_add(struct map_sums *sums, struct map_sums more)
{
    sums->mapped = sum_add(sums->mapped, more.mapped);
    sums->stored = sum_add(sums->stored, more.stored);
    sums->objects = sum_add(sums->objects, more.objects);
}

static bool child_check(const uint8_t *child, uint32_t objects, uint64_t region)
{
    uint32_t object = get_le32(child);
    struct map_sums sums = child_sums(child);
    return (object < objects || object == OBJECT_IS_SELF) &&
           page_range_check(get_le32(child + AT_OFFSET), get_le32(child + AT_BYTES)) &&
           sums.mapped <= region && sums.mapped <= SUM_MAX && sums.stored <= SUM_MAX &&
           sums.objects <= SUM_MAX;
}

bool node_check(const uint8_t *page, size_t n, unsigned level, uint32_t block_size)
{
    if (n - (size_t)(page_body(page) - page) < KINDS_BYTES || !sizes_check(page, n))
        return false;
    const uint8_t *kinds = page_body(page);
    uint64_t region = page_region(block_size, level - 1);
    struct map_sums sums = {0};
    unsigned nth = 0;
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        if (kind_of(kinds, i) == SUBTREE_BASE && !page_has_base(page))
            return false;
        if (kind_of(kinds, i) != SUBTREE_PAGE)
            continue;
        const uint8_t *child = child_at(page, nth++);
        if ((uint128)i * region > INT64_MAX || !child_check(child, object_count(page), region))
            return false;
        sums_add(&sums, child_sums(child));
    }
    struct map_sums said = page_sums(page);
    return sums.mapped == said.mapped && sums.stored == said.stored && sums.objects == said.objects;
}

void node_child(const void *bytes, unsigned i, struct subtree *out)
{
    assert(i < PAGE_CHILDREN);
    const uint8_t *page = bytes;
    const uint8_t *kinds = page_body(page);
    *out = (struct subtree){.kind = kind_of(kinds, i)};
    if (out->kind != SUBTREE_PAGE)
        return;
    const uint8_t *child = child_at(page, pages_before(kinds, i));
    uint32_t object = get_le32(child);
    out->page.self = object == OBJECT_IS_SELF;
    if (!out->page.self)
        object_entry_get(objects_of(page) + (size_t)object * OBJECT_ENTRY_BYTES, &out->page.object);
    out->page.offset = get_le32(child + AT_OFFSET);
    out->page.bytes = get_le32(child + AT_BYTES);
    memcpy(out->page.hash.bytes, child + AT_HASH, 32);
    out->sums = child_sums(child);
}

/* -------------------------------------------------------------------- making */

static uint8_t *child_put(uint8_t *to, const struct subtree *child, uint32_t object)
{
    assert(page_range_check(child->page.offset, child->page.bytes));
    put_le32(to, object);
    put_le32(to + AT_OFFSET, child->page.offset);
    put_le32(to + AT_BYTES, child->page.bytes);
    memcpy(to + AT_HASH, child->page.hash.bytes, 32);
    put_le64(to + AT_MAPPED, child->sums.mapped);
    put_le64(to + AT_STORED, child->sums.stored);
    put_le64(to + AT_OBJECTS, child->sums.objects);
    return to + CHILD_BYTES;
}

struct buf *node_encode(uint32_t block_size, unsigned level, const struct subtree children[PAGE_CHILDREN],
                        const struct page_ref *base)
{
    assert(level > 0 && level <= MAP_LEVEL_MAX);
    struct table objects;
    object_table_init(&objects);
    struct map_sums sums = {0};
    uint32_t numbers[PAGE_CHILDREN] = {0}, pages = 0;
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        assert(children[i].kind != SUBTREE_BASE || base);
        if (children[i].kind != SUBTREE_PAGE)
            continue;
        const struct page_ref *ref = &children[i].page;
        numbers[i] = ref->self ? OBJECT_IS_SELF : object_table_add(&objects, &ref->object);
        sums_add(&sums, children[i].sums);
        pages++;
    }
    struct buf *out = buf_create(PAGE_HEAD_BYTES + (base ? PAGE_BASE_BYTES : 0) + KINDS_BYTES +
                                 table_bytes(&objects) + (size_t)pages * CHILD_BYTES);
    uint8_t *kinds = page_put_head(out->data, block_size, level, sums, objects.count, pages, base);
    memset(kinds, 0, KINDS_BYTES);
    uint8_t *to = table_put(&objects, kinds + KINDS_BYTES);
    for (unsigned i = 0; i < PAGE_CHILDREN; i++) {
        kinds[i / 4] |= (uint8_t)(children[i].kind << i % 4 * 2);
        if (children[i].kind == SUBTREE_PAGE)
            to = child_put(to, &children[i], numbers[i]);
    }
    table_finish(&objects);
    page_close(out->data, out->bytes);
    return out;
}
