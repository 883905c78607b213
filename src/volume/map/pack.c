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

enum { NEXT_PAGE, LOOKING, GATHERING, PACKING, DRAINING, ENDED };

/* One block of the page at hand, as it would be. */
struct pack_block {
    unsigned extents;
    uint64_t data_start, data_end; /* from the first to the last byte that is data */
    bool has_data, logged;         /* logged: some of it is in log records only */
    bool whole;                    /* to be written anew */
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

static size_t block_count(const struct pack *p)
{
    uint64_t size = p->volume->params.block_size;
    return (size_t)((p->region_end - p->at + size - 1) / size);
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
    b->logged |= s->kind == STRETCH_LOGGED;
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
    for (uint64_t at = s->start, next; at < stop; at = next) {
        next = MIN(stop, (at / size + 1) * size);
        count_in_block(p, s, at, next);
    }
    return true;
}

static void choose_blocks(struct pack *p)
{
    size_t objects = 0, blocks = block_count(p);
    for (size_t i = 0; i < blocks; i++)
        objects += p->blocks[i].extents ? 1 : 0;
    unsigned limit = p->encoded_bytes + objects * OBJECT_BYTES > PAGE_BYTES_MAX ? 2 : BLOCK_EXTENTS_MAX;
    for (size_t i = 0; i < blocks; i++) {
        struct pack_block *b = &p->blocks[i];
        b->whole = b->extents >= limit && b->has_data;
        if (b->whole)
            mark_hit("block-consolidated");
    }
}

static void resolved(struct resolve *r)
{
    pack_step(CONTAINER_OF(r, struct pack, resolve));
}

static void look_on(struct pack *p)
{
    p->state = LOOKING;
    p->resolve = (struct resolve){.volume = p->volume,
                                  .layers = RESOLVE_FOLDING,
                                  .start = p->looked,
                                  .end = p->region_end,
                                  .parts_max = PACK_LOOK_PARTS,
                                  .found = count_stretch,
                                  .done = resolved};
    resolve_start(&p->resolve);
}

static void look_at_page(struct pack *p)
{
    memset(p->blocks, 0, PAGE_BLOCKS * sizeof *p->blocks);
    p->block = 0;
    p->encoded_bytes = 0;
    p->last_kind = -1;
    p->looked = p->scanned = p->at;
    look_on(p);
}

/* ------------------------------------------------------- bringing data into memory */

static void gathered(struct gather *g)
{
    struct pack *p = CONTAINER_OF(g, struct pack, gather);
    p->loaded += g->bytes;
    p->in_hand += g->bytes;
    pack_step(p);
}

static void gather_block(struct pack *p, size_t i)
{
    const struct pack_block *b = &p->blocks[i];
    p->state = GATHERING;
    p->gather = (struct gather){.volume = p->volume,
                                .start = b->data_start,
                                .end = b->data_end,
                                .only_logged = !b->whole,
                                .done = gathered};
    gather_start(&p->gather);
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
    p->loaded -= u->number;
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
    u->number = p->in_hand;
    p->in_hand = 0;
    list_push(&p->uploads, &u->link);
    p->upload_count++;
    upload_start(u);
}

/* False: enough is on its way; goes on when some of it has arrived. */
static bool pack_up_to(struct pack *p, uint64_t end)
{
    struct volume *v = p->volume;
    struct extent *e;
    while ((e = extents_from(&v->folding, p->scanned)) && e->start < end) {
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
    p->scanned = end; /* what begins behind it may change yet */
    return true;
}

/* There is memory for another block; else what is in hand is sent on its way. */
static bool may_gather(struct pack *p)
{
    if (p->loaded < PACK_LOADED_MAX)
        return true;
    if (p->upload && p->in_hand && p->upload_count < PACK_UPLOADS) {
        mark_hit("pack-memory-bound");
        send_upload(p);
    }
    return p->upload_count == 0;
}

/* True: the page is done. Else it waits for a block, or for uploads. */
static bool pack_page(struct pack *p)
{
    size_t blocks = block_count(p);
    p->state = PACKING;
    while (p->block < blocks && !p->blocks[p->block].whole && !p->blocks[p->block].logged)
        p->block++;
    uint64_t stop = p->block < blocks ? p->at + p->block * p->volume->params.block_size : p->region_end;
    if (!pack_up_to(p, stop))
        return false;
    if (p->block == blocks)
        return true;
    if (may_gather(p))
        gather_block(p, p->block++);
    return false;
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
    mem_free(p->blocks);
    p->blocks = NULL;
    p->err = p->canceled ? ERR_CANCELED : ERR_OK;
    p->done(p);
}

static void pack_next(struct pack *p)
{
    if (next_page(p)) {
        look_at_page(p);
        return;
    }
    if (p->upload)
        send_upload(p);
    p->state = DRAINING;
    step_soon(p);
}

static void pack_step(struct pack *p)
{
    if (p->canceled) {
        finish(p);
        return;
    }
    switch (p->state) {
    case NEXT_PAGE:
        pack_next(p);
        return;
    case LOOKING:
        p->looked = p->resolve.end;
        if (p->looked < p->region_end) {
            look_on(p);
            return;
        }
        choose_blocks(p);
        break;
    case GATHERING:
    case PACKING:
        break;
    case DRAINING:
    case ENDED:
        if (!p->upload_count)
            finish(p);
        return;
    }
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
    p->loaded = p->in_hand = 0;
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
    if (p->state == LOOKING)
        resolve_cancel(&p->resolve);
    else if (p->state == GATHERING)
        gather_cancel(&p->gather);
    else
        step_soon(p);
    LIST_EACH(&p->uploads, k)
    upload_cancel(CONTAINER_OF(k, struct upload, link));
}
