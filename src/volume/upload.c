#include "volume/upload.h"

#include <assert.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"

/* In one upload: bounds its descriptors, not its bytes. The largest object of the smallest blocks is full. */
#define SLICES_MAX (OBJECT_SIZE_MAX / BLOCK_SIZE_MIN)

static void upload_step(struct upload *);

struct upload *upload_create(struct engine *engine, uint32_t block_size, uint32_t object_size)
{
    struct upload *u = MEM_NEW(struct upload);
    u->engine = engine;
    u->block_size = block_size;
    u->object_size = object_size;
    return u;
}

static void add_slice(struct upload *u, const struct extent *e)
{
    if (u->slice_count == u->slice_room) {
        u->slice_room = u->slice_room ? 2 * u->slice_room : 32;
        u->slices = mem_realloc(u->slices, u->slice_room * sizeof *u->slices);
    }
    u->slices[u->slice_count++] = (struct upload_slice){.start = e->start,
                                                        .end = e->end,
                                                        .generation = e->content.data.generation,
                                                        .buf = buf_ref(e->content.data.buf),
                                                        .skip = e->content.skip};
}

static struct upload_piece *add_piece(struct upload *u)
{
    if (u->piece_count == u->piece_room) {
        u->piece_room = u->piece_room ? 2 * u->piece_room : 32;
        u->pieces = mem_realloc(u->pieces, u->piece_room * sizeof *u->pieces);
    }
    struct upload_piece *p = &u->pieces[u->piece_count++];
    memset(p, 0, sizeof *p);
    p->first_slice = (uint32_t)u->slice_count;
    return p;
}

struct extent *upload_add(struct upload *u, struct extent *e, bool *full)
{
    assert(e->content.kind == CONTENT_DATA && u->state == UPLOAD_HASH_PIECES && !u->running);
    uint64_t block_end = (e->start / u->block_size + 1) * u->block_size, end = e->start;
    size_t slices = 0;
    struct extent *x = e;
    for (; x && x->content.kind == CONTENT_DATA && x->start == end && x->start < block_end &&
           slices < SLICES_MAX;
         x = extents_next(x)) {
        end = x->end;
        slices++;
    }
    *full = u->piece_count &&
            (u->bytes + (end - e->start) > u->object_size || u->slice_count + slices > SLICES_MAX);
    if (*full)
        return e;
    struct upload_piece *p = add_piece(u);
    p->start = e->start;
    p->bytes = (uint32_t)(end - e->start);
    p->slice_count = (uint32_t)slices;
    lookup_add(&u->by_start, p->start, (uint32_t)u->piece_count - 1);
    u->bytes += p->bytes;
    for (struct extent *s = e; s != x; s = extents_next(s))
        add_slice(u, s);
    return x;
}

bool upload_has(const struct upload *u, const struct extent *e)
{
    uint32_t n;
    for (size_t at = 0; (n = lookup_next(&u->by_start, e->start, &at)) != LOOKUP_NONE;)
        if (u->slices[u->pieces[n].first_slice].generation == e->content.data.generation)
            return true;
    return false;
}

/* ------------------------------------------------------------------ hashing, on a worker thread */

static const uint8_t *slice_bytes(const struct upload_slice *s)
{
    return s->buf->data + s->skip;
}

static bool slices_are_zero(const struct upload *u, const struct upload_piece *p)
{
    for (uint32_t i = 0; i < p->slice_count; i++) {
        const struct upload_slice *s = &u->slices[p->first_slice + i];
        if (!bytes_are_zero(slice_bytes(s), (size_t)(s->end - s->start)))
            return false;
    }
    return true;
}

static void hash_pieces(struct job *j)
{
    struct upload *u = CONTAINER_OF(j, struct upload, job);
    for (size_t i = 0; i < u->piece_count; i++) {
        struct upload_piece *p = &u->pieces[i];
        p->zeros = slices_are_zero(u, p);
        if (p->zeros)
            continue;
        struct sha256_state h;
        sha256_init(&h);
        for (uint32_t k = 0; k < p->slice_count; k++) {
            const struct upload_slice *s = &u->slices[p->first_slice + k];
            sha256_update(&h, slice_bytes(s), (size_t)(s->end - s->start));
        }
        p->hash = sha256_finish(&h);
    }
}

static void hash_object(struct job *j)
{
    struct upload *u = CONTAINER_OF(j, struct upload, job);
    u->object_hash = sha256_of_iov(u->iov, u->iov_count);
}

static void job_done(struct job *j)
{
    upload_step(CONTAINER_OF(j, struct upload, job));
}

static void start_job(struct upload *u, void (*work)(struct job *))
{
    u->job.work = work;
    u->job.done = job_done;
    job_start(u->engine->loop, &u->job);
}

/* ------------------------------------------------------------------------- what is left to be stored */

