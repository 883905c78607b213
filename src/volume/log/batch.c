#include "volume/log/batch.h"

#include <assert.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/format/record.h"
#include "volume/upload.h"

struct record_put {
    struct batch *batch;
    uint64_t slot;
    struct buf *encoded;
    struct iovec body;
    enum { PUT_IDLE, PUT_SENT, PUT_READ_BACK, PUT_STORED } state;
    unsigned attempts;
    bool unsure; /* it may be there already: look before sending it again (DESIGN §4.8) */
    struct key key;
    struct objstore_req req;
    struct timer pause;
};

static void record_step(struct record_put *);

struct batch *batch_create(struct volume *v)
{
    struct batch *b = MEM_NEW(struct batch);
    b->volume = v;
    b->state = BATCH_UPLOADING;
    b->uploads_before = v->upload_number;
    list_init(&b->waiters);
    list_init(&b->uploads);
    extents_init(&b->changes, &v->engine->write_budget);
    extents_move(&b->changes, &v->queued);
    list_move_all(&b->waiters, &v->queued_waiters);
    return b;
}

static void free_records(struct batch *b)
{
    for (size_t i = 0; i < b->record_count; i++) {
        timer_stop(&b->records[i].pause);
        buf_unref(b->records[i].encoded);
    }
    mem_free(b->records);
    b->records = NULL;
    b->record_count = b->records_stored = 0;
    b->record_bytes = 0;
}

void batch_destroy(struct batch *b)
{
    assert(list_empty(&b->waiters) && !batch_busy(b));
    LIST_EACH(&b->uploads, k)
    upload_destroy(CONTAINER_OF(k, struct upload, link));
    free_records(b);
    extents_clear(&b->changes);
    mem_free(b);
}

bool batch_busy(const struct batch *b)
{
    LIST_EACH(&b->uploads, k)
    if (CONTAINER_OF(k, struct upload, link)->running)
        return true;
    for (size_t i = 0; i < b->record_count; i++)
        if (b->records[i].state == PUT_SENT || b->records[i].state == PUT_READ_BACK)
            return true;
    return false;
}

/* ------------------------------------------------------------------ uploads */

static void upload_done(struct upload *u)
{
    struct batch *b = u->owner;
    if (u->err == ERR_OK) {
        upload_apply(u, &b->changes);
        list_remove(&u->link);
        upload_destroy(u);
    } else if (u->err == ERR_NOSPACE) {
        log_out_of_space(b->volume);
    }
    loop_post(b->volume->engine->loop, &b->volume->pump);
}

static void start_upload(struct batch *b, struct upload *u)
{
    u->done = upload_done;
    u->owner = b;
    list_push(&b->uploads, &u->link);
    upload_start(u);
}

static void start_uploads(struct batch *b)
{
    struct volume *v = b->volume;
    struct upload *u = NULL;
    for (struct extent *e = extents_from(&b->changes, 0); e;) {
        bool full = false;
        if (e->content.kind != CONTENT_DATA) {
            e = extents_next(e);
            continue;
        }
        if (!u)
            u = upload_create(v->engine, v->params.block_size, v->params.object_size);
        e = upload_add(u, e, &full);
        if (full) {
            start_upload(b, u);
            u = NULL;
        }
    }
    if (u)
        start_upload(b, u);
}

void batch_prepare(struct batch *b)
{
    if (write_back_pending(b->volume, b->uploads_before))
        return;
    if (!b->uploads_started) {
        b->uploads_started = true;
        if (b->changes.data_bytes > b->volume->engine->config.limits.inline_batch_bytes)
            start_uploads(b);
    }
    if (list_empty(&b->uploads))
        b->state = BATCH_READY;
}

/* ------------------------------------------------------------------ records */

static void record_done(struct objstore_req *r)
{
    record_step(CONTAINER_OF(r, struct record_put, req));
}

static void record_send(struct record_put *p)
{
    struct volume *v = p->batch->volume;
    p->state = PUT_SENT;
    p->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .priority = OBJSTORE_DEMAND,
                                   .key = p->key.text,
                                   .body = &p->body,
                                   .body_count = 1,
                                   .condition = OBJSTORE_CREATE,
                                   .done = record_done};
    objstore_submit(v->engine->store, &p->req);
}

