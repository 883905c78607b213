#include "cli/comparison.h"

#include <string.h>

#include "base/bytes.h"

static struct comparison *comparison_of(struct runtime *r)
{
    return r->interrupted_ctx;
}

static void died(struct pinned *p)
{
    struct comparison *c = p->ctx;
    c->dead = true;
}

static void pinned(struct pinned *p)
{
    struct comparison *c = p->ctx;
    runtime_wake(c->runtime);
}

static void interrupted_pin(struct runtime *r, int count)
{
    struct comparison *c = comparison_of(r);
    (void)count;
    pinned_cancel(&c->sides[0]);
    pinned_cancel(&c->sides[1]);
}

static enum err pin(struct comparison *c, int side, const char *name, struct complaint *why)
{
    struct pinned *p = &c->sides[side];
    *p = (struct pinned){.engine = c->runtime->engine, .name = name, .ctx = c, .done = pinned, .died = died};
    pinned_start(p);
    runtime_wait(c->runtime);
    if (p->err)
        *why = p->complaint;
    return p->err;
}

enum err comparison_open(struct comparison *c, struct runtime *r, const char *const names[2],
                         struct complaint *why)
{
    char a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    memset(c, 0, sizeof *c);
    c->runtime = r;
    r->interrupted = interrupted_pin;
    r->interrupted_ctx = c;
    enum err err = pin(c, 0, names[0], why);
    if (!err)
        err = pin(c, 1, names[1], why);
    r->interrupted = NULL;
    uint32_t blocks[2] = {c->sides[0].params.block_size, c->sides[1].params.block_size};
    if (!err && blocks[0] != blocks[1])
        err = complain(why, ERR_INVALID,
                       "%s has blocks of %s and %s of %s: only what has the same block size can be compared",
                       names[0], size_format(blocks[0], a), names[1], size_format(blocks[1], b));
    if (err)
        comparison_close(c);
    return err;
}

uint64_t comparison_size(const struct comparison *c)
{
    return MAX(c->sides[0].size, c->sides[1].size);
}

static bool found(struct diff *d, const struct difference *x)
{
    struct comparison *c = CONTAINER_OF(d, struct comparison, diff);
    return c->found(c->ctx, x);
}

static void compared(struct diff *d)
{
    runtime_wake(CONTAINER_OF(d, struct comparison, diff)->runtime);
}

static void interrupted_diff(struct runtime *r, int count)
{
    (void)count;
    diff_cancel(&comparison_of(r)->diff);
}

enum err comparison_run(struct comparison *c, uint64_t start, bool (*tell)(void *, const struct difference *),
                        void *ctx)
{
    struct runtime *r = c->runtime;
    c->found = tell;
    c->ctx = ctx;
    c->diff = (struct diff){.engine = r->engine,
                            .block_size = c->sides[0].params.block_size,
                            .start = start,
                            .end = comparison_size(c),
                            .found = found,
                            .done = compared};
    for (int i = 0; i < 2; i++)
        c->diff.sides[i] = (struct diff_side){.root = c->sides[i].root, .size = c->sides[i].size};
    r->interrupted = interrupted_diff;
    r->interrupted_ctx = c;
    diff_start(&c->diff);
    runtime_wait(r);
    r->interrupted = NULL;
    return c->dead ? ERR_FENCED : c->diff.err;
}

void comparison_close(struct comparison *c)
{
    pinned_drop(&c->sides[0]);
    pinned_drop(&c->sides[1]);
}
