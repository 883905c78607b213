#include "cli/volume_run.h"

struct opening {
    struct volume_open open;
    struct runtime *runtime;
};

static void opened(struct volume_open *o)
{
    runtime_wake(CONTAINER_OF(o, struct opening, open)->runtime);
}

static void cancel_open(struct runtime *r, int count)
{
    (void)count;
    struct opening *o = r->interrupted_ctx;
    volume_open_cancel(&o->open);
}

/* Whoever works on the volume learns of it from the answers to its requests. */
static void lost(struct volume *v, void *ctx, enum err why)
{
    (void)v, (void)ctx, (void)why;
}

enum err volume_run_open(struct runtime *r, const char *name, const struct export_params *create,
                         struct volume **volume, struct complaint *c)
{
    struct opening o = {.open = {.engine = r->engine,
                                 .name = name,
                                 .create = create,
                                 .must_create = create != NULL,
                                 .lost = lost,
                                 .done = opened},
                        .runtime = r};
    r->interrupted = cancel_open;
    r->interrupted_ctx = &o;
    volume_open(&o.open);
    runtime_wait(r);
    r->interrupted = NULL;
    *c = o.open.complaint;
    if (!o.open.err)
        *volume = o.open.volume;
    return o.open.err;
}

struct closing {
    struct volume_close close;
    struct runtime *runtime;
};

static void closed(struct volume_close *c)
{
    runtime_wake(CONTAINER_OF(c, struct closing, close)->runtime);
}

static void abandon_close(struct runtime *r, int count)
{
    (void)count;
    struct closing *c = r->interrupted_ctx;
    volume_close_abandon(&c->close);
}

static enum err run_close(struct runtime *r, struct volume *v, bool abandon)
{
    struct closing c = {.close = {.volume = v, .done = closed}, .runtime = r};
    r->interrupted = abandon_close;
    r->interrupted_ctx = &c;
    volume_close(&c.close);
    if (abandon)
        volume_close_abandon(&c.close);
    runtime_wait(r);
    r->interrupted = NULL;
    return c.close.err;
}

enum err volume_run_close(struct runtime *r, struct volume *v)
{
    return run_close(r, v, false);
}

void volume_run_abandon(struct runtime *r, struct volume *v)
{
    (void)run_close(r, v, true);
}
