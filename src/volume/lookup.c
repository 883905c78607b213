#include "volume/lookup.h"

#include <stdbool.h>

#include "base/mem.h"

struct lookup_slot {
    uint64_t key;
    uint32_t number;
    bool taken;
};

void lookup_finish(struct lookup *l)
{
    mem_free(l->slots);
    *l = (struct lookup){0};
}

static size_t first_slot(const struct lookup *l, uint64_t key)
{
    return (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (l->slot_count - 1);
}

static void put(struct lookup *l, uint64_t key, uint32_t number)
{
    size_t i = first_slot(l, key);
    while (l->slots[i].taken)
        i = (i + 1) & (l->slot_count - 1);
    l->slots[i] = (struct lookup_slot){.key = key, .number = number, .taken = true};
}

static void grow(struct lookup *l)
{
    struct lookup old = *l;
    l->slot_count = old.slot_count ? 2 * old.slot_count : 32;
    l->slots = MEM_ARRAY(struct lookup_slot, l->slot_count);
    for (size_t i = 0; i < old.slot_count; i++)
        if (old.slots[i].taken)
            put(l, old.slots[i].key, old.slots[i].number);
    mem_free(old.slots);
}

void lookup_add(struct lookup *l, uint64_t key, uint32_t number)
{
    if (2 * (l->count + 1) > l->slot_count)
        grow(l);
    put(l, key, number);
    l->count++;
}

uint32_t lookup_next(const struct lookup *l, uint64_t key, size_t *at)
{
    if (!l->slot_count)
        return LOOKUP_NONE;
    for (;; (*at)++) {
        const struct lookup_slot *s = &l->slots[(first_slot(l, key) + *at) & (l->slot_count - 1)];
        if (!s->taken)
            return LOOKUP_NONE;
        if (s->key != key)
            continue;
        (*at)++;
        return s->number;
    }
}
