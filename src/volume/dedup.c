#include "volume/dedup.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

/* Entries lie in sets of WAYS, the set chosen by the hash; the objects they name lie apart, because many
 * blocks share one. An object's slot carries a generation: giving it to another object, or forgetting it,
 * makes every entry that names the former generation stale at once. */
enum { WAYS = 8, SETS_A_CHUNK = 64, ENTRIES_AN_OBJECT = 4 };

#define NONE UINT32_MAX

struct entry {
    struct sha256 hash;
    uint32_t object, generation; /* generation 0: empty */
    uint32_t offset : 31, used : 1;
    uint32_t bytes;
};

struct object {
    struct object_name name;
    uint32_t generation;
    uint32_t entries;
    uint32_t next : 31, used : 1; /* the next in its chain; used: found since the hand came by */
};

#define CHAIN_END ((UINT32_C(1) << 31) - 1)

struct dedup {
    uint32_t set_count, chunk_count, object_max, object_count, object_hand;
    unsigned way_hand;
    struct entry **chunks; /* NULL until one of its sets is used */
    struct object *objects;
    uint32_t *chains; /* object_max of them */
    struct dedup_stats stats;
};

struct dedup *dedup_create(size_t bytes_max)
{
    struct dedup *d = MEM_NEW(struct dedup);
    size_t set_bytes =
        WAYS * sizeof(struct entry) + WAYS / ENTRIES_AN_OBJECT * (sizeof(struct object) + sizeof(uint32_t));
    size_t chunk_bytes = SETS_A_CHUNK * set_bytes + sizeof(struct entry *);
    if (bytes_max < sizeof *d)
        return d;
    size_t chunks = MIN((bytes_max - sizeof *d) / chunk_bytes, (size_t)1 << 20);
    d->chunk_count = (uint32_t)chunks;
    d->set_count = d->chunk_count * SETS_A_CHUNK;
    d->object_max = d->set_count * (WAYS / ENTRIES_AN_OBJECT);
    d->stats.bytes = sizeof *d;
    return d;
}

void dedup_destroy(struct dedup *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; d->chunks && i < d->chunk_count; i++)
        mem_free(d->chunks[i]);
    mem_free(d->chunks);
    mem_free(d->objects);
    mem_free(d->chains);
    mem_free(d);
}

static void *allocate(struct dedup *d, size_t count, size_t bytes)
{
    d->stats.bytes += count * bytes;
    return mem_calloc(count, bytes);
}

static void start(struct dedup *d)
{
    d->chunks = allocate(d, d->chunk_count, sizeof(struct entry *));
    d->objects = allocate(d, d->object_max, sizeof *d->objects);
    d->chains = allocate(d, d->object_max, sizeof *d->chains);
    for (uint32_t i = 0; i < d->object_max; i++)
        d->chains[i] = CHAIN_END;
}

/* 0 .. n - 1, evenly. */
static uint32_t spread(const struct sha256 *hash, uint32_t n)
{
    return (uint32_t)((uint64_t)get_le32(hash->bytes) * n >> 32);
}

static struct entry *set_of(const struct dedup *d, const struct sha256 *hash, uint32_t *chunk)
{
    uint32_t set = spread(hash, d->set_count);
    *chunk = set / SETS_A_CHUNK;
    return d->chunks[*chunk] ? &d->chunks[*chunk][(size_t)(set % SETS_A_CHUNK) * WAYS] : NULL;
}

static bool is_live(const struct dedup *d, const struct entry *e)
{
    return e->generation && d->objects[e->object].generation == e->generation;
}

static struct entry *entry_find(const struct dedup *d, const struct sha256 *hash)
{
    uint32_t chunk;
    struct entry *set = d->chunks ? set_of(d, hash, &chunk) : NULL;
    for (unsigned i = 0; set && i < WAYS; i++)
        if (is_live(d, &set[i]) && sha256_equal(&set[i].hash, hash))
            return &set[i];
    return NULL;
}

bool dedup_find(struct dedup *d, const struct sha256 *hash, uint32_t bytes, struct piece_ref *out)
{
    struct entry *e = entry_find(d, hash);
    if (!e || e->bytes != bytes) {
        d->stats.misses++;
        return false;
    }
    d->stats.hits++;
    e->used = 1;
    d->objects[e->object].used = 1;
    *out = (struct piece_ref){.object = d->objects[e->object].name,
                              .offset = e->offset,
                              .stored_bytes = e->bytes,
                              .bytes = e->bytes,
                              .hash = *hash};
    return true;
}

