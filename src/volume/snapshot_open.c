#include "volume/snapshot_open.h"

#include "base/log.h"
#include "base/mem.h"
#include "volume/pinned.h"
#include "volume/volume_state.h"

/* Lives as long as the volume that reads from it. */
struct snapshot {
    struct pinned pinned;
    struct volume_open *req;
    struct volume *volume;
};

static void died(struct pinned *p)
{
    struct volume *v = CONTAINER_OF(p, struct snapshot, pinned)->volume;
    volume_lose(v, ERR_FENCED);
}

static void open_volume(struct snapshot *s)
{
    const struct pinned *p = &s->pinned;
    struct volume_open *req = s->req;
    struct volume *v = volume_create(p->engine, req->name, &p->params);
    v->snapshot = s;
    v->root = p->root;
    v->manifest.breaks = p->breaks;
    v->lost_cb = req->lost;
    v->lost_ctx = req->ctx;
    v->closed = true;
    s->volume = v;
    s->req = NULL;
    req->volume = v;
    log_info("export", "%s: open for reading", v->name);
}

static void pinned(struct pinned *p)
{
    struct snapshot *s = CONTAINER_OF(p, struct snapshot, pinned);
    struct volume_open *req = s->req;
    req->impl = NULL;
    req->err = p->err;
    req->complaint = p->complaint;
    if (p->err)
        mem_free(s);
    else
        open_volume(s);
    req->done(req);
}

void snapshot_open(struct volume_open *req)
{
    struct snapshot *s = MEM_NEW(struct snapshot);
    req->impl = s;
    req->volume = NULL;
    s->req = req;
    s->pinned.engine = req->engine;
    s->pinned.name = req->name;
    s->pinned.done = pinned;
    s->pinned.died = died;
    pinned_start(&s->pinned);
}

void snapshot_open_cancel(struct volume_open *req)
{
    struct snapshot *s = req->impl;
    if (s)
        pinned_cancel(&s->pinned);
}

const char *snapshot_sibling(const struct snapshot *s, size_t i)
{
    return i < s->pinned.name_count ? s->pinned.names[i] : NULL;
}

void snapshot_free(struct snapshot *s)
{
    if (!s)
        return;
    pinned_drop(&s->pinned);
    mem_free(s);
}
