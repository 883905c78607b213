#include "objstore/dir.h"

#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "objstore/dir/fs.h"
#include "objstore/key.h"

enum { BACKGROUND_JOBS = 4 };

#define READS_MAX       5               /* of what answers with I/O errors: 1.5 s at most */
#define TROUBLE_OVER_NS (10 * NS_PER_S) /* longer than any two tries lie apart */

struct dir_store {
    struct objstore base;
    struct fs fs;
    char *name;
    struct list waiting;  /* of BACKGROUND priority, first come first served */
    unsigned background;  /* under way */
    bool troubled;        /* something that may pass was logged and has not passed */
    uint64_t troubled_ns; /* when it was last met */
};

struct dir_op {
    struct job job;
    struct timer timer; /* until the next try */
    struct link link;   /* in waiting */
    struct dir_store *store;
    struct objstore_req *req;
    uint64_t started_ns;
    unsigned tries, holds, unreadable;
    bool working;
    bool canceled; /* set by the loop, read by it */
};

static struct dir_store *self(struct objstore *s)
{
    return CONTAINER_OF(s, struct dir_store, base);
}

/* ----------------------------------------------------------------- one attempt */

static void work(struct job *j)
{
    struct dir_op *op = CONTAINER_OF(j, struct dir_op, job);
    op->req->complaint.text[0] = '\0';
    op->req->err = fs_run(&op->store->fs, op->req);
}

static void begin(struct dir_op *op)
{
    op->working = true;
    op->store->base.counters.requests[op->req->verb]++;
    op->store->base.counters.retries += op->tries > 0;
    job_start(op->store->base.loop, &op->job);
}

static void start(struct dir_op *op)
{
    struct dir_store *d = op->store;
    if (op->req->priority == OBJSTORE_BACKGROUND) {
        if (d->background == BACKGROUND_JOBS) {
            list_push(&d->waiting, &op->link);
            return;
        }
        d->background++;
    }
    begin(op);
}

static void release_slot(struct dir_op *op)
{
    struct dir_store *d = op->store;
    op->working = false;
    if (op->req->priority != OBJSTORE_BACKGROUND)
        return;
    struct link *next = list_pop(&d->waiting);
    if (next)
        begin(CONTAINER_OF(next, struct dir_op, link));
    else
        d->background--;
}

/* ---------------------------------------------------------------------- answer */

static void finish(struct dir_op *op, enum err err)
{
    struct objstore_req *r = op->req;
    r->err = err;
    if (err == ERR_OK)
        r->complaint.text[0] = '\0';
    mem_free(op);
    r->impl = NULL;
    objstore_answer(r);
}

static void count(struct dir_op *op)
{
    struct objstore_counters *c = &op->store->base.counters;
    if (op->req->verb == OBJSTORE_PUT)
        c->bytes_out += op->req->object_bytes;
    else if (op->req->content)
        c->bytes_in += op->req->content->bytes;
}

/* Once for each time of trouble, however many requests meet it; it is over when one of them gets through. */
static void log_trouble(struct dir_op *op, enum err err)
{
    struct dir_store *d = op->store;
    const char *why = op->req->complaint.text;
    uint64_t now = loop_now_ns(d->base.loop);
    if (err == ERR_UNAVAILABLE || err == ERR_DENIED) {
        if (!d->troubled)
            log_warn("store", "%s: %s; trying again", d->name, why);
        d->troubled = true;
        d->troubled_ns = now;
    } else if (err == ERR_OK && d->troubled && (op->tries || now - d->troubled_ns > TROUBLE_OVER_NS)) {
        log_info("store", "%s: works again", d->name);
        d->troubled = false;
    } else if (err == ERR_UNKNOWN) {
        log_warn("store", "%s: %s; whether it was applied is not known", d->name, why);
    }
}

/* Half of it at least, the other half by chance. */
static uint64_t jitter(struct dir_op *op, uint64_t ns)
{
    uint64_t random;
    loop_random(op->store->base.loop, &random, sizeof random);
    return ns / 2 + random % (ns / 2 + 1);
}

