/* A fenced server takes a new epoch itself, where the manifest is still the one it wrote (DESIGN §4.6):
 * nothing is lost, nothing is counted. Otherwise the export is lost to it. It is lost as well when this
 * server was declared dead and has something to log that refers to what was stored or found in a turn before
 * the present one: the collector did not wait for it, and may have deleted that. */
#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/log/replay.h"
#include "volume/upload.h"
#include "volume/volume_state.h"

struct retake {
    struct volume *volume;
    enum { RETAKE_QUIET, RETAKE_GET, RETAKE_SEAL, RETAKE_PAUSE, RETAKE_SWAP } state;
    bool stopped;
    struct manifest_get get;
    struct replay replay;
    struct timer pause;
    struct manifest next;
    struct swap swap;
};

static void retake_end(struct retake *r, bool lost)
{
    struct volume *v = r->volume;
    manifest_finish(&r->next);
    mem_free(r);
    v->retake = NULL;
    v->swapping = false;
    if (lost)
        volume_lose(v, ERR_FENCED);
    loop_post(v->engine->loop, &v->pump);
}

static void swapped(struct retake *r)
{
    struct volume *v = r->volume;
    manifest_finish(&v->manifest);
    v->manifest = r->next;
    memset(&r->next, 0, sizeof r->next);
    snprintf(v->etag, sizeof v->etag, "%s", r->swap.etag);
    log_restart(v, r->replay.end);
    v->folder = volume_folder(v, v->manifest.epoch, v->manifest.folder);
    v->checkpoint_first = v->manifest.segment_count >= v->engine->config.limits.segments_max;
    v->older_epochs_clean = false;
    v->fenced = false;
    v->taken_ns = loop_now_ns(v->engine->loop);
    mark_hit("fenced-owner-took-new-epoch");
    log_warn("export", "%s: took a new epoch, %u, itself; nothing was lost", v->name, v->manifest.epoch);
    retake_end(r, false);
    volume_release_answers(v->engine);
    checkpoint_consider(v);
    if (strcmp(v->manifest.owner, v->engine->server_id) != 0)
        retake_start(v, "this server was declared dead meanwhile");
    else
        v->died = false;
}

static void retake_get(struct retake *);

static void swap_done(struct swap *s)
{
    struct retake *r = CONTAINER_OF(s, struct retake, swap);
    if (s->err == ERR_OK) {
        swapped(r);
        return;
    }
    if (s->err == ERR_CONFLICT)
        manifest_finish(&s->found);
    if (r->stopped)
        retake_end(r, false);
    else
        retake_get(r);
}

static void start_swap(struct retake *r)
{
    struct volume *v = r->volume;
    struct manifest *next = &r->next;
    manifest_finish(next);
    manifest_copy(next, &v->manifest);
    if (r->replay.end > next->position) {
        next->segments = mem_realloc(next->segments, (next->segment_count + 1) * sizeof *next->segments);
        struct segment *s = &next->segments[next->segment_count++];
        *s = (struct segment){.epoch = next->epoch, .from = next->position, .to = r->replay.end};
        memcpy(s->nonce, next->folder, sizeof s->nonce);
    }
    next->epoch++;
    next->position = 0;
    snprintf(next->owner, sizeof next->owner, "%s", v->engine->server_id);
    next->fenced_owner[0] = '\0';
    random_folder(v->engine->loop, next->folder);
    manifest_renew(next, v->engine->loop);
    r->state = RETAKE_SWAP;
    r->swap = (struct swap){.engine = v->engine, .name = v->name, .next = next, .done = swap_done};
    snprintf(r->swap.etag, sizeof r->swap.etag, "%s", v->etag);
    snprintf(r->swap.former_nonce, sizeof r->swap.former_nonce, "%s", v->manifest.nonce);
    swap_start(&r->swap);
}

static void paused(struct timer *t)
{
    struct retake *r = CONTAINER_OF(t, struct retake, pause);
    if (r->stopped)
        retake_end(r, false);
    else
        retake_get(r);
}

static bool is_past(const struct piece *p, uint32_t turn)
{
    return p && p->hold && p->hold->turn < turn;
}

static bool extents_refer_to_the_past(const struct extents *x, uint32_t turn)
{
    for (const struct extent *e = extents_from(x, 0); e; e = extents_next(e))
        if (e->content.kind == CONTENT_PIECE && is_past(e->content.piece, turn))
            return true;
    return false;
}

