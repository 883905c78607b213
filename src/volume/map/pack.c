#include "volume/map/pack.h"

#include <assert.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/format/page.h"

/* What a page costs, encoded: nearly enough to decide by. */
#define EXTENT_BYTES 20u
#define PIECE_BYTES  56u
#define OBJECT_BYTES 36u

enum { NEXT_PAGE, RESOLVING, LOADING, PACKING, DRAINING, ENDED };

/* One block of the page at hand, as it would be. */
struct pack_block {
    unsigned extents;
    uint64_t data_start, data_end; /* from the first to the last byte that is data */
    bool has_data, unreadable, in_pieces;
};

static void pack_step(struct pack *);

static void step_soon(struct pack *p)
{
    loop_post(p->volume->engine->loop, &p->task);
}

static void task_run(struct task *t)
{
    pack_step(CONTAINER_OF(t, struct pack, task));
}

/* ------------------------------------------------------------ which page is next */

static bool covers(const struct extent *e, uint64_t start, uint64_t end)
{
    bool no_data = e->content.kind == CONTENT_HOLE || e->content.kind == CONTENT_ZEROS;
    return no_data && e->start <= start && e->end >= end;
}

/* The next page that an extent touches without covering it whole. */
static bool next_page(struct pack *p)
{
    struct volume *v = p->volume;
    uint64_t region = page_region(v->params.block_size, 0);
    for (;;) {
        const struct extent *e = extents_from(&v->folding, p->at);
        if (!e)
            return false;
        uint64_t start = MAX(e->start, p->at) / region * region;
        uint64_t end = MIN(start + region, v->params.size);
        if (!covers(e, start, end)) {
            p->at = start;
            p->region_end = end;
            return true;
        }
        p->at = e->end >= v->params.size ? v->params.size : MAX(end, e->end / region * region);
        if (p->at >= v->params.size)
            return false;
    }
}

/* ------------------------------------------------------- what the page would look like */

static bool add_load(struct pack *p, uint64_t start, uint64_t end, bool logged)
{
    if (p->load_count == p->load_room) {
        p->load_room = p->load_room ? 2 * p->load_room : 16;
        p->loads = mem_realloc(p->loads, p->load_room * sizeof *p->loads);
    }
    p->loads[p->load_count++] = (struct pack_load){.start = start, .end = end, .logged = logged};
    return true;
}

static void count_in_block(struct pack *p, const struct stretch *s, uint64_t start, uint64_t end)
{
    struct pack_block *b = &p->blocks[(start - p->at) / p->volume->params.block_size];
    bool data = s->kind != STRETCH_HOLE && s->kind != STRETCH_ZEROS;
    bool continued =
        s->kind == STRETCH_MEMORY && p->last_kind == STRETCH_MEMORY && p->last_end == start && b->extents;
    if (s->kind != STRETCH_HOLE && !continued) {
        b->extents++;
        p->encoded_bytes += EXTENT_BYTES + (data ? PIECE_BYTES : 0);
    }
    b->unreadable |= s->kind == STRETCH_UNREADABLE;
    if (data) {
        if (!b->has_data)
            b->data_start = start;
        b->has_data = true;
        b->data_end = end;
    }
    p->last_kind = (int)s->kind;
    p->last_end = end;
}

static bool count_stretch(struct resolve *r, const struct stretch *s)
{
    struct pack *p = CONTAINER_OF(r, struct pack, resolve);
    uint64_t size = p->volume->params.block_size, stop = s->start + s->bytes;
    if (s->kind == STRETCH_LOGGED)
        add_load(p, s->start, stop, true);
    for (uint64_t at = s->start, next; at < stop; at = next) {
        next = MIN(stop, (at / size + 1) * size);
        count_in_block(p, s, at, next);
    }
    return true;
}

