#include "volume/format/table.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "volume/volume.h"

void table_init(struct table *t, uint32_t entry_bytes, uint32_t hash_at)
{
    *t = (struct table){.entry_bytes = entry_bytes, .hash_at = hash_at};
}

void table_finish(struct table *t)
{
    mem_free(t->entries);
    mem_free(t->slots);
    table_init(t, t->entry_bytes, t->hash_at);
}

void table_reset(struct table *t)
{
    if (t->count)
        memset(t->slots, 0, t->slot_count * sizeof *t->slots);
    t->count = 0;
}

static uint8_t *entry_at(const struct table *t, uint32_t i)
{
    return t->entries + (size_t)i * t->entry_bytes;
}

/* The slot that holds the entry, or the free one where it belongs. At least half of all slots are free. */
static uint32_t *slot_of(const struct table *t, const uint8_t *entry)
{
    uint32_t mask = t->slot_count - 1;
    for (uint32_t i = (uint32_t)get_le64(entry + t->hash_at) & mask;; i = (i + 1) & mask) {
        uint32_t *slot = &t->slots[i];
        if (*slot == 0 || memcmp(entry_at(t, *slot - 1), entry, t->entry_bytes) == 0)
            return slot;
    }
}

uint32_t table_find(const struct table *t, const uint8_t *entry)
{
    return t->slot_count ? *slot_of(t, entry) - 1 : TABLE_NONE;
}

static void grow(struct table *t)
{
    t->capacity = t->capacity ? 2 * t->capacity : 16;
    t->entries = mem_realloc(t->entries, (size_t)t->capacity * t->entry_bytes);
    mem_free(t->slots);
    t->slot_count = 2 * t->capacity;
    t->slots = MEM_ARRAY(uint32_t, t->slot_count);
    for (uint32_t i = 0; i < t->count; i++)
        *slot_of(t, entry_at(t, i)) = i + 1;
}

uint32_t table_add(struct table *t, const uint8_t *entry)
{
    uint32_t found = table_find(t, entry);
    if (found != TABLE_NONE)
        return found;
    if (t->count == t->capacity)
        grow(t);
    assert(t->count < UINT32_MAX / 4);
    memcpy(entry_at(t, t->count), entry, t->entry_bytes);
    *slot_of(t, entry) = t->count + 1;
    return t->count++;
}

uint8_t *table_put(const struct table *t, uint8_t *to)
{
    if (t->count)
        memcpy(to, t->entries, table_bytes(t));
    return to + table_bytes(t);
}

/* ------------------------------------------------------------------- objects */

void object_entry_put(uint8_t *to, const struct object_name *object)
{
    memcpy(to, object->hash.bytes, 32);
    put_le32(to + 32, object->turn);
}

void object_entry_get(const uint8_t *entry, struct object_name *object)
{
    memcpy(object->hash.bytes, entry, 32);
    object->turn = get_le32(entry + 32);
}

void object_table_init(struct table *t)
{
    table_init(t, OBJECT_ENTRY_BYTES, 0);
}

uint32_t object_table_add(struct table *t, const struct object_name *object)
{
    uint8_t entry[OBJECT_ENTRY_BYTES];
    object_entry_put(entry, object);
    return table_add(t, entry);
}

/* -------------------------------------------------------------------- pieces */

enum {
    AT_OFFSET = 4,
    AT_STORED = 8,
    AT_BYTES = 12,
    AT_CODEC = 16,
    AT_CIPHER = 17,
    AT_KEY = 18,
    AT_HASH = 20
};

static void piece_entry_put(uint8_t *to, uint32_t object, const struct piece_ref *piece)
{
    put_le32(to, object);
    put_le32(to + AT_OFFSET, piece->offset);
    put_le32(to + AT_STORED, piece->stored_bytes);
    put_le32(to + AT_BYTES, piece->bytes);
    to[AT_CODEC] = piece->codec;
    to[AT_CIPHER] = piece->cipher;
    put_le16(to + AT_KEY, piece->key);
    memcpy(to + AT_HASH, piece->hash.bytes, 32);
}