static void record_read_back(struct record_put *p)
{
    p->state = PUT_READ_BACK;
    p->req = (struct objstore_req){.verb = OBJSTORE_GET,
                                   .priority = OBJSTORE_DEMAND,
                                   .key = p->key.text,
                                   .limit = RECORD_BYTES_MAX,
                                   .done = record_done};
    objstore_submit(p->batch->volume->engine->store, &p->req);
}

static void record_paused(struct timer *t)
{
    struct record_put *p = CONTAINER_OF(t, struct record_put, pause);
    if (p->batch->volume->fenced)
        return;
    if (p->unsure)
        record_read_back(p);
    else
        record_send(p);
}

static void record_stored(struct record_put *p)
{
    struct batch *b = p->batch;
    p->state = PUT_STORED;
    b->volume->engine->store_full = false;
    mark_hit("record-stored");
    if (++b->records_stored == b->record_count)
        b->state = BATCH_STORED;
}

/* The same bytes again, a little later: doubling from 50 ms to 5 s, with jitter. */
static void record_again_later(struct record_put *p)
{
    struct volume *v = p->batch->volume;
    uint64_t delay_ns = 50 * NS_PER_MS << (p->attempts < 7 ? p->attempts : 7);
    uint32_t jitter;
    loop_random(v->engine->loop, &jitter, sizeof jitter);
    p->attempts++;
    p->state = PUT_IDLE;
    p->pause.fire = record_paused;
    timer_start(v->engine->loop, &p->pause, MIN(delay_ns, 5 * NS_PER_S) / 2 + jitter % (delay_ns / 2));
}

static void record_put_answered(struct record_put *p)
{
    struct volume *v = p->batch->volume;
    switch (p->req.err) {
    case ERR_OK:
        record_stored(p);
        return;
    case ERR_CONFLICT:
        mark_hit("record-412");
        p->unsure = false;
        record_read_back(p);
        return;
    case ERR_NOSPACE:
        p->state = PUT_IDLE;
        log_out_of_space(v);
        return;
    case ERR_CANCELED:
        p->state = PUT_IDLE;
        return;
    default:
        mark_hit("record-unknown");
        p->unsure = p->req.err == ERR_UNKNOWN;
        record_again_later(p);
    }
}

static void record_read_back_answered(struct record_put *p)
{
    struct volume *v = p->batch->volume;
    struct buf *found = p->req.content;
    if (p->req.err == ERR_CANCELED) {
        p->state = PUT_IDLE;
    } else if (p->req.err == ERR_NOTFOUND && p->unsure) {
        p->unsure = false;
        record_send(p);
    } else if (p->req.err == ERR_OK && found->bytes == p->encoded->bytes &&
               memcmp(found->data, p->encoded->data, found->bytes) == 0) {
        mark_hit("record-412-ours");
        record_stored(p);
    } else {
        if (p->req.err == ERR_NOTFOUND)
            mark_hit("record-412-then-404");
        else
            mark_hit("record-412-foreign");
        p->state = PUT_IDLE;
        retake_start(v, "a log slot of this server holds something else");
    }
    buf_unref(found);
}

static void record_step(struct record_put *p)
{
    struct volume *v = p->batch->volume;
    switch (p->state) {
    case PUT_IDLE:
        record_send(p);
        return;
    case PUT_SENT:
        record_put_answered(p);
        break;
    case PUT_READ_BACK:
        record_read_back_answered(p);
        break;
    case PUT_STORED:
        assert(!"record_step: it was stored already");
    }
    loop_post(v->engine->loop, &v->pump);
}

/* --------------------------------------------------------------- making them */

static void add_record(struct batch *b, struct record_builder *builder, bool last)
{
    struct volume *v = b->volume;
    b->records = mem_realloc(b->records, (b->record_count + 1) * sizeof *b->records);
    struct record_put *p = &b->records[b->record_count++];
    memset(p, 0, sizeof *p);
    p->batch = b;
    p->slot = v->next_slot++;
    struct record_head head = {
        .epoch = v->folder->epoch, .slot = p->slot, .first = b->first_slot, .last = last};
    memcpy(head.export_id, v->export_id, sizeof head.export_id);
    bool ok = hex_decode(v->folder->nonce, head.folder, sizeof head.folder);
    assert(ok);
    (void)ok;
    p->encoded = record_builder_encode(builder, &head);
    b->record_bytes += p->encoded->bytes;
    key_log_slot(&p->key, v->name, v->manifest.id, v->folder->epoch, v->folder->nonce, p->slot);
    record_builder_reset(builder);
}

