#include "base/log.h"
#include "base/mem.h"
#include "volume/log/batch.h"
#include "volume/upload.h"

/* Remembered: enough for the largest object of the smallest blocks. What is forgotten is stored by the next
 * flush. */
#define FULL_BLOCKS_MAX (OBJECT_SIZE_MAX / BLOCK_SIZE_MIN)

/* --------------------------------------------------------- which blocks are wholly dirty */

static bool wholly_dirty(const struct volume *v, uint64_t start, uint64_t end)
{
    const struct extent *e = extents_from(&v->dirty, start);
    uint64_t at = start;
    for (; e && at < end && e->start <= at && e->content.kind == CONTENT_DATA; e = extents_next(e))
        at = e->end;
    return at >= end;
}

static uint64_t *nth(struct volume *v, size_t i)
{
    return &v->full_blocks[(v->full_first + i) % v->full_room];
}

static void make_room(struct volume *v)
{
    size_t room = v->full_room ? 2 * v->full_room : 64;
    uint64_t *larger = MEM_ARRAY(uint64_t, room);
    for (size_t i = 0; i < v->full_count; i++)
        larger[i] = *nth(v, i);
    mem_free(v->full_blocks);
    v->full_blocks = larger;
    v->full_room = room;
    v->full_first = 0;
}

static void remember(struct volume *v, uint64_t block)
{
    if (v->full_count == FULL_BLOCKS_MAX || (v->full_count && *nth(v, v->full_count - 1) == block))
        return;
    if (v->full_count == v->full_room)
        make_room(v);
    *nth(v, v->full_count++) = block;
}

void write_back_forget(struct volume *v)
{
    mem_free(v->full_blocks);
    v->full_blocks = NULL;
    v->full_first = v->full_count = v->full_room = 0;
}

void write_back_note(struct volume *v, uint64_t start, uint64_t end)
{
    uint64_t size = v->params.block_size;
    for (uint64_t block = start / size; block * size < end; block++)
        if (wholly_dirty(v, block * size, (block + 1) * size))
            remember(v, block);
    if (v->full_count * size >= v->params.object_size)
        write_back_start(v);
}

/* ----------------------------------------------------------------------- uploading them */

static bool on_its_way(const struct volume *v, const struct upload *being_made, const struct extent *e)
{
    if (upload_has(being_made, e))
        return true;
    LIST_EACH(&v->write_backs, k)
    if (upload_has(CONTAINER_OF(k, struct upload, link), e))
        return true;
    return false;
}

static void upload_done(struct upload *u)
{
    struct volume *v = u->owner;
    if (u->err == ERR_OK) {
        upload_apply(u, &v->dirty);
        upload_apply(u, &v->queued);
        LIST_EACH(&v->batches, k)
        upload_apply(u, &CONTAINER_OF(k, struct batch, link)->changes);
    } else if (u->err == ERR_NOSPACE) {
        log_out_of_space(v);
    }
    list_remove(&u->link);
    upload_destroy(u);
    loop_post(v->engine->loop, &v->pump);
}

void write_back_start(struct volume *v)
{
    uint64_t size = v->params.block_size;
    struct upload *u = upload_create(v->engine, v->params.block_size, v->params.object_size);
    bool full = false;
    while (v->full_count && !full) {
        uint64_t start = *nth(v, 0) * size;
        struct extent *e = wholly_dirty(v, start, start + size) ? extents_from(&v->dirty, start) : NULL;
        if (e && !on_its_way(v, u, e))
            upload_add(u, e, &full);
        if (full)
            break;
        v->full_first = (v->full_first + 1) % v->full_room;
        v->full_count--;
    }
    if (!u->piece_count) {
        upload_destroy(u);
        return;
    }
    u->number = ++v->upload_number;
    u->owner = v;
    u->done = upload_done;
    list_push(&v->write_backs, &u->link);
    upload_start(u);
}

bool write_back_pending(const struct volume *v, uint64_t up_to_number)
{
    const struct upload *first = LIST_ENTRY(list_first(&v->write_backs), struct upload, link);
    return first && first->number <= up_to_number;
}

/* ------------------------------------------------------------------- when the buffer fills */

/* What a flush would have to take care of: all that is dirty and not on its way already. */
static size_t footprint(const struct volume *v)
{
    uint64_t on_the_way = 0;
    LIST_EACH(&v->write_backs, k)
    on_the_way += CONTAINER_OF(k, struct upload, link)->bytes;
    uint64_t data = v->dirty.data_bytes > on_the_way ? v->dirty.data_bytes - on_the_way : 0;
    return (size_t)data + v->dirty.count * sizeof(struct extent);
}

/* Half full: whoever holds a good part of it begins to store; with somebody waiting, whoever can. */
void write_back_pressure(struct engine *e)
{
    struct budget *b = &e->write_budget;
    struct volume *most = NULL;
    bool waiting = !list_empty(&b->waiters);
    if (!waiting && b->used < b->limit / 2)
        return;
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        if (!v->lost && footprint(v) && (!most || footprint(v) > footprint(most)))
            most = v;
    }
    if (!most)
        return;
    bool nothing_under_way =
        extents_empty(&most->queued) && !most->batch_count && list_empty(&most->write_backs);
    if (footprint(most) >= b->limit / 8 || (waiting && nothing_under_way))
        log_flush(most, NULL);
}