static bool piece_entry_check(const uint8_t *entry, uint32_t object_count)
{
    uint64_t offset = get_le32(entry + AT_OFFSET), stored = get_le32(entry + AT_STORED);
    uint32_t bytes = get_le32(entry + AT_BYTES);
    return get_le32(entry) < object_count && bytes > 0 && bytes <= BLOCK_SIZE_MAX && stored == bytes &&
           offset + stored <= OBJECT_SIZE_MAX && entry[AT_CODEC] == 0 && entry[AT_CIPHER] == 0 &&
           get_le16(entry + AT_KEY) == 0;
}

void piece_tables_init(struct piece_tables *t)
{
    object_table_init(&t->objects);
    table_init(&t->pieces, PIECE_ENTRY_BYTES, AT_HASH);
    t->stored = 0;
}

void piece_tables_finish(struct piece_tables *t)
{
    table_finish(&t->objects);
    table_finish(&t->pieces);
    t->stored = 0;
}

void piece_tables_reset(struct piece_tables *t)
{
    table_reset(&t->objects);
    table_reset(&t->pieces);
    t->stored = 0;
}

size_t piece_tables_growth(const struct piece_tables *t, const struct piece_ref *piece)
{
    uint8_t entry[PIECE_ENTRY_BYTES];
    object_entry_put(entry, &piece->object);
    uint32_t object = table_find(&t->objects, entry);
    if (object == TABLE_NONE)
        return OBJECT_ENTRY_BYTES + PIECE_ENTRY_BYTES;
    piece_entry_put(entry, object, piece);
    return table_find(&t->pieces, entry) == TABLE_NONE ? PIECE_ENTRY_BYTES : 0;
}

uint32_t piece_tables_add(struct piece_tables *t, const struct piece_ref *piece)
{
    uint8_t entry[PIECE_ENTRY_BYTES];
    uint32_t before = t->pieces.count;
    piece_entry_put(entry, object_table_add(&t->objects, &piece->object), piece);
    assert(piece_entry_check(entry, t->objects.count));
    uint32_t i = table_add(&t->pieces, entry);
    if (t->pieces.count > before)
        t->stored += piece->stored_bytes;
    return i;
}

size_t piece_tables_bytes(const struct piece_tables *t)
{
    return table_bytes(&t->objects) + table_bytes(&t->pieces);
}

uint8_t *piece_tables_put(const struct piece_tables *t, uint8_t *to)
{
    return table_put(&t->pieces, table_put(&t->objects, to));
}

struct piece_view piece_view_at(const uint8_t *tables, uint32_t object_count, uint32_t piece_count)
{
    return (struct piece_view){.objects = tables,
                               .pieces = tables + piece_view_bytes(object_count, 0),
                               .object_count = object_count,
                               .piece_count = piece_count};
}

static const uint8_t *piece_entry(const struct piece_view *v, uint32_t i)
{
    assert(i < v->piece_count);
    return v->pieces + (size_t)i * PIECE_ENTRY_BYTES;
}

bool piece_view_check(const struct piece_view *v, uint64_t *stored)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < v->piece_count; i++) {
        if (!piece_entry_check(piece_entry(v, i), v->object_count))
            return false;
        sum += get_le32(piece_entry(v, i) + AT_STORED);
    }
    *stored = sum;
    return true;
}

void piece_view_get(const struct piece_view *v, uint32_t i, struct piece_ref *piece)
{
    const uint8_t *entry = piece_entry(v, i);
    object_entry_get(v->objects + (size_t)get_le32(entry) * OBJECT_ENTRY_BYTES, &piece->object);
    piece->offset = get_le32(entry + AT_OFFSET);
    piece->stored_bytes = get_le32(entry + AT_STORED);
    piece->bytes = get_le32(entry + AT_BYTES);
    piece->codec = entry[AT_CODEC];
    piece->cipher = entry[AT_CIPHER];
    piece->key = get_le16(entry + AT_KEY);
    memcpy(piece->hash.bytes, entry + AT_HASH, 32);
}

uint32_t piece_view_bytes_of(const struct piece_view *v, uint32_t i)
{
    return get_le32(piece_entry(v, i) + AT_BYTES);
}