static uint64_t delay_ns(struct dir_op *op, enum err err)
{
    unsigned before = err == ERR_HELD ? op->holds++ : op->tries++;
    if (err == ERR_HELD)
        return jitter(op, NS_PER_MS << MIN(before, 5U));
    return jitter(op, (100 * NS_PER_MS) << MIN(before, 6U));
}

static bool patience_over(const struct dir_op *op, uint64_t delay)
{
    uint64_t patience = op->req->patience_ns;
    return patience && loop_now_ns(op->store->base.loop) - op->started_ns + delay > patience;
}

static void again_or_finish(struct dir_op *op, enum err err)
{
    uint64_t delay = delay_ns(op, err);
    bool hopeless = err == ERR_DENIED && op->req->patience_ns && op->tries > 1;
    if (op->canceled)
        finish(op, ERR_CANCELED);
    else if (hopeless || patience_over(op, delay))
        finish(op, err == ERR_HELD ? ERR_UNAVAILABLE : err);
    else
        timer_start(op->store->base.loop, &op->timer, delay);
}

static void worked(struct job *j)
{
    struct dir_op *op = CONTAINER_OF(j, struct dir_op, job);
    enum err err = op->req->err;
    release_slot(op);
    if (err == ERR_CORRUPT && op->req->complaint.text[0]) {
        if (++op->unreadable < READS_MAX) {
            again_or_finish(op, ERR_UNAVAILABLE);
            return;
        }
        log_error("store", "%s: %s; %d times: taken for damaged", op->store->name, op->req->complaint.text,
                  READS_MAX);
        op->req->complaint.text[0] = '\0';
    }
    log_trouble(op, err);
    if (err == ERR_HELD || err == ERR_UNAVAILABLE || err == ERR_DENIED) {
        again_or_finish(op, err);
        return;
    }
    if (err == ERR_OK)
        count(op);
    finish(op, err);
}

static void try_again(struct timer *t)
{
    start(CONTAINER_OF(t, struct dir_op, timer));
}

/* ------------------------------------------------------------------- the store */

static void submit(struct objstore *s, struct objstore_req *r)
{
    enum err bad = key_check_req(r, &r->complaint);
    r->impl = NULL;
    if (bad) {
        r->err = bad;
        objstore_answer(r);
        return;
    }
    struct dir_op *op = MEM_NEW(struct dir_op);
    op->store = self(s);
    op->req = r;
    op->job = (struct job){.work = work, .done = worked};
    op->timer.fire = try_again;
    op->started_ns = loop_now_ns(s->loop);
    r->impl = op;
    start(op);
}

static void cancel(struct objstore *s, struct objstore_req *r)
{
    (void)s;
    struct dir_op *op = r->impl;
    if (!op)
        return;
    op->canceled = true;
    if (op->working)
        return;
    timer_stop(&op->timer);
    list_remove(&op->link);
    finish(op, ERR_CANCELED);
}

static void destroy(struct objstore *s)
{
    struct dir_store *d = self(s);
    fs_close(&d->fs);
    mem_free(d->name);
    mem_free(d);
}

static const char *name(const struct objstore *s)
{
    _Static_assert(offsetof(struct dir_store, base) == 0, "a store is found by its base");
    return ((const struct dir_store *)(const void *)s)->name;
}

static const struct objstore_ops ops = {.submit = submit, .cancel = cancel, .destroy = destroy, .name = name};

enum err dir_store_create(struct loop *l, const char *path, struct objstore **out, struct complaint *c)
{
    struct dir_store *d = MEM_NEW(struct dir_store);
    uint64_t owner;
    d->base = (struct objstore){.ops = &ops, .loop = l};
    list_init(&d->waiting);
    loop_random(l, &owner, sizeof owner);
    enum err err = fs_open(&d->fs, path, owner, c);
    if (err) {
        mem_free(d);
        return err;
    }
    size_t n = strlen(path) + sizeof "file:";
    d->name = mem_alloc(n);
    memcpy(d->name, "file:", 5);
    memcpy(d->name + 5, path, n - 5);
    *out = &d->base;
    return ERR_OK;
}
