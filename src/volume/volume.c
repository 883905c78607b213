#include "volume/volume.h"

#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/log/batch.h"
#include "volume/read/requests.h"
#include "volume/upload.h"

/* ------------------------------------------------------------------- answering */

static void deliver(struct task *t)
{
    struct volume_req *req = CONTAINER_OF(t, struct volume_req, task);
    req->volume->busy--;
    req->done(req);
}

static void let_go(struct volume *v, struct volume_req *req)
{
    if (v->lost)
        req->err = ERR_FENCED;
    req->task.run = deliver;
    loop_post(v->engine->loop, &req->task);
}

void volume_answer(struct volume *v, struct volume_req *req, enum err err)
{
    req->err = err;
    if (v->lost || (!v->fenced && engine_may_answer(v->engine)))
        let_go(v, req);
    else
        list_push(&v->answers, &req->link);
}

void volume_release_answers(struct engine *e)
{
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        struct link *a;
        while ((v->lost || (!v->fenced && engine_may_answer(e))) && (a = list_pop(&v->answers)))
            let_go(v, CONTAINER_OF(a, struct volume_req, link));
    }
}

bool volume_may_refer(const struct volume *v)
{
    return v->engine->lease.confirmed_ns >= v->taken_ns;
}

bool volume_asks_to_refer(struct volume *v)
{
    mark_hit("reference-waits-for-heartbeat");
    lease_beat_soon(&v->engine->lease);
    return false;
}

void volume_gates_open(struct engine *e)
{
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        if (!v->opening && (v->batch_count || v->checkpoint))
            loop_post(e->loop, &v->pump);
    }
}

void volume_lose(struct volume *v, enum err why)
{
    if (v->lost)
        return;
    if (v->snapshot)
        log_error("export", "%s: this server was declared dead: it may be gone", v->name);
    else
        log_error("export", "%s: taken over by another server: nothing more is acknowledged here", v->name);
    v->lost = true;
    timer_stop(&v->flush_timer);
    timer_stop(&v->checkpoint_timer);
    volume_refuse_waiting(v->engine, v, ERR_FENCED);
    log_stop(v, ERR_FENCED);
    checkpoint_stop(v);
    changes_refuse(v, &v->changes, ERR_FENCED);
    LIST_EACH(&v->write_backs, k)
    upload_cancel(CONTAINER_OF(k, struct upload, link));
    volume_release_answers(v->engine);
    if (v->lost_cb)
        v->lost_cb(v, v->lost_ctx, why);
}

/* -------------------------------------------------------------------- changes */

static void there_is_room(struct budget_wait *w)
{
    struct volume_req *req = CONTAINER_OF(w, struct volume_req, admission);
    volume_answer(req->volume, req, ERR_OK);
}

static void changed(struct volume *v, struct volume_req *req)
{
    struct engine *e = v->engine;
    if (!timer_started(&v->flush_timer))
        timer_start(e->loop, &v->flush_timer, e->config.flush_interval_ns);
    if (e->write_budget.used >= e->write_budget.limit / 2)
        loop_post(e->loop, &e->pressure);
    if (v->params.durable_writes || req->flags & VOLUME_FUA) {
        log_flush(v, req);
    } else if (req->verb != VOLUME_WRITE &&
               (e->write_budget.used > e->write_budget.limit || !list_empty(&e->write_budget.waiters))) {
        /* WRITEs waited before they were received; these take memory as well, if little: their clients wait
         * now, and behind whoever waits already, or a large WRITE would wait for ever */
        req->admission = (struct budget_wait){.granted = there_is_room};
        budget_wait(&e->write_budget, &req->admission);
    } else {
        volume_answer(v, req, ERR_OK);
    }
}

static void write_submit(struct volume *v, struct volume_req *req)
{
    uint64_t at = req->offset;
    for (size_t i = 0; i < req->payload_count; i++) {
        struct buf *b = req->payload[i];
        struct content c = {.kind = CONTENT_DATA, .data = {.buf = b, .generation = ++v->engine->generations}};
        extents_put(&v->dirty, at, at + b->bytes, &c);
        at += b->bytes;
    }
    assert(at == req->offset + req->bytes);
    write_back_note(v, req->offset, at);
    changed(v, req);
}

static void clear_submit(struct volume *v, struct volume_req *req)
{
    bool hole = req->verb == VOLUME_TRIM || !(req->flags & VOLUME_NO_HOLE);
    struct content c = {.kind = hole ? CONTENT_HOLE : CONTENT_ZEROS};
    extents_put(&v->dirty, req->offset, req->offset + req->bytes, &c);
    changed(v, req);
}

