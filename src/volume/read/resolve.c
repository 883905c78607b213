#include "volume/read/resolve.h"

#include <assert.h>

#include "base/mem.h"
#include "volume/log/batch.h"

/* One stretch as the layers have it; on_map: they do not. Holds references. */
struct resolve_layer_part {
    uint64_t start, end;
    bool on_map;
    struct content content;
    uint64_t content_start; /* of the extent that content belongs to */
};

#define LAYERS_MAX (4 + BATCHES_MAX)

static size_t collect_layers(const struct volume *v, enum resolve_layers which,
                             const struct extents *layers[LAYERS_MAX])
{
    size_t n = 0;
    if (which == RESOLVE_ALL) {
        layers[n++] = &v->dirty;
        layers[n++] = &v->queued;
        for (struct link *k = list_last(&v->batches); k && k != &v->batches.head; k = k->prev)
            layers[n++] = &CONTAINER_OF(k, struct batch, link)->changes;
        layers[n++] = &v->logged;
    }
    layers[n++] = &v->folding;
    assert(n <= LAYERS_MAX);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (!extents_empty(layers[i]))
            layers[kept++] = layers[i];
    return kept;
}

static struct resolve_layer_part *add_part(struct resolve *r, uint64_t start, uint64_t end)
{
    if (r->part_count == r->part_room) {
        r->part_room = r->part_room ? 2 * r->part_room : 8;
        r->parts = mem_realloc(r->parts, r->part_room * sizeof *r->parts);
    }
    struct resolve_layer_part *p = &r->parts[r->part_count++];
    *p = (struct resolve_layer_part){.start = start, .end = end, .on_map = true};
    return p;
}

/* The topmost layer that covers `at` decides, up to where a layer above it begins. */
static uint64_t add_part_at(struct resolve *r, const struct extents *const layers[], size_t n, uint64_t at)
{
    uint64_t stop = r->end;
    for (size_t i = 0; i < n; i++) {
        const struct extent *e = extents_from(layers[i], at);
        if (!e)
            continue;
        if (e->start > at) {
            stop = MIN(stop, e->start);
            continue;
        }
        stop = MIN(stop, e->end);
        struct resolve_layer_part *p = add_part(r, at, stop);
        p->on_map = false;
        p->content = e->content;
        p->content_start = e->start;
        if (p->content.kind == CONTENT_DATA)
            buf_ref(p->content.data.buf);
        else if (p->content.kind == CONTENT_PIECE)
            piece_ref_get(p->content.piece);
        return stop;
    }
    add_part(r, at, stop);
    return stop;
}

bool resolve_is_layered(const struct volume *v, uint64_t at, uint64_t end, uint64_t *stop)
{
    const struct extents *layers[LAYERS_MAX];
    size_t n = collect_layers(v, RESOLVE_ALL, layers);
    *stop = end;
    for (size_t i = 0; i < n; i++) {
        const struct extent *e = extents_from(layers[i], at);
        if (!e)
            continue;
        if (e->start <= at) {
            *stop = MIN(end, e->end);
            return true;
        }
        *stop = MIN(*stop, e->start);
    }
    return false;
}

static void snapshot_layers(struct resolve *r)
{
    const struct extents *layers[LAYERS_MAX];
    size_t n = collect_layers(r->volume, r->layers, layers);
    r->parts = NULL;
    r->part_count = r->part_room = r->part = 0;
    r->enough = r->canceled = r->walking = false;
    r->err = ERR_OK;
    r->root = r->volume->root;
    uint64_t at = r->start;
    while (at < r->end && (!r->parts_max || r->part_count < r->parts_max))
        at = add_part_at(r, layers, n, at);
    r->end = at;
}

static void drop_parts(struct resolve *r)
{
    for (size_t i = 0; i < r->part_count; i++) {
        const struct content *c = &r->parts[i].content;
        if (r->parts[i].on_map)
            continue;
        if (c->kind == CONTENT_DATA)
            buf_unref(c->data.buf);
        else if (c->kind == CONTENT_PIECE)
            piece_unref(c->piece);
    }
    mem_free(r->parts);
    r->parts = NULL;
}

