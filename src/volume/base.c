#include "volume/base.h"

#include "base/mem.h"

static void pinned(struct pinned *p)
{
    struct volume_base *b = CONTAINER_OF(p, struct volume_base, pinned);
    struct volume_base_open *req = b->req;
    b->req = NULL;
    req->impl = NULL;
    req->err = p->err;
    req->complaint = p->complaint;
    if (p->err)
        mem_free(b);
    else
        req->base = b;
    req->done(req);
}

/* Pages that are gone count as changed. */
static void died(struct pinned *p)
{
    (void)p;
}

void volume_base_open(struct volume_base_open *req)
{
    struct volume_base *b = MEM_NEW(struct volume_base);
    req->impl = b;
    req->base = NULL;
    b->req = req;
    b->pinned.engine = req->engine;
    b->pinned.name = req->name;
    b->pinned.done = pinned;
    b->pinned.died = died;
    pinned_start(&b->pinned);
}

void volume_base_open_cancel(struct volume_base_open *req)
{
    struct volume_base *b = req->impl;
    if (b)
        pinned_cancel(&b->pinned);
}

void volume_base_close(struct volume_base *b)
{
    if (!b)
        return;
    pinned_drop(&b->pinned);
    mem_free(b);
}