void volume_submit(struct volume *v, struct volume_req *req)
{
    assert(!v->closing && req->offset <= v->params.size && req->bytes <= v->params.size - req->offset);
    req->volume = v;
    req->err = ERR_OK;
    v->busy++;
    if (v->lost) {
        volume_answer(v, req, ERR_FENCED);
        return;
    }
    bool change = req->verb == VOLUME_WRITE || req->verb == VOLUME_TRIM || req->verb == VOLUME_ZERO;
    assert(!change || !v->snapshot);
    bool durable = change && (v->params.durable_writes || req->flags & VOLUME_FUA);
    if ((req->verb == VOLUME_FLUSH && !v->snapshot) || (durable && !req->bytes)) {
        log_flush(v, req);
        return;
    }
    if (!req->bytes || req->verb == VOLUME_FLUSH) {
        volume_answer(v, req, ERR_OK);
        return;
    }
    switch (req->verb) {
    case VOLUME_WRITE:
        write_submit(v, req);
        return;
    case VOLUME_TRIM:
    case VOLUME_ZERO:
        clear_submit(v, req);
        return;
    case VOLUME_READ:
    case VOLUME_CACHE:
        read_submit(req);
        return;
    case VOLUME_STATUS:
        status_submit(req);
        return;
    case VOLUME_CHANGES:
        changes_submit(req);
        return;
    case VOLUME_FLUSH:
        break;
    }
    assert(!"volume_submit: no such verb");
}

void volume_req_finish(struct volume_req *req)
{
    for (size_t i = 0; i < req->segment_count; i++)
        buf_unref(req->segments[i].buf);
    if (req->segments != req->few)
        mem_free(req->segments);
    req->segments = NULL;
    req->segment_count = 0;
    for (size_t i = 0; i < req->payload_count; i++)
        buf_unref(req->payload[i]);
    mem_free(req->payload);
    req->payload = NULL;
    req->payload_count = 0;
}

/* ----------------------------------------------------------- memory for payloads */

static uint64_t piece_end(const struct volume *v, uint64_t at, uint64_t end)
{
    return MIN(end, (at / v->params.block_size + 1) * v->params.block_size);
}

static size_t payload_cost(const struct volume *v, const struct volume_req *req)
{
    uint64_t end = req->offset + req->bytes;
    size_t cost = 0;
    for (uint64_t at = req->offset, next; at < end; at = next) {
        next = piece_end(v, at, end);
        cost += buf_cost((size_t)(next - at));
    }
    return cost;
}

static void make_payload(struct volume_req *req)
{
    const struct volume *v = req->volume;
    uint64_t end = req->offset + req->bytes, first = req->offset / v->params.block_size;
    req->payload = MEM_ARRAY(struct buf *, (size_t)((end - 1) / v->params.block_size - first + 1));
    req->payload_count = 0;
    for (uint64_t at = req->offset, next; at < end; at = next) {
        next = piece_end(v, at, end);
        req->payload[req->payload_count++] =
            buf_create_charged((size_t)(next - at), &v->engine->write_budget);
    }
}

static void admitted(struct task *t)
{
    struct volume_req *req = CONTAINER_OF(t, struct volume_req, task);
    req->volume->busy--;
    req->admitted(req);
}

static void admit_later(struct volume_req *req, enum err err)
{
    req->err = err;
    req->task.run = admitted;
    loop_post(req->volume->engine->loop, &req->task);
}

static void granted(struct budget_wait *w)
{
    struct volume_req *req = CONTAINER_OF(w, struct volume_req, admission);
    make_payload(req);
    admit_later(req, ERR_OK);
}

void volume_refuse_waiting(struct engine *e, const struct volume *only, enum err err)
{
    LIST_EACH(&e->write_budget.waiters, k)
    {
        struct budget_wait *w = CONTAINER_OF(k, struct budget_wait, link);
        struct volume_req *req = CONTAINER_OF(w, struct volume_req, admission);
        if (only && req->volume != only)
            continue;
        list_remove(k);
        if (w->granted == granted)
            admit_later(req, err);
        else
            volume_answer(req->volume, req, err);
    }
}

bool volume_prepare_write(struct volume *v, struct volume_req *req)
{
    assert(req->bytes > 0 && req->bytes <= VOLUME_REQUEST_MAX && !req->payload && !v->snapshot);
    struct engine *e = v->engine;
    req->volume = v;
    req->err = ERR_OK;
    req->admission = (struct budget_wait){.bytes = payload_cost(v, req), .granted = granted};
    if (!v->lost && budget_try(&e->write_budget, req->admission.bytes)) {
        make_payload(req);
        return true;
    }
    v->busy++;
    if (v->lost) {
        admit_later(req, ERR_FENCED);
        return false;
    }
    budget_wait(&e->write_budget, &req->admission);
    loop_post(e->loop, &e->pressure);
    return false;
}

void volume_drop_write(struct volume *v, struct volume_req *req)
{
    bool waiting = link_in_list(&req->admission.link), answered = link_in_list(&req->task.link);
    budget_unwait(&v->engine->write_budget, &req->admission);
    task_cancel(&req->task);
    if (waiting || answered)
        v->busy--;
    volume_req_finish(req);
}

