#include "volume/gc/digests.h"

#include "base/bytes.h"
#include "base/mem.h"

#define CHUNK 4096u

static struct sha256 *at(const struct digests *d, size_t i)
{
    return &d->chunks[i / CHUNK][i % CHUNK];
}

static size_t slot_of(const struct digests *d, const struct sha256 *digest)
{
    size_t i = get_le64(digest->bytes + 8) & (d->slot_count - 1);
    while (d->slots[i] && !sha256_equal(at(d, d->slots[i] - 1), digest))
        i = (i + 1) & (d->slot_count - 1);
    return i;
}

static void grow_slots(struct digests *d)
{
    mem_free(d->slots);
    d->slot_count = d->slot_count ? 2 * d->slot_count : 1024;
    d->slots = MEM_ARRAY(uint32_t, d->slot_count);
    for (size_t i = 0; i < d->count; i++)
        d->slots[slot_of(d, at(d, i))] = (uint32_t)i + 1;
}

static void append(struct digests *d, const struct sha256 *digest)
{
    if (d->count == d->chunk_room * CHUNK) {
        d->chunks = mem_realloc(d->chunks, (d->chunk_room + 1) * sizeof(struct sha256 *));
        d->chunks[d->chunk_room++] = MEM_ARRAY(struct sha256, CHUNK);
    }
    *at(d, d->count++) = *digest;
}

bool digests_has(const struct digests *d, const struct sha256 *digest)
{
    return d->count && d->slots[slot_of(d, digest)];
}

bool digests_add(struct digests *d, const struct sha256 *digest)
{
    if (digests_has(d, digest))
        return false;
    if (4 * (d->count + 1) > 3 * d->slot_count)
        grow_slots(d);
    append(d, digest);
    d->slots[slot_of(d, digest)] = (uint32_t)d->count;
    return true;
}

size_t digests_bytes(const struct digests *d)
{
    return d->chunk_room * CHUNK * sizeof(struct sha256) + d->slot_count * sizeof *d->slots;
}

void digests_finish(struct digests *d)
{
    for (size_t i = 0; i < d->chunk_room; i++)
        mem_free(d->chunks[i]);
    mem_free(d->chunks);
    mem_free(d->slots);
    *d = (struct digests){0};
}
