/* Opening: read the manifest, see that nobody holds it, replay and seal its log, take it over (DESIGN §4.3).
 * */
#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/format/page.h"
#include "volume/log/replay.h"
#include "volume/membership/liveness.h"
#include "volume/snapshot_open.h"
#include "volume/volume_state.h"

#define RESTARTS_MAX 50u
#define MISSING_MAX                                                                                          \
    5u /* looks for a record that the manifest or a listing names, as long as the manifest is the same */

struct open {
    struct volume_open *req;
    struct engine *engine;
    struct volume *volume; /* from the manifest on */
    enum { OPEN_GET, OPEN_LIVENESS, OPEN_REPLAY, OPEN_SWAP, OPEN_PAUSE } state;
    unsigned restarts, missing;
    char missing_in[ID_HEX]; /* the manifest that misses a record */
    bool canceled;
    enum err name_err;
    size_t segment; /* being replayed; segment_count: the last owner's folder */
    struct manifest now, next;
    char etag[OBJSTORE_ETAG_MAX];
    struct manifest_get get;
    struct liveness liveness;
    struct replay replay;
    struct swap swap;
    struct timer pause;
};

static void open_get(struct open *);

static uint64_t patience_of(const struct open *op)
{
    return op->req->patience_ns ? op->req->patience_ns : op->engine->config.patience_ns;
}

static void open_finish(struct open *op, enum err err)
{
    struct volume_open *req = op->req;
    if (err && op->volume)
        volume_free(op->volume);
    if (!err)
        req->volume = op->volume;
    manifest_finish(&op->now);
    manifest_finish(&op->next);
    mem_free(op);
    req->impl = NULL;
    req->err = err;
    req->done(req);
}

static void paused(struct timer *t)
{
    struct open *op = CONTAINER_OF(t, struct open, pause);
    if (op->canceled || op->name_err)
        open_finish(op, op->canceled ? ERR_CANCELED : op->name_err);
    else
        open_get(op);
}

/* Something has changed under us: from the manifest again, after a jittered pause. */
static void start_over(struct open *op, const char *why)
{
    struct engine *e = op->engine;
    uint32_t jitter;
    mark_hit("open-starts-over");
    log_debug("export", "%s: opening starts over: %s", op->req->name, why);
    if (op->volume)
        volume_free(op->volume);
    op->volume = NULL;
    manifest_finish(&op->now);
    manifest_finish(&op->next);
    if (++op->restarts > RESTARTS_MAX) {
        open_finish(op, complain(&op->req->complaint, ERR_HELD,
                                 "export %s keeps changing hands (%s): try again", op->req->name, why));
        return;
    }
    loop_random(e->loop, &jitter, sizeof jitter);
    op->state = OPEN_PAUSE;
    op->pause.fire = paused;
    timer_start(e->loop, &op->pause, jitter % (20 * NS_PER_MS * op->restarts));
}

/* ----------------------------------------------------------------------- taking over */

static void set_up_volume(struct volume *v, struct open *op)
{
    v->manifest = op->next;
    memset(&op->next, 0, sizeof op->next);
    snprintf(v->etag, sizeof v->etag, "%s", op->swap.etag);
    v->root = v->manifest.root;
    v->folder = volume_folder(v, v->manifest.epoch, v->manifest.folder);
    v->checkpoint_first = v->manifest.segment_count >= v->engine->config.limits.segments_max;
    v->opening = false;
    v->taken_ns = loop_now_ns(v->engine->loop);
    if (v->log_records)
        timer_start(v->engine->loop, &v->checkpoint_timer, v->engine->config.checkpoint_interval_ns);
    log_info("export", "%s: open, epoch %u, %s, %llu log records replayed", v->name, v->manifest.epoch,
             v->params.durable_writes ? "durable writes" : "writes buffered until flushed",
             (unsigned long long)v->log_records);
}

static void swap_done(struct swap *s)
{
    struct open *op = CONTAINER_OF(s, struct open, swap);
    struct volume *v = op->volume;
    mark_hit("takeover-swapped");
    if (s->err == ERR_CONFLICT) {
        manifest_finish(&s->found);
        start_over(op, "another server was faster");
        return;
    }
    if (s->err) {
        op->req->complaint = s->complaint;
        open_finish(op, op->canceled ? ERR_CANCELED : s->err == ERR_UNKNOWN ? ERR_UNAVAILABLE : s->err);
        return;
    }
    set_up_volume(v, op);
    if (strcmp(v->manifest.owner, v->engine->server_id) != 0)
        retake_start(v, "this server was declared dead while it opened the export");
    checkpoint_consider(v);
    open_finish(op, ERR_OK);
}