/* ------------------------------------------------------------------------ life */

static void pump(struct task *t)
{
    struct volume *v = CONTAINER_OF(t, struct volume, pump);
    log_pump(v);
    if (v->retake)
        retake_poke(v);
    if (v->checkpoint)
        checkpoint_poke(v);
    close_poke(v);
}

static void flush_due(struct timer *t)
{
    log_flush(CONTAINER_OF(t, struct volume, flush_timer), NULL);
}

static void checkpoint_due(struct timer *t)
{
    checkpoint_want(CONTAINER_OF(t, struct volume, checkpoint_timer));
}

static void retry_due(struct timer *t)
{
    log_retry(CONTAINER_OF(t, struct volume, retry_timer));
}

struct volume *volume_create(struct engine *e, const char *name, const struct export_params *params)
{
    struct volume *v = MEM_NEW(struct volume);
    v->engine = e;
    snprintf(v->name, sizeof v->name, "%s", name);
    v->params = *params;
    list_init(&v->folders);
    list_init(&v->queued_waiters);
    list_init(&v->batches);
    list_init(&v->write_backs);
    list_init(&v->answers);
    list_init(&v->changes);
    readahead_init(&v->readahead);
    extents_init(&v->dirty, &e->write_budget);
    extents_init(&v->queued, &e->write_budget);
    extents_init(&v->logged, &e->inline_budget);
    extents_init(&v->folding, &e->inline_budget);
    v->pump.run = pump;
    v->flush_timer.fire = flush_due;
    v->checkpoint_timer.fire = checkpoint_due;
    v->retry_timer.fire = retry_due;
    list_push(&e->volumes, &v->link);
    return v;
}

struct volume *volume_named(const struct engine *e, const char *name)
{
    LIST_EACH(&e->volumes, k)
    if (strcmp(CONTAINER_OF(k, struct volume, link)->name, name) == 0)
        return CONTAINER_OF(k, struct volume, link);
    return NULL;
}

struct log_folder *volume_folder(struct volume *v, uint32_t epoch, const char *nonce)
{
    LIST_EACH(&v->folders, k)
    {
        struct log_folder *f = CONTAINER_OF(k, struct log_folder, link);
        if (f->epoch == epoch && strcmp(f->nonce, nonce) == 0)
            return f;
    }
    struct log_folder *f = MEM_NEW(struct log_folder);
    f->epoch = epoch;
    snprintf(f->nonce, sizeof f->nonce, "%s", nonce);
    list_push(&v->folders, &f->link);
    return f;
}

void volume_free(struct volume *v)
{
    struct link *k;
    assert(!v->checkpoint && !v->retake && list_empty(&v->write_backs) && list_empty(&v->answers));
    assert(list_empty(&v->changes) && readahead_stopped(v));
    list_remove(&v->link);
    timer_stop(&v->flush_timer);
    timer_stop(&v->checkpoint_timer);
    timer_stop(&v->retry_timer);
    task_cancel(&v->pump);
    while ((k = list_pop(&v->batches)))
        batch_destroy(CONTAINER_OF(k, struct batch, link));
    extents_clear(&v->dirty);
    extents_clear(&v->queued);
    extents_clear(&v->logged);
    extents_clear(&v->folding);
    while ((k = list_pop(&v->folders)))
        mem_free(CONTAINER_OF(k, struct log_folder, link));
    manifest_finish(&v->manifest);
    snapshot_free(v->snapshot);
    write_back_forget(v);
    mem_free(v);
}

void volume_info(const struct volume *v, struct volume_info *info)
{
    snprintf(info->name, sizeof info->name, "%s", v->name);
    info->read_only = v->snapshot;
    info->size = v->params.size;
    info->block_size = v->params.block_size;
    info->object_size = v->params.object_size;
    info->durable_writes = v->params.durable_writes;
    info->breaks = v->manifest.breaks;
    info->epoch = v->manifest.epoch;
}

const char *volume_snapshot(const struct volume *v, size_t i)
{
    if (v->snapshot)
        return snapshot_sibling(v->snapshot, i);
    return i < v->manifest.snapshot_count ? v->manifest.snapshots[i].name : NULL;
}

struct engine *volume_engine(const struct volume *v)
{
    return v->engine;
}

void volume_stats(const struct volume *v, struct volume_stats *s)
{
    *s = (struct volume_stats){.dirty_bytes = v->dirty.data_bytes + v->queued.data_bytes,
                               .logged_bytes = v->log_bytes,
                               .log_records = v->log_records,
                               .checkpoints = v->checkpoints,
                               .records_written = v->records_written,
                               .store_full = v->engine->store_full};
    LIST_EACH(&v->batches, k)
    s->dirty_bytes += CONTAINER_OF(k, struct batch, link)->changes.data_bytes;
}