static bool emit_layer_part(struct resolve *r, const struct resolve_layer_part *p)
{
    struct stretch s = {.start = p->start, .bytes = p->end - p->start};
    s.skip = p->content.skip + (uint32_t)(p->start - p->content_start);
    switch (p->content.kind) {
    case CONTENT_HOLE:
        s.kind = STRETCH_HOLE;
        break;
    case CONTENT_ZEROS:
        s.kind = STRETCH_ZEROS;
        break;
    case CONTENT_DATA:
        s.kind = STRETCH_MEMORY;
        s.buf = p->content.data.buf;
        break;
    case CONTENT_PIECE:
        s.kind = STRETCH_PIECE;
        s.piece = p->content.piece->ref;
        break;
    case CONTENT_LOGGED:
        s.kind = STRETCH_LOGGED;
        s.folder = p->content.logged.folder;
        s.slot = p->content.logged.slot;
        break;
    }
    return r->found(r, &s);
}

static bool found_place(struct walk *w, const struct place *place)
{
    static const enum stretch_kind kinds[] = {[PLACE_HOLE] = STRETCH_HOLE,
                                              [PLACE_ZEROS] = STRETCH_ZEROS,
                                              [PLACE_PIECE] = STRETCH_PIECE,
                                              [PLACE_UNREADABLE] = STRETCH_UNREADABLE};
    struct resolve *r = CONTAINER_OF(w, struct resolve, walk);
    struct stretch s = {
        .start = place->start, .bytes = place->bytes, .kind = kinds[place->kind], .skip = place->skip};
    if (place->kind == PLACE_PIECE)
        s.piece = place->piece;
    r->enough = !r->found(r, &s);
    return !r->enough;
}

static void prepare_walk(struct resolve *r, const struct resolve_layer_part *p)
{
    r->walk = (struct walk){.engine = r->volume->engine,
                            .block_size = r->volume->params.block_size,
                            .priority = r->background ? OBJSTORE_BACKGROUND : OBJSTORE_DEMAND,
                            .root = &r->root,
                            .start = p->start,
                            .end = p->end,
                            .found = found_place};
}

static void resolve_step(struct resolve *r);

static void walk_done(struct walk *w)
{
    struct resolve *r = CONTAINER_OF(w, struct resolve, walk);
    r->walking = false;
    resolve_step(r);
}

static void resolve_step(struct resolve *r)
{
    while (r->part < r->part_count && !r->enough && !r->canceled) {
        const struct resolve_layer_part *p = &r->parts[r->part++];
        if (p->on_map) {
            prepare_walk(r, p);
            r->walk.done = walk_done;
            r->walking = true;
            walk_start(&r->walk);
            return;
        }
        r->enough = !emit_layer_part(r, p);
    }
    r->err = r->canceled ? ERR_CANCELED : ERR_OK;
    drop_parts(r);
    r->done(r);
}

static void started(struct task *t)
{
    resolve_step(CONTAINER_OF(t, struct resolve, task));
}

void resolve_start(struct resolve *r)
{
    snapshot_layers(r);
    r->task = (struct task){.run = started};
    loop_post(r->volume->engine->loop, &r->task);
}

void resolve_cancel(struct resolve *r)
{
    r->canceled = true;
    if (r->walking)
        walk_cancel(&r->walk);
}

bool resolve_now(struct resolve *r)
{
    bool all = true;
    snapshot_layers(r);
    for (size_t i = 0; i < r->part_count && all && !r->enough; i++)
        if (r->parts[i].on_map) {
            prepare_walk(r, &r->parts[i]);
            all = walk_now(&r->walk);
        } else {
            r->enough = !emit_layer_part(r, &r->parts[i]);
        }
    drop_parts(r);
    return all;
}
