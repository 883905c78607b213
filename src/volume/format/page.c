#include "volume/format/page.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/format/envelope.h"
#include "volume/format/page_format.h"
#include "volume/format/table.h"
#include "volume/volume.h"

enum { BASE_AT_FLAGS = 36, BASE_AT_OFFSET = 40, BASE_AT_BYTES = 44, BASE_AT_HASH = 48 };

#define BASE_FLAG_SELF 1u

static const char page_magic[4] = {'A', 'S', 'H', 'P'};

uint64_t page_region(uint32_t block_size, unsigned level)
{
    assert(level <= MAP_LEVEL_MAX);
    uint128 region = (uint128)block_size * PAGE_BLOCKS << 8 * level;
    return (uint64_t)MIN(region, (uint128)1 << 63);
}

unsigned page_root_level(uint32_t block_size, uint64_t size)
{
    unsigned level = 0;
    while (page_region(block_size, level) < size)
        level++;
    return level;
}

/* ------------------------------------------------------------------- reading */

bool page_has_base(const uint8_t *page)
{
    return page[PAGE_AT_FLAGS] & PAGE_FLAG_BASE;
}

const uint8_t *page_body(const uint8_t *page)
{
    return page + PAGE_HEAD_BYTES + (page_has_base(page) ? PAGE_BASE_BYTES : 0);
}

bool page_range_check(uint32_t offset, uint32_t bytes)
{
    return bytes >= PAGE_HEAD_BYTES && bytes <= PAGE_BYTES_CAP && bytes <= UINT32_MAX - offset;
}

static bool base_check(const uint8_t *base)
{
    uint32_t flags = get_le32(base + BASE_AT_FLAGS);
    if (flags > BASE_FLAG_SELF || (flags && !bytes_are_zero(base, OBJECT_ENTRY_BYTES)))
        return false;
    return page_range_check(get_le32(base + BASE_AT_OFFSET), get_le32(base + BASE_AT_BYTES));
}

static bool head_check(const uint8_t *page, size_t n, unsigned level, uint32_t block_size)
{
    if (n < PAGE_HEAD_BYTES || page[PAGE_AT_LEVEL] != level || page[PAGE_AT_FLAGS] > PAGE_FLAG_BASE ||
        get_le32(page + PAGE_AT_BLOCK_SIZE) != block_size)
        return false;
    if (!page_has_base(page))
        return true;
    return n >= PAGE_HEAD_BYTES + PAGE_BASE_BYTES && base_check(page + PAGE_HEAD_BYTES);
}

enum err page_check(const void *bytes, size_t n, const struct sha256 *hash, unsigned level,
                    uint32_t block_size)
{
    const uint8_t *page = bytes;
    if (level > MAP_LEVEL_MAX || n < PAGE_HEAD_BYTES || n > PAGE_BYTES_CAP)
        return ERR_CORRUPT;
    if (hash) {
        struct sha256 is = sha256_of(page, n);
        if (!sha256_equal(&is, hash))
            return ERR_CORRUPT;
    }
    if (envelope_check(page, n, page_magic) || !head_check(page, n, level, block_size))
        return ERR_CORRUPT;
    bool right = level == 0 ? leaf_check(page, n, block_size) : node_check(page, n, level, block_size);
    return right ? ERR_OK : ERR_CORRUPT;
}

unsigned page_level(const void *bytes, size_t n)
{
    return n < PAGE_HEAD_BYTES ? MAP_LEVEL_MAX + 1 : ((const uint8_t *)bytes)[PAGE_AT_LEVEL];
}

struct map_sums page_sums(const void *bytes)
{
    const uint8_t *page = bytes;
    return (struct map_sums){.mapped = get_le64(page + PAGE_AT_MAPPED),
                             .stored = get_le64(page + PAGE_AT_STORED),
                             .objects = get_le64(page + PAGE_AT_OBJECTS)};
}

bool page_base(const void *bytes, struct page_ref *ref)
{
    const uint8_t *page = bytes;
    if (!page_has_base(page))
        return false;
    const uint8_t *base = page + PAGE_HEAD_BYTES;
    object_entry_get(base, &ref->object);
    ref->self = get_le32(base + BASE_AT_FLAGS) & BASE_FLAG_SELF;
    ref->offset = get_le32(base + BASE_AT_OFFSET);
    ref->bytes = get_le32(base + BASE_AT_BYTES);
    memcpy(ref->hash.bytes, base + BASE_AT_HASH, 32);
    return true;
}

/* -------------------------------------------------------------------- making */

static void base_put(uint8_t *to, const struct page_ref *ref)
{
    assert(page_range_check(ref->offset, ref->bytes));
    memset(to, 0, PAGE_BASE_BYTES);
    if (!ref->self)
        object_entry_put(to, &ref->object);
    put_le32(to + BASE_AT_FLAGS, ref->self ? BASE_FLAG_SELF : 0);
    put_le32(to + BASE_AT_OFFSET, ref->offset);
    put_le32(to + BASE_AT_BYTES, ref->bytes);
    memcpy(to + BASE_AT_HASH, ref->hash.bytes, 32);
}

uint8_t *page_put_head(uint8_t *to, uint32_t block_size, unsigned level, struct map_sums sums, uint32_t count,
                       uint32_t more, const struct page_ref *base)
{
    memset(to, 0, PAGE_HEAD_BYTES);
    to[PAGE_AT_LEVEL] = (uint8_t)level;
    to[PAGE_AT_FLAGS] = base ? PAGE_FLAG_BASE : 0;
    put_le32(to + PAGE_AT_BLOCK_SIZE, block_size);
    put_le64(to + PAGE_AT_MAPPED, sums.mapped);
    put_le64(to + PAGE_AT_STORED, sums.stored);
    put_le64(to + PAGE_AT_OBJECTS, sums.objects);
    put_le32(to + PAGE_AT_COUNT, count);
    put_le32(to + PAGE_AT_MORE, more);
    if (!base)
        return to + PAGE_HEAD_BYTES;
    base_put(to + PAGE_HEAD_BYTES, base);
    return to + PAGE_HEAD_BYTES + PAGE_BASE_BYTES;
}

void page_close(uint8_t *page, size_t n)
{
    assert(n <= PAGE_BYTES_CAP);
    envelope_close(page, n, page_magic);
}