static bool batch_refers_to_the_past(const struct batch *b, uint32_t turn)
{
    LIST_EACH(&b->uploads, k)
    {
        const struct upload *u = CONTAINER_OF(k, struct upload, link);
        for (size_t i = 0; i < u->piece_count; i++)
            if (is_past(u->pieces[i].stored, turn))
                return true;
    }
    return extents_refer_to_the_past(&b->changes, turn);
}

/* What is to be logged or swapped in behind the end of the old log. */
static bool refers_to_the_past(const struct volume *v, uint64_t end)
{
    uint32_t turn = v->engine->turn;
    LIST_EACH(&v->batches, k)
    {
        const struct batch *b = CONTAINER_OF(k, struct batch, link);
        bool logged = b->state >= BATCH_SENT && b->end_slot <= end;
        if (!logged && batch_refers_to_the_past(b, turn))
            return true;
    }
    return checkpoint_refers_to_the_past(v, turn) || extents_refer_to_the_past(&v->dirty, turn) ||
           extents_refer_to_the_past(&v->queued, turn) || extents_refer_to_the_past(&v->logged, turn) ||
           extents_refer_to_the_past(&v->folding, turn);
}

static void sealed(struct replay *p)
{
    struct retake *r = CONTAINER_OF(p, struct retake, replay);
    if (r->stopped) {
        retake_end(r, false);
    } else if (p->err) { /* the manifest tells */
        r->state = RETAKE_PAUSE;
        r->pause.fire = paused;
        timer_start(r->volume->engine->loop, &r->pause, RETRY_NS);
    } else if (r->volume->died && refers_to_the_past(r->volume, p->end)) {
        mark_hit("retake-refers-to-the-past");
        retake_end(r, true);
    } else {
        start_swap(r);
    }
}

static void got_manifest(struct manifest_get *g)
{
    struct retake *r = CONTAINER_OF(g, struct retake, get);
    struct volume *v = r->volume;
    bool ours = !g->err && strcmp(g->manifest.nonce, v->manifest.nonce) == 0;
    if (!g->err)
        manifest_finish(&g->manifest);
    if (r->stopped || !ours) {
        retake_end(r, !r->stopped);
        return;
    }
    snprintf(v->etag, sizeof v->etag, "%s", g->etag);
    r->state = RETAKE_SEAL;
    r->replay = (struct replay){
        .volume = v, .folder = v->folder, .from = v->stored_end, .seal = true, .look = true, .done = sealed};
    replay_start(&r->replay);
}

static void retake_get(struct retake *r)
{
    r->state = RETAKE_GET;
    r->get =
        (struct manifest_get){.engine = r->volume->engine, .name = r->volume->name, .done = got_manifest};
    manifest_get_start(&r->get);
}

void retake_poke(struct volume *v)
{
    struct retake *r = v->retake;
    if (r->state != RETAKE_QUIET)
        return;
    if (r->stopped || v->closed) { /* closed: there is nothing left to be fenced from */
        mem_free(r);
        v->retake = NULL;
        v->fenced = false;
        loop_post(v->engine->loop, &v->pump);
        return;
    }
    if (v->swapping || !log_stopped(v) || !v->engine->turns.fresh)
        return;
    if (v->died && !list_empty(&v->write_backs))
        return; /* each pokes when it is done */
    v->swapping = true;
    retake_get(r);
}

void retake_start(struct volume *v, const char *why)
{
    if (v->lost || v->opening || v->abandoned || v->closed)
        return;
    v->fenced = true;
    if (v->retake)
        return;
    log_warn("export", "%s: fenced: %s", v->name, why);
    v->retake = MEM_NEW(struct retake);
    v->retake->volume = v;
    loop_post(v->engine->loop, &v->pump);
}

void retake_stop(struct volume *v)
{
    struct retake *r = v->retake;
    if (!r)
        return;
    r->stopped = true;
    switch (r->state) {
    case RETAKE_QUIET:
        loop_post(v->engine->loop, &v->pump);
        return;
    case RETAKE_GET:
        manifest_get_cancel(&r->get);
        return;
    case RETAKE_SEAL:
        replay_cancel(&r->replay);
        return;
    case RETAKE_PAUSE:
        timer_start(v->engine->loop, &r->pause, 0);
        return;
    case RETAKE_SWAP:
        swap_cancel(&r->swap);
        return;
    }
}