static void start_swap(struct open *op, bool create)
{
    struct engine *e = op->engine;
    struct manifest *next = &op->next;
    op->state = OPEN_SWAP;
    next->state = MANIFEST_OPEN;
    next->epoch = op->now.id[0] && strcmp(next->id, op->now.id) == 0 ? op->now.epoch + 1 : 1;
    snprintf(next->owner, sizeof next->owner, "%s", e->server_id);
    next->fenced_owner[0] = '\0';
    random_folder(e->loop, next->folder);
    next->position = 0;
    manifest_renew(next, e->loop);
    op->swap = (struct swap){.engine = e,
                             .name = op->req->name,
                             .next = next,
                             .create = create,
                             .patience_ns = patience_of(op),
                             .done = swap_done};
    snprintf(op->swap.etag, sizeof op->swap.etag, "%s", op->etag);
    snprintf(op->swap.former_nonce, sizeof op->swap.former_nonce, "%s", op->now.nonce);
    mark_hit("takeover");
    swap_start(&op->swap);
}

static void make_volume(struct open *op)
{
    struct volume *v = volume_create(op->engine, op->req->name, &op->next.params);
    op->volume = v;
    v->opening = true;
    v->lost_cb = op->req->lost;
    v->lost_ctx = op->req->ctx;
    bool ok = hex_decode(op->next.id, v->export_id, sizeof v->export_id);
    assert(ok);
    (void)ok;
    memcpy(v->manifest.id, op->next.id, sizeof v->manifest.id); /* for the names of its log */
}

static void create_new(struct open *op, bool nothing_there)
{
    struct engine *e = op->engine;
    struct manifest *next = &op->next;
    memset(next, 0, sizeof *next);
    next->serial = op->now.serial;
    next->params = *op->req->create;
    next->created_ms = loop_wall_ms(e->loop);
    next->root.level = page_root_level(next->params.block_size, next->params.size);
    random_id(e->loop, next->id);
    make_volume(op);
    start_swap(op, nothing_there);
}

static void add_segment(struct manifest *m, uint32_t epoch, const char *nonce, uint64_t from, uint64_t to)
{
    if (from == to)
        return;
    m->segments = mem_realloc(m->segments, (m->segment_count + 1) * sizeof *m->segments);
    struct segment *s = &m->segments[m->segment_count++];
    *s = (struct segment){.epoch = epoch, .from = from, .to = to};
    snprintf(s->nonce, sizeof s->nonce, "%s", nonce);
}

static void take_over(struct open *op)
{
    struct manifest *next = &op->next;
    if (op->now.state == MANIFEST_OPEN) {
        add_segment(next, op->now.epoch, op->now.folder, op->now.position, op->replay.end);
        if (!next->params.durable_writes) {
            mark_hit("break-counted");
            next->breaks++;
        }
    }
    start_swap(op, false);
}

/* -------------------------------------------------------------------------- replaying */

static void replay_next(struct open *op);

static void record_is_missing(struct open *op)
{
    if (strcmp(op->missing_in, op->now.nonce) != 0) {
        memcpy(op->missing_in, op->now.nonce, sizeof op->missing_in);
        op->missing = 0;
    }
    if (++op->missing <= MISSING_MAX)
        start_over(op, "a log record that was listed is gone");
    else
        open_finish(op,
                    complain(&op->req->complaint, ERR_CORRUPT,
                             "export %s: a record of its log is missing from the store (the log names it); "
                             "nothing was changed",
                             op->req->name));
}

static void replay_done(struct replay *r)
{
    struct open *op = CONTAINER_OF(r, struct open, replay);
    struct volume *v = op->volume;
    if (r->err == ERR_NOTFOUND) {
        record_is_missing(op);
        return;
    }
    if (r->err) {
        complain(&op->req->complaint, r->err, "export %s: its log cannot be replayed: %s", op->req->name,
                 err_text(r->err));
        open_finish(op, op->canceled ? ERR_CANCELED : r->err);
        return;
    }
    v->log_records += r->records;
    v->log_bytes += r->bytes;
    op->segment++;
    replay_next(op);
}

static void replay_next(struct open *op)
{
    struct volume *v = op->volume;
    const struct manifest *m = &op->now;
    if (op->segment > m->segment_count) {
        take_over(op);
        return;
    }
    op->state = OPEN_REPLAY;
    op->replay = (struct replay){.volume = v, .done = replay_done};
    if (op->segment < m->segment_count) {
        const struct segment *s = &m->segments[op->segment];
        op->replay.folder = volume_folder(v, s->epoch, s->nonce);
        op->replay.from = s->from;
        op->replay.to = s->to;
    } else {
        op->replay.folder = volume_folder(v, m->epoch, m->folder);
        op->replay.from = m->position;
        op->replay.seal = true;
    }
    replay_start(&op->replay);
}

