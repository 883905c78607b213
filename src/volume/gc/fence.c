#include "volume/gc/fence.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/volume_state.h"

static void finish(struct fence *f, enum err err)
{
    manifest_finish(&f->next);
    volume_free(f->volume);
    f->volume = NULL;
    f->err = err;
    f->done(f);
}

static void swapped(struct swap *s)
{
    struct fence *f = CONTAINER_OF(s, struct fence, swap);
    if (s->err == ERR_CONFLICT)
        manifest_finish(&s->found);
    if (s->err == ERR_OK)
        log_warn("gc", "%s: taken from server %s, which is not heard of; nobody holds it now", f->name,
                 f->manifest->owner);
    finish(f, s->err == ERR_UNKNOWN ? ERR_CANCELED : s->err);
}

static void add_segment(struct manifest *m, uint64_t end)
{
    if (end == m->position)
        return;
    m->segments = mem_realloc(m->segments, (m->segment_count + 1) * sizeof *m->segments);
    struct segment *s = &m->segments[m->segment_count++];
    *s = (struct segment){.epoch = m->epoch, .from = m->position, .to = end};
    memcpy(s->nonce, m->folder, sizeof s->nonce);
}

static void start_swap(struct fence *f)
{
    struct manifest *m = &f->next;
    manifest_copy(m, f->manifest);
    add_segment(m, f->replay.end);
    m->epoch++;
    m->position = 0;
    memcpy(m->fenced_owner, m->owner, sizeof m->owner);
    memcpy(m->fenced_nonce, m->nonce, sizeof m->nonce);
    m->owner[0] = '\0';
    random_folder(f->engine->loop, m->folder);
    manifest_renew(m, f->engine->loop);
    f->swapping = true;
    f->swap = (struct swap){.engine = f->engine, .name = f->name, .next = m, .done = swapped};
    memcpy(f->swap.etag, f->etag, sizeof f->etag);
    memcpy(f->swap.former_nonce, f->manifest->nonce, sizeof f->swap.former_nonce);
    mark_hit("gc-fences");
    swap_start(&f->swap);
}

static void sealed(struct replay *r)
{
    struct fence *f = CONTAINER_OF(r, struct fence, replay);
    if (r->err == ERR_OK &&
        (r->end == f->manifest->position || f->manifest->segment_count < MANIFEST_SEGMENTS_MAX))
        start_swap(f);
    else if (r->err == ERR_NOTFOUND)
        finish(f, ERR_CONFLICT);
    else
        finish(f, r->err ? r->err : ERR_CORRUPT);
}

void fence_start(struct fence *f)
{
    const struct manifest *m = f->manifest;
    assert(f->done && m->state == MANIFEST_OPEN);
    struct volume *v = volume_create(f->engine, f->name, &m->params);
    list_remove(&v->link);
    v->opening = true;
    memcpy(v->manifest.id, m->id, sizeof m->id);
    bool ok = hex_decode(m->id, v->export_id, sizeof v->export_id);
    assert(ok);
    (void)ok;
    f->volume = v;
    f->next = (struct manifest){0};
    f->swapping = false;
    f->replay = (struct replay){.volume = v,
                                .folder = volume_folder(v, m->epoch, m->folder),
                                .from = m->position,
                                .seal = true,
                                .look = true,
                                .done = sealed};
    replay_start(&f->replay);
}

void fence_cancel(struct fence *f)
{
    if (f->swapping)
        swap_cancel(&f->swap);
    else
        replay_cancel(&f->replay);
}
