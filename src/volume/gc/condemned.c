#include "volume/gc/condemned.h"

#include <assert.h>

#include "base/bytes.h"
#include "base/mem.h"

/* Every bit of the hash is as good as another; the turn and the kind are spread over all of them. */
static uint64_t fingerprint(enum object_kind kind, const struct object_name *name)
{
    uint64_t f = get_le64(name->hash.bytes);
    f ^= ((uint64_t)name->turn + 1) * UINT64_C(0x9e3779b97f4a7c15);
    f ^= kind == OBJECT_MAP ? UINT64_C(0xd6e8feb86659fd93) : 0;
    return f ? f : 1;
}

static size_t slot_of(const struct condemned *c, uint64_t f)
{
    size_t i = (size_t)(f * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (c->slot_count - 1);
    while (c->slots[i] && c->slots[i] != f)
        i = (i + 1) & (c->slot_count - 1);
    return i;
}

void condemned_reserve(struct condemned *c, size_t names)
{
    assert(!c->slots);
    c->slot_count = 16;
    while (c->slot_count < names + names / 2)
        c->slot_count *= 2;
    c->slots = MEM_ARRAY(uint64_t, c->slot_count);
}

void condemned_add(struct condemned *c, enum object_kind kind, const struct object_name *name)
{
    uint64_t f = fingerprint(kind, name);
    size_t i = slot_of(c, f);
    assert(c->count + 1 < c->slot_count);
    c->count += !c->slots[i];
    c->slots[i] = f;
}

bool condemned_has(const struct condemned *c, enum object_kind kind, const struct object_name *name)
{
    return c->count && c->slots[slot_of(c, fingerprint(kind, name))];
}

void condemned_clear(struct condemned *c)
{
    mem_free(c->slots);
    *c = (struct condemned){0};
}