/* --------------------------------------------------------------------- who holds it */

static void liveness_done(struct liveness *l)
{
    struct open *op = CONTAINER_OF(l, struct open, liveness);
    if (op->canceled || l->err) {
        complain(&op->req->complaint, l->err, "export %s: its holder's heartbeat cannot be read: %s",
                 op->req->name, err_text(l->err));
        open_finish(op, op->canceled ? ERR_CANCELED : l->err);
    } else if (!l->dead) {
        open_finish(
            op, complain(&op->req->complaint, ERR_HELD, "export %s is held by %s", op->req->name, l->who));
    } else {
        mark_hit("holder-is-dead");
        replay_next(op);
    }
}

static void look_at_owner(struct open *op)
{
    struct manifest *m = &op->now;
    manifest_copy(&op->next, m);
    op->segment = 0;
    make_volume(op);
    if (m->state == MANIFEST_CLOSED) {
        take_over(op);
    } else if (!m->owner[0] || strcmp(m->owner, op->engine->server_id) == 0) {
        replay_next(op); /* nobody's, or left by an attempt of ours that was given up */
    } else {
        op->state = OPEN_LIVENESS;
        op->liveness =
            (struct liveness){.engine = op->engine, .patience_ns = patience_of(op), .done = liveness_done};
        snprintf(op->liveness.server_id, sizeof op->liveness.server_id, "%s", m->owner);
        liveness_start(&op->liveness);
    }
}

/* -------------------------------------------------------------------------- the manifest */

static void got_manifest(struct manifest_get *g)
{
    struct open *op = CONTAINER_OF(g, struct open, get);
    struct volume_open *req = op->req;
    if (!g->err) {
        op->now = g->manifest;
        snprintf(op->etag, sizeof op->etag, "%s", g->etag);
    }
    bool gone = g->err == ERR_NOTFOUND || (!g->err && op->now.state == MANIFEST_TOMBSTONE);
    if (op->canceled)
        open_finish(op, ERR_CANCELED);
    else if (volume_named(op->engine, req->name))
        open_finish(
            op, complain(&req->complaint, ERR_HELD, "export %s is already open in this process", req->name));
    else if (gone && req->create)
        create_new(op, g->err == ERR_NOTFOUND);
    else if (gone)
        open_finish(op, complain(&req->complaint, ERR_NOTFOUND, "export %s does not exist", req->name));
    else if (g->err) {
        req->complaint = g->complaint;
        open_finish(op, g->err);
    } else if (req->must_create)
        open_finish(op, complain(&req->complaint, ERR_CONFLICT, "export %s exists already", req->name));
    else if (op->now.state == MANIFEST_FORKING)
        open_finish(op, complain(&req->complaint, ERR_HELD, "export %s is still being created", req->name));
    else
        look_at_owner(op);
}

static void open_get(struct open *op)
{
    struct engine *e = op->engine;
    op->state = OPEN_GET;
    op->get = (struct manifest_get){
        .engine = e, .name = op->req->name, .patience_ns = patience_of(op), .done = got_manifest};
    manifest_get_start(&op->get);
}

void volume_open(struct volume_open *req)
{
    assert(req->engine->lease.joined || req->engine->lease.reviving);
    if (names_snapshot(req->name)) {
        snapshot_open(req);
        return;
    }
    struct open *op = MEM_NEW(struct open);
    op->req = req;
    op->engine = req->engine;
    req->impl = op;
    req->err = ERR_OK;
    req->volume = NULL;
    req->complaint.text[0] = '\0';
    op->state = OPEN_PAUSE;
    op->pause.fire = paused;
    op->name_err = export_name_check(req->name, &req->complaint);
    timer_start(op->engine->loop, &op->pause, 0);
}

void volume_open_cancel(struct volume_open *req)
{
    struct open *op = req->impl;
    if (!op)
        return;
    if (names_snapshot(req->name)) {
        snapshot_open_cancel(req);
        return;
    }
    op->canceled = true;
    switch (op->state) {
    case OPEN_GET:
        manifest_get_cancel(&op->get);
        return;
    case OPEN_LIVENESS:
        liveness_cancel(&op->liveness);
        return;
    case OPEN_REPLAY:
        replay_cancel(&op->replay);
        return;
    case OPEN_SWAP:
        swap_cancel(&op->swap);
        return;
    case OPEN_PAUSE:
        timer_start(op->engine->loop, &op->pause, 0);
        return;
    }
}