static bool is_whole_block(const struct upload *u, const struct upload_piece *p)
{
    return p->bytes == u->block_size;
}

static uint64_t hash_key(const struct upload_piece *p)
{
    return get_le64(p->hash.bytes);
}

/* The piece that this upload is storing with that content. */
static uint32_t being_stored(const struct upload *u, const struct upload_piece *p)
{
    uint32_t n;
    for (size_t at = 0; (n = lookup_next(&u->by_hash, hash_key(p), &at)) != LOOKUP_NONE;)
        if (u->pieces[n].bytes == p->bytes && sha256_equal(&u->pieces[n].hash, &p->hash))
            return n;
    return LOOKUP_NONE;
}

/* A block that another upload is storing just now will be known when that is done. */
static bool has_twin_under_way(const struct upload *u)
{
    LIST_EACH(&u->engine->uploads_storing, k)
    {
        const struct upload *other = CONTAINER_OF(k, struct upload, storing);
        for (size_t i = 0; i < u->piece_count; i++)
            if (!u->pieces[i].zeros && is_whole_block(u, &u->pieces[i]) &&
                being_stored(other, &u->pieces[i]) != LOOKUP_NONE)
                return true;
    }
    return false;
}

static void wake_twins(struct engine *e)
{
    struct link *k;
    while ((k = list_pop(&e->uploads_twins)))
        loop_post(e->loop, &CONTAINER_OF(k, struct upload, turn)->task);
}

static void append_to_object(struct upload *u, const struct upload_piece *p)
{
    for (uint32_t k = 0; k < p->slice_count; k++) {
        const struct upload_slice *s = &u->slices[p->first_slice + k];
        u->iov[u->iov_count++] =
            (struct iovec){.iov_base = s->buf->data + s->skip, .iov_len = (size_t)(s->end - s->start)};
    }
    u->object_bytes += p->bytes;
}

static void lay_out_object(struct upload *u)
{
    u->iov = MEM_ARRAY(struct iovec, u->slice_count);
    for (size_t i = 0; i < u->piece_count; i++) {
        struct upload_piece *p = &u->pieces[i];
        struct piece_ref ref;
        if (p->zeros)
            continue;
        if (is_whole_block(u, p) && dedup_find(u->engine->dedup, &p->hash, p->bytes, &ref)) {
            p->stored = piece_create(&ref);
            p->stored->hold = hold_take(&u->engine->turns.holds);
            u->engine->dedup_hits++;
            continue;
        }
        p->same = being_stored(u, p);
        if (p->same == LOOKUP_NONE) {
            p->same = (uint32_t)i;
            lookup_add(&u->by_hash, hash_key(p), p->same);
            append_to_object(u, p);
        } else {
            u->engine->dedup_hits++;
        }
    }
}

static void name_stored_pieces(struct upload *u)
{
    struct piece_ref ref = {.object = u->object};
    uint32_t offset = 0;
    for (size_t i = 0; i < u->piece_count; i++) {
        struct upload_piece *p = &u->pieces[i];
        if (p->zeros || p->stored)
            continue;
        if (p->same != i) {
            p->stored = piece_ref_get(u->pieces[p->same].stored);
            continue;
        }
        ref.offset = offset;
        ref.bytes = ref.stored_bytes = p->bytes;
        ref.hash = p->hash;
        p->stored = piece_create(&ref);
        p->stored->hold = hold_share(u->hold);
        offset += p->bytes;
        if (is_whole_block(u, p))
            turns_learn(&u->engine->turns, &ref, u->age);
        u->engine->blocks_stored++;
    }
    assert(offset == u->object_bytes);
    u->engine->block_bytes_stored += u->object_bytes;
}

/* A block that lies in one buffer of its own is worth keeping: forks and duplicates read it from memory. */
static void remember_in_cache(struct upload *u)
{
    for (size_t i = 0; i < u->piece_count; i++) {
        const struct upload_piece *p = &u->pieces[i];
        const struct upload_slice *s = &u->slices[p->first_slice];
        if (p->zeros || !is_whole_block(u, p) || p->slice_count > 1 || s->skip || s->buf->bytes != p->bytes)
            continue;
        cache_put(u->engine->cache, &p->hash, s->buf);
        buf_recharge(s->buf, NULL); /* the cache counts what it keeps */
    }
}

/* ------------------------------------------------------------------------------ the machine */

static void put_done(struct objstore_req *r)
{
    upload_step(CONTAINER_OF(r, struct upload, req));
}

static void start_put(struct upload *u)
{
    u->object = (struct object_name){.hash = u->object_hash, .turn = u->engine->turn};
    u->hold = hold_take(&u->engine->turns.holds);
    u->age = u->engine->turns.age;
    key_block(&u->key, &u->object);
    u->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = u->key.text,
                                   .body = u->iov,
                                   .body_count = u->iov_count,
                                   .sha256 = &u->object_hash,
                                   .condition = OBJSTORE_ANY,
                                   .done = put_done};
    objstore_submit(u->engine->store, &u->req);
}

