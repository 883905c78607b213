#include "volume/gc/marks.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

#define CHUNK    4096u
#define GRANULES 1024u

struct mark {
    uint64_t name;
    uint32_t shift; /* log2 of the granule */
    uint64_t live[GRANULES / 64];
};

struct marks {
    struct mark **chunks;
    size_t count, chunk_room;
    uint32_t *slots; /* number + 1; 0: free */
    size_t slot_count;
    uint64_t *maps; /* 0: free */
    size_t map_count, map_slots;
};

struct marks *marks_create(void)
{
    return MEM_NEW(struct marks);
}

void marks_destroy(struct marks *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->chunk_room; i++)
        mem_free(m->chunks[i]);
    mem_free(m->chunks);
    mem_free(m->slots);
    mem_free(m->maps);
    mem_free(m);
}

static uint64_t short_name(const struct object_name *name)
{
    uint64_t n = get_le64(name->hash.bytes) ^ ((uint64_t)name->turn + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return n ? n : 1;
}

static size_t scatter(uint64_t name, size_t slots)
{
    return (size_t)(name * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (slots - 1);
}

/* ---------------------------------------------------------------------- blocks */

static struct mark *at(const struct marks *m, size_t i)
{
    return &m->chunks[i / CHUNK][i % CHUNK];
}

static size_t slot_of(const struct marks *m, uint64_t name)
{
    size_t i = scatter(name, m->slot_count);
    while (m->slots[i] && at(m, m->slots[i] - 1)->name != name)
        i = (i + 1) & (m->slot_count - 1);
    return i;
}

static struct mark *find(const struct marks *m, const struct object_name *name)
{
    if (!m->count)
        return NULL;
    uint32_t number = m->slots[slot_of(m, short_name(name))];
    return number ? at(m, number - 1) : NULL;
}

static void grow_slots(struct marks *m)
{
    mem_free(m->slots);
    m->slot_count = m->slot_count ? 2 * m->slot_count : 1024;
    m->slots = MEM_ARRAY(uint32_t, m->slot_count);
    for (size_t i = 0; i < m->count; i++)
        m->slots[slot_of(m, at(m, i)->name)] = (uint32_t)i + 1;
}

static struct mark *add(struct marks *m, const struct object_name *name)
{
    if (4 * (m->count + 1) > 3 * m->slot_count)
        grow_slots(m);
    if (m->count == m->chunk_room * CHUNK) {
        m->chunks = mem_realloc(m->chunks, (m->chunk_room + 1) * sizeof(struct mark *));
        m->chunks[m->chunk_room++] = MEM_ARRAY(struct mark, CHUNK);
    }
    struct mark *new = at(m, m->count++);
    *new = (struct mark){.name = short_name(name), .shift = 12};
    m->slots[slot_of(m, new->name)] = (uint32_t)m->count;
    return new;
}

/* Granules twice as long: of two, the first says whose first byte it is. */
static void coarsen(struct mark *k)
{
    uint64_t live[GRANULES / 64] = {0};
    for (unsigned i = 0; i < GRANULES / 2; i++)
        if (k->live[2 * i / 64] >> (2 * i % 64) & 1)
            live[i / 64] |= UINT64_C(1) << (i % 64);
    memcpy(k->live, live, sizeof live);
    k->shift++;
}

void marks_piece(struct marks *m, const struct piece_ref *p)
{
    struct mark *k = find(m, &p->object);
    if (!k)
        k = add(m, &p->object);
    uint64_t end = (uint64_t)p->offset + p->stored_bytes;
    while (end > (uint64_t)GRANULES << k->shift)
        coarsen(k);
    uint64_t granule = (uint64_t)1 << k->shift;
    for (uint64_t i = (p->offset + granule - 1) >> k->shift; i << k->shift < end; i++)
        k->live[i / 64] |= UINT64_C(1) << (i % 64);
}

uint64_t marks_live_bytes(const struct marks *m, const struct object_name *name, uint64_t object_bytes)
{
    const struct mark *k = find(m, name);
    uint64_t granules = 0;
    for (size_t i = 0; k && i < COUNT_OF(k->live); i++)
        granules += (uint64_t)__builtin_popcountll(k->live[i]);
    return k ? MIN(granules << k->shift, object_bytes) : 0;
}

/* ------------------------------------------------------------------------ maps */

static size_t map_slot_of(const struct marks *m, uint64_t name)
{
    size_t i = scatter(name, m->map_slots);
    while (m->maps[i] && m->maps[i] != name)
        i = (i + 1) & (m->map_slots - 1);
    return i;
}

static void grow_maps(struct marks *m)
{
    uint64_t *old = m->maps;
    size_t slots = m->map_slots;
    m->map_slots = slots ? 2 * slots : 1024;
    m->maps = MEM_ARRAY(uint64_t, m->map_slots);
    for (size_t i = 0; i < slots; i++)
        if (old[i])
            m->maps[map_slot_of(m, old[i])] = old[i];
    mem_free(old);
}

void marks_map(struct marks *m, const struct object_name *name)
{
    if (4 * (m->map_count + 1) > 3 * m->map_slots)
        grow_maps(m);
    size_t i = map_slot_of(m, short_name(name));
    m->map_count += !m->maps[i];
    m->maps[i] = short_name(name);
}

/* --------------------------------------------------------------------- looking */

bool marks_has(const struct marks *m, enum object_kind kind, const struct object_name *name)
{
    if (kind == OBJECT_BLOCK)
        return find(m, name) != NULL;
    return m->map_count && m->maps[map_slot_of(m, short_name(name))];
}

size_t marks_objects(const struct marks *m)
{
    return m->count;
}

size_t marks_bytes(const struct marks *m)
{
    return m->chunk_room * CHUNK * sizeof(struct mark) + m->slot_count * sizeof *m->slots +
           m->map_slots * sizeof *m->maps;
}