/* -------------------------------------------------------------------- objects */

static uint32_t object_find(const struct dedup *d, const struct object_name *name)
{
    for (uint32_t i = d->chains[spread(&name->hash, d->object_max)]; i != CHAIN_END; i = d->objects[i].next)
        if (d->objects[i].name.turn == name->turn && sha256_equal(&d->objects[i].name.hash, &name->hash))
            return i;
    return NONE;
}

/* Takes the object out of its chain; every entry that names it is stale from now on. */
static void object_drop(struct dedup *d, uint32_t i)
{
    struct object *o = &d->objects[i];
    uint32_t *chain = &d->chains[spread(&o->name.hash, d->object_max)];
    if (*chain == i) {
        *chain = o->next;
    } else {
        uint32_t before = *chain;
        while (d->objects[before].next != i)
            before = d->objects[before].next;
        d->objects[before].next = o->next;
    }
    d->stats.entries -= o->entries;
    o->entries = 0;
    o->generation = o->generation == UINT32_MAX ? 1 : o->generation + 1;
}

/* An object without entries is free; the others get a second chance each. */
static uint32_t object_slot(struct dedup *d)
{
    if (d->object_count < d->object_max) {
        d->objects[d->object_count].generation = 1;
        return d->object_count++;
    }
    for (;;) {
        uint32_t i = d->object_hand;
        struct object *o = &d->objects[i];
        d->object_hand = (i + 1) % d->object_max;
        if (o->used && o->entries) {
            o->used = 0;
            continue;
        }
        d->stats.evictions += o->entries;
        if (o->next != i)
            object_drop(d, i);
        return i;
    }
}

static uint32_t object_add(struct dedup *d, const struct object_name *name)
{
    uint32_t i = object_find(d, name);
    if (i != NONE)
        return i;
    i = object_slot(d);
    uint32_t *chain = &d->chains[spread(&name->hash, d->object_max)];
    struct object *o = &d->objects[i];
    o->name = *name;
    o->used = 0;
    o->next = *chain & CHAIN_END;
    *chain = i;
    return i;
}

void dedup_forget(struct dedup *d, const struct object_name *name)
{
    uint32_t i = d->chunks ? object_find(d, name) : NONE;
    if (i == NONE)
        return;
    object_drop(d, i);
    d->objects[i].next = i & CHAIN_END; /* in no chain */
}

void dedup_clear(struct dedup *d)
{
    for (uint32_t i = 0; i < d->object_count; i++) {
        if (d->objects[i].next != i)
            object_drop(d, i);
        d->objects[i].next = i & CHAIN_END;
    }
}

/* -------------------------------------------------------------------- entries */

static struct entry *way_free(struct dedup *d, struct entry *set)
{
    for (unsigned i = 0; i < WAYS; i++)
        if (!is_live(d, &set[i]))
            return &set[i];
    for (;;) {
        struct entry *e = &set[d->way_hand++ % WAYS];
        if (!e->used) {
            d->objects[e->object].entries--;
            d->stats.entries--;
            d->stats.evictions++;
            return e;
        }
        e->used = 0;
    }
}

void dedup_add(struct dedup *d, const struct piece_ref *piece)
{
    if (d->set_count == 0 || piece->codec || piece->cipher || piece->key ||
        piece->stored_bytes != piece->bytes || piece->offset > INT32_MAX)
        return;
    if (!d->chunks)
        start(d);
    if (entry_find(d, &piece->hash))
        return;
    uint32_t object = object_add(d, &piece->object), chunk;
    struct entry *set = set_of(d, &piece->hash, &chunk);
    if (!set) {
        d->chunks[chunk] = allocate(d, (size_t)SETS_A_CHUNK * WAYS, sizeof(struct entry));
        set = set_of(d, &piece->hash, &chunk);
    }
    struct entry *e = way_free(d, set);
    *e = (struct entry){.hash = piece->hash,
                        .object = object,
                        .generation = d->objects[object].generation,
                        .offset = piece->offset & INT32_MAX,
                        .bytes = piece->bytes};
    d->objects[object].entries++;
    d->stats.entries++;
}

void dedup_stats(const struct dedup *d, struct dedup_stats *out)
{
    *out = d->stats;
}