#define RUN_SLICES_MAX 1024

/* The run of adjacent data that begins at *e, within one block, as one entry. False: does not fit; *e stays.
 * */
static bool add_data_run(struct batch *b, struct record_builder *builder, struct extent **e)
{
    struct iovec iov[RUN_SLICES_MAX];
    size_t n = 0;
    uint32_t block_size = b->volume->params.block_size;
    uint64_t start = (*e)->start, end = start, block_end = (start / block_size + 1) * block_size;
    struct extent *x = *e;
    for (; x && x->content.kind == CONTENT_DATA && x->start == end && x->start < block_end &&
           n < RUN_SLICES_MAX;
         x = extents_next(x)) {
        iov[n++] = (struct iovec){.iov_base = x->content.data.buf->data + x->content.skip,
                                  .iov_len = (size_t)(x->end - x->start)};
        end = x->end;
    }
    bool zeros = true;
    for (size_t i = 0; i < n && zeros; i++)
        zeros = bytes_are_zero(iov[i].iov_base, iov[i].iov_len);
    bool fits = zeros ? record_add_range(builder, start, end - start, ENTRY_ZEROS)
                      : record_add_inline(builder, start, (uint32_t)(end - start), iov, n);
    if (fits)
        *e = x;
    return fits;
}

static bool add_entry(struct batch *b, struct record_builder *builder, struct extent **e)
{
    const struct extent *x = *e;
    uint64_t bytes = x->end - x->start;
    bool fits = false;
    switch (x->content.kind) {
    case CONTENT_DATA:
        return add_data_run(b, builder, e);
    case CONTENT_HOLE:
        fits = record_add_range(builder, x->start, bytes, ENTRY_HOLE);
        break;
    case CONTENT_ZEROS:
        fits = record_add_range(builder, x->start, bytes, ENTRY_ZEROS);
        break;
    case CONTENT_PIECE:
        fits = record_add_piece(builder, x->start, bytes, &x->content.piece->ref, x->content.skip);
        break;
    case CONTENT_LOGGED:
        assert(!"add_entry: logged content in a batch");
    }
    if (fits)
        *e = extents_next(x);
    return fits;
}

void batch_send(struct batch *b)
{
    struct volume *v = b->volume;
    struct record_builder *builder = record_builder_create(v->engine->config.limits.record_bytes);
    b->first_slot = v->next_slot;
    for (struct extent *e = extents_from(&b->changes, 0); e;)
        if (!add_entry(b, builder, &e)) {
            assert(record_builder_entries(builder) > 0);
            add_record(b, builder, false);
        }
    add_record(b, builder, true);
    record_builder_destroy(builder);
    b->end_slot = v->next_slot;
    b->state = BATCH_SENT;
    if (b->record_count > 1)
        mark_hit("batch-of-records");
    for (size_t i = 0; i < b->record_count; i++) {
        struct record_put *p = &b->records[i];
        p->body = (struct iovec){.iov_base = p->encoded->data, .iov_len = p->encoded->bytes};
        record_send(p);
    }
}

void batch_recall(struct batch *b)
{
    if (b->state != BATCH_SENT && b->state != BATCH_STORED)
        return; /* uploads may go on: no slot was given out */
    assert(!batch_busy(b));
    free_records(b);
    b->state = BATCH_READY;
}

void batch_retry(struct batch *b)
{
    LIST_EACH(&b->uploads, k)
    {
        struct upload *u = CONTAINER_OF(k, struct upload, link);
        if (!u->running)
            upload_start(u);
    }
    for (size_t i = 0; i < b->record_count; i++) {
        struct record_put *p = &b->records[i];
        if (p->state == PUT_IDLE && !timer_started(&p->pause))
            record_send(p);
    }
}

void batch_stop(struct batch *b)
{
    LIST_EACH(&b->uploads, k)
    upload_cancel(CONTAINER_OF(k, struct upload, link));
    for (size_t i = 0; i < b->record_count; i++) {
        timer_stop(&b->records[i].pause);
        objstore_cancel(&b->records[i].req);
    }
}

struct buf *batch_record(const struct batch *b, size_t i)
{
    return b->records[i].encoded;
}
