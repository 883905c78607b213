/* The size of an export that nobody has open: it is opened, what lies past a smaller size is trimmed, and the
 * swap that closes it again sets root and size at once. */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/exports.h"

struct resizing {
    struct export_op *op;
    enum { RESIZE_REFUSED, RESIZE_OPENS, RESIZE_TRIMS, RESIZE_CLOSES, RESIZE_CLOSES_AS_IT_WAS } state;
    struct task task;
    struct volume_open open;
    struct volume_req trim;
    struct volume_change change;
    struct volume_close close;
    enum err err;
};

static void resize_step(struct resizing *);

static void task_run(struct task *t)
{
    resize_step(CONTAINER_OF(t, struct resizing, task));
}

static void opened(struct volume_open *o)
{
    resize_step(CONTAINER_OF(o, struct resizing, open));
}

static void trimmed(struct volume_req *r)
{
    resize_step(CONTAINER_OF(r, struct resizing, trim));
}

/* Before the close's, which tells the rest. */
static void changed(struct volume_change *c)
{
    struct resizing *z = CONTAINER_OF(c, struct resizing, change);
    z->err = c->err;
    z->op->complaint = c->complaint;
}

static void closed(struct volume_close *c)
{
    resize_step(CONTAINER_OF(c, struct resizing, close));
}

/* The close tells. */
static void lost(struct volume *v, void *ctx, enum err why)
{
    (void)v, (void)ctx, (void)why;
}

static void finish(struct resizing *z, enum err err)
{
    struct export_op *op = z->op;
    mem_free(z);
    op->impl = NULL;
    op->err = err;
    op->done(op);
}

static void close_it(struct resizing *z)
{
    z->close = (struct volume_close){.volume = z->open.volume, .done = closed};
    volume_close(&z->close);
}

static void change_and_close(struct resizing *z)
{
    struct export_op *op = z->op;
    z->state = RESIZE_CLOSES;
    z->change = (struct volume_change){.volume = z->open.volume,
                                       .verb = VOLUME_RESIZE,
                                       .size = op->size,
                                       .shrink = op->shrink,
                                       .done = changed};
    volume_change(&z->change);
    close_it(z);
}

static void leave_it(struct resizing *z, enum err why)
{
    z->state = RESIZE_CLOSES_AS_IT_WAS;
    z->err = why;
    close_it(z);
}

static void after_open(struct resizing *z)
{
    struct export_op *op = z->op;
    struct volume_info info;
    if (z->open.err) {
        op->complaint = z->open.complaint;
        finish(z, z->open.err);
        return;
    }
    volume_info(z->open.volume, &info);
    if (op->size >= info.size) {
        change_and_close(z);
    } else if (!op->shrink) {
        leave_it(z,
                 complain(&op->complaint, ERR_INVALID,
                          "export %s has %llu bytes: what lies past a smaller size is lost, and that has to "
                          "be asked for: --shrink",
                          op->name, (unsigned long long)info.size));
    } else {
        mark_hit("shrink");
        z->state = RESIZE_TRIMS;
        z->trim = (struct volume_req){
            .verb = VOLUME_TRIM, .offset = op->size, .bytes = info.size - op->size, .done = trimmed};
        volume_submit(z->open.volume, &z->trim);
    }
}

static void after_trim(struct resizing *z)
{
    enum err err = z->trim.err;
    volume_req_finish(&z->trim);
    if (err)
        leave_it(z, complain(&z->op->complaint, err, "export %s cannot be trimmed: %s", z->op->name,
                             err_text(err)));
    else
        change_and_close(z);
}

static void after_close(struct resizing *z)
{
    enum err err = z->err ? z->err : z->close.err;
    if (!z->err && err)
        complain(&z->op->complaint, err, "export %s was resized, but not closed: %s", z->op->name,
                 err_text(err));
    finish(z, err);
}

static void resize_step(struct resizing *z)
{
    switch (z->state) {
    case RESIZE_REFUSED:
        finish(z, z->err);
        break;
    case RESIZE_OPENS:
        after_open(z);
        break;
    case RESIZE_TRIMS:
        after_trim(z);
        break;
    case RESIZE_CLOSES:
    case RESIZE_CLOSES_AS_IT_WAS:
        after_close(z);
        break;
    }
}

void export_resize(struct export_op *op)
{
    struct resizing *z = MEM_NEW(struct resizing);
    assert(op->done && op->name);
    op->impl = z;
    op->infos = NULL;
    op->complaint.text[0] = '\0';
    z->op = op;
    if (op->size == 0 || op->size > INT64_MAX) {
        z->state = RESIZE_REFUSED;
        z->err = complain(&op->complaint, ERR_INVALID, "the size of an export is 1 byte to 2^63 - 1 bytes");
        z->task.run = task_run;
        loop_post(op->engine->loop, &z->task);
        return;
    }
    z->state = RESIZE_OPENS;
    z->open = (struct volume_open){.engine = op->engine, .name = op->name, .lost = lost, .done = opened};
    volume_open(&z->open);
}
