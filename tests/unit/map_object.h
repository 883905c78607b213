/* map_object.h - a map object in making: pages laid end to end, then stored in the world's bucket. */
#ifndef MAP_OBJECT_H
#define MAP_OBJECT_H

#include "world.h"

#include "volume/format/page.h"

struct object {
    struct object_name name;
    uint8_t *bytes;
    size_t n;
};

static inline void object_init(struct object *o, uint8_t number)
{
    memset(o, 0, sizeof *o);
    memset(o->name.hash.bytes, number, 32);
}

/* Takes over the reference. */
static inline struct page_ref object_add(struct object *o, struct buf *page)
{
    struct page_ref ref = {.object = o->name, .offset = (uint32_t)o->n, .bytes = (uint32_t)page->bytes};
    ref.hash = sha256_of(page->data, page->bytes);
    o->bytes = mem_realloc(o->bytes, o->n + page->bytes);
    memcpy(o->bytes + o->n, page->data, page->bytes);
    o->n += page->bytes;
    buf_unref(page);
    return ref;
}

static inline void object_store(struct object *o)
{
    struct key key;
    key_map(&key, &o->name);
    world_put(world, key.text, o->bytes, o->n);
    mem_free(o->bytes);
}

#endif