static void choose_blocks(struct pack *p)
{
    size_t objects = 0, blocks = (size_t)((p->region_end - p->at + p->volume->params.block_size - 1) /
                                          p->volume->params.block_size);
    for (size_t i = 0; i < blocks; i++)
        objects += p->blocks[i].extents ? 1 : 0;
    unsigned limit = p->encoded_bytes + objects * OBJECT_BYTES > PAGE_BYTES_MAX ? 2 : BLOCK_EXTENTS_MAX;
    for (size_t i = 0; i < blocks; i++) {
        const struct pack_block *b = &p->blocks[i];
        if (b->extents < limit || b->unreadable || !b->has_data)
            continue;
        mark_hit("block-consolidated");
        add_load(p, b->data_start, b->data_end, false);
    }
}

static void resolved(struct resolve *r)
{
    pack_step(CONTAINER_OF(r, struct pack, resolve));
}

static void look_at_page(struct pack *p)
{
    memset(p->blocks, 0, PAGE_BLOCKS * sizeof *p->blocks);
    p->load_count = p->load = 0;
    p->encoded_bytes = 0;
    p->last_kind = -1;
    p->state = RESOLVING;
    p->resolve = (struct resolve){.volume = p->volume,
                                  .layers = RESOLVE_FOLDING,
                                  .start = p->at,
                                  .end = p->region_end,
                                  .found = count_stretch,
                                  .done = resolved};
    resolve_start(&p->resolve);
}

/* ------------------------------------------------------- bringing data into memory */

static void read_done(struct range_read *r)
{
    pack_step(CONTAINER_OF(r, struct pack, read));
}

static void load_next(struct pack *p)
{
    const struct pack_load *l = &p->loads[p->load];
    p->read = (struct range_read){
        .volume = p->volume, .layers = RESOLVE_FOLDING, .start = l->start, .end = l->end, .done = read_done};
    range_read_start(&p->read);
}

static struct buf *joined(struct engine *e, const struct volume_segment *segments, size_t count, size_t bytes)
{
    budget_take(&e->inline_budget, buf_cost(bytes));
    struct buf *b = buf_create_charged(bytes, &e->inline_budget);
    uint8_t *to = b->data;
    for (size_t i = 0; i < count; i++) {
        size_t n = (size_t)segments[i].bytes;
        if (segments[i].kind == VOLUME_DATA)
            memcpy(to, segments[i].buf->data + segments[i].skip, n);
        else
            memset(to, 0, n);
        to += n;
    }
    return b;
}

/* A log record that can no longer be read: its data is lost, and reading it must say so ever after. */
static void put_lost(struct volume *v, const struct pack_load *l)
{
    log_error("checkpoint", "%s: %llu bytes at %llu were in a log record that cannot be read: lost", v->name,
              (unsigned long long)(l->end - l->start), (unsigned long long)l->start);
    struct piece_ref nowhere = {.bytes = (uint32_t)(l->end - l->start),
                                .stored_bytes = (uint32_t)(l->end - l->start)};
    struct content c = {.kind = CONTENT_PIECE, .piece = piece_create(&nowhere)};
    extents_put(&v->folding, l->start, l->end, &c);
    piece_unref(c.piece);
}

static void loaded(struct pack *p)
{
    struct volume *v = p->volume;
    const struct pack_load *l = &p->loads[p->load++];
    if (p->read.err == ERR_OK) {
        struct content c = {.kind = CONTENT_DATA};
        c.data.buf = joined(v->engine, p->read.segments, p->read.count, (size_t)(l->end - l->start));
        c.data.generation = ++v->engine->generations;
        extents_put(&v->folding, l->start, l->end, &c);
        buf_unref(c.data.buf);
        range_segments_drop(p->read.segments, p->read.count);
        mem_free(p->read.segments);
    } else if (p->read.err == ERR_CORRUPT && l->logged) {
        put_lost(v, l);
    }
}

/* ------------------------------------------------------------------------ uploading */

static void upload_done(struct upload *u)
{
    struct pack *p = u->owner;
    if (u->err == ERR_NOSPACE && !p->canceled) {
        if (!timer_started(&p->retry))
            timer_start(p->volume->engine->loop, &p->retry, RETRY_NS);
        return;
    }
    if (u->err == ERR_OK)
        upload_apply(u, &p->volume->folding);
    list_remove(&u->link);
    upload_destroy(u);
    p->upload_count--;
    if (p->state == PACKING || p->state == DRAINING || p->state == ENDED)
        step_soon(p); /* else it waits for something else */
}