static void start_next_waiting(struct engine *e)
{
    struct upload *u = LIST_ENTRY(list_pop(&e->uploads_waiting), struct upload, turn);
    if (!u)
        return;
    e->uploads_running++;
    loop_post(e->loop, &u->task);
}

static void finish(struct upload *u, enum err err)
{
    struct engine *e = u->engine;
    u->err = err;
    u->running = false;
    hold_give(u->hold);
    u->hold = NULL;
    e->uploads_running--;
    list_remove(&u->storing);
    wake_twins(e);
    start_next_waiting(e);
    u->done(u);
}

static void lay_out_or_wait(struct upload *u)
{
    if (u->canceled) {
        finish(u, ERR_CANCELED);
        return;
    }
    if (has_twin_under_way(u)) {
        mark_hit("upload-waits-for-twin");
        list_push(&u->engine->uploads_twins, &u->turn);
        return;
    }
    lay_out_object(u);
    if (!u->object_bytes) {
        u->state = UPLOAD_DONE;
        finish(u, ERR_OK);
        return;
    }
    list_push(&u->engine->uploads_storing, &u->storing);
    u->state = UPLOAD_HASH_OBJECT;
    start_job(u, hash_object);
}

static void upload_step(struct upload *u)
{
    switch (u->state) {
    case UPLOAD_HASH_PIECES:
    case UPLOAD_LAY_OUT:
        u->state = UPLOAD_LAY_OUT;
        lay_out_or_wait(u);
        return;
    case UPLOAD_HASH_OBJECT:
        u->state = UPLOAD_PUT;
        start_put(u);
        if (u->canceled)
            objstore_cancel(&u->req);
        return;
    case UPLOAD_PUT:
        if (u->req.err) {
            u->engine->store_full |= u->req.err == ERR_NOSPACE;
            finish(u, u->req.err);
            return;
        }
        mark_hit("block-stored");
        u->engine->store_full = false;
        name_stored_pieces(u);
        remember_in_cache(u);
        u->state = UPLOAD_DONE;
        finish(u, ERR_OK);
        return;
    case UPLOAD_DONE:
        break;
    }
    assert(!"upload_step: nothing was under way");
}

static void run(struct upload *u)
{
    if (u->canceled)
        finish(u, ERR_CANCELED);
    else if (u->state == UPLOAD_HASH_PIECES)
        start_job(u, hash_pieces);
    else if (u->state == UPLOAD_LAY_OUT)
        lay_out_or_wait(u);
    else {
        list_push(&u->engine->uploads_storing, &u->storing);
        start_put(u);
    }
}

static void my_turn(struct task *t)
{
    run(CONTAINER_OF(t, struct upload, task));
}

void upload_start(struct upload *u)
{
    assert(u->piece_count && !u->running && u->state != UPLOAD_DONE);
    struct engine *e = u->engine;
    u->running = true;
    u->err = ERR_OK;
    u->task.run = my_turn;
    if (e->uploads_running < UPLOADS_MAX) {
        e->uploads_running++;
        loop_post(e->loop, &u->task);
    } else {
        list_push(&e->uploads_waiting, &u->turn);
    }
}

void upload_cancel(struct upload *u)
{
    if (!u->running)
        return;
    u->canceled = true;
    if (link_in_list(&u->turn)) {
        list_remove(&u->turn);
        u->engine->uploads_running += u->state != UPLOAD_LAY_OUT; /* a twin has its turn already */
        loop_post(u->engine->loop, &u->task);
    } else if (u->state == UPLOAD_PUT) {
        objstore_cancel(&u->req);
    }
}

void upload_apply(const struct upload *u, struct extents *layer)
{
    assert(u->state == UPLOAD_DONE);
    for (size_t i = 0; i < u->piece_count; i++) {
        const struct upload_piece *p = &u->pieces[i];
        for (uint32_t k = 0; k < p->slice_count; k++) {
            const struct upload_slice *s = &u->slices[p->first_slice + k];
            extents_stored(layer, s->start, s->end, s->generation, p->stored, p->start);
        }
    }
}

void upload_destroy(struct upload *u)
{
    if (!u)
        return;
    assert(!u->running);
    for (size_t i = 0; i < u->slice_count; i++)
        buf_unref(u->slices[i].buf);
    for (size_t i = 0; i < u->piece_count; i++)
        piece_unref(u->pieces[i].stored);
    lookup_finish(&u->by_start);
    lookup_finish(&u->by_hash);
    mem_free(u->pieces);
    mem_free(u->slices);
    mem_free(u->iov);
    mem_free(u);
}