static void retry_uploads(struct timer *t)
{
    struct pack *p = CONTAINER_OF(t, struct pack, retry);
    LIST_EACH(&p->uploads, k)
    {
        struct upload *u = CONTAINER_OF(k, struct upload, link);
        if (!u->running)
            upload_start(u);
    }
}

static void send_upload(struct pack *p)
{
    struct upload *u = p->upload;
    p->upload = NULL;
    u->owner = p;
    u->done = upload_done;
    list_push(&p->uploads, &u->link);
    p->upload_count++;
    upload_start(u);
}

/* False: enough is on its way; goes on when some of it has arrived. */
static bool pack_page(struct pack *p)
{
    struct volume *v = p->volume;
    struct extent *e;
    while ((e = extents_from(&v->folding, p->scanned)) && e->start < p->region_end) {
        bool full = false;
        if (e->content.kind != CONTENT_DATA) {
            p->scanned = e->end;
            continue;
        }
        if (p->upload_count == PACK_UPLOADS)
            return false;
        if (!p->upload)
            p->upload = upload_create(v->engine, v->params.block_size, v->params.object_size);
        struct extent *next = upload_add(p->upload, e, &full);
        if (full)
            send_upload(p);
        else
            p->scanned = next ? next->start : p->region_end;
    }
    return true;
}

/* --------------------------------------------------------------------------- machine */

static void finish(struct pack *p)
{
    p->state = ENDED;
    if (p->canceled)
        LIST_EACH(&p->uploads, k)
        {
            struct upload *u = CONTAINER_OF(k, struct upload, link);
            if (!u->running) {
                list_remove(&u->link);
                upload_destroy(u);
                p->upload_count--;
            }
        }
    if (p->upload_count)
        return;
    timer_stop(&p->retry);
    upload_destroy(p->upload);
    p->upload = NULL;
    mem_free(p->loads);
    mem_free(p->blocks);
    p->loads = NULL;
    p->blocks = NULL;
    p->err = p->canceled ? ERR_CANCELED : ERR_OK;
    p->done(p);
}

static void pack_step(struct pack *p)
{
    if (p->state == LOADING && p->load < p->load_count)
        loaded(p);
    if (p->canceled) {
        finish(p);
        return;
    }
    switch (p->state) {
    case NEXT_PAGE:
        if (next_page(p)) {
            look_at_page(p);
            return;
        }
        if (p->upload)
            send_upload(p);
        p->state = DRAINING;
        step_soon(p);
        return;
    case RESOLVING:
        choose_blocks(p);
        p->state = LOADING;
        if (p->load < p->load_count) {
            load_next(p);
            return;
        }
        break;
    case LOADING:
        if (p->load < p->load_count) {
            load_next(p);
            return;
        }
        break;
    case PACKING:
        break;
    case DRAINING:
    case ENDED:
        if (!p->upload_count)
            finish(p);
        return;
    }
    if (p->state == LOADING)
        p->scanned = p->at;
    p->state = PACKING;
    if (!pack_page(p))
        return;
    p->at = p->region_end;
    p->state = NEXT_PAGE;
    step_soon(p);
}

void pack_start(struct pack *p)
{
    p->state = NEXT_PAGE;
    p->at = 0;
    p->loads = NULL;
    p->load_count = p->load_room = p->load = 0;
    p->blocks = MEM_ARRAY(struct pack_block, PAGE_BLOCKS);
    p->upload = NULL;
    p->upload_count = 0;
    p->canceled = false;
    list_init(&p->uploads);
    p->retry = (struct timer){.fire = retry_uploads};
    p->task = (struct task){.run = task_run};
    step_soon(p);
}

void pack_cancel(struct pack *p)
{
    if (p->state == ENDED && !p->upload_count)
        return;
    p->canceled = true;
    timer_stop(&p->retry);
    if (p->state == RESOLVING)
        resolve_cancel(&p->resolve);
    else if (p->state == LOADING && p->load < p->load_count)
        range_read_cancel(&p->read);
    else
        step_soon(p);
    LIST_EACH(&p->uploads, k)
    upload_cancel(CONTAINER_OF(k, struct upload, link));
}
