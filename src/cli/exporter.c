#include "cli/exporter.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

static void advance(struct exporter *);

PRINTF(3, 4) static void stop(struct exporter *x, enum err e, const char *fmt, ...)
{
    if (!x->err) {
        x->err = e;
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(x->complaint.text, sizeof x->complaint.text, fmt, ap);
        va_end(ap);
    }
    x->stopping = true;
}

/* -------------------------------------------------------------------- slots */

static void slot_end(struct export_slot *s)
{
    s->state = EXPORT_IDLE;
    s->exporter->busy--;
}

static void write_work(struct job *j)
{
    struct export_slot *s = CONTAINER_OF(j, struct export_slot, job);
    if (s->zero) {
        s->error = target_zero(s->exporter->target, s->bytes, s->offset);
        return;
    }
    uint64_t at = s->offset;
    for (size_t i = 0; i < s->req.segment_count && !s->error; i++) {
        const struct volume_segment *g = &s->req.segments[i];
        struct iovec v = {.iov_base = g->buf ? g->buf->data + g->skip : NULL, .iov_len = g->bytes};
        s->error = g->kind == VOLUME_DATA ? target_write(s->exporter->target, &v, 1, at)
                                          : target_zero(s->exporter->target, g->bytes, at);
        at += g->bytes;
    }
}

static void write_done(struct job *j)
{
    struct export_slot *s = CONTAINER_OF(j, struct export_slot, job);
    struct exporter *x = s->exporter;
    if (!s->zero)
        volume_req_finish(&s->req);
    if (s->error)
        stop(x, ERR_NOSPACE, "%s cannot be written at %llu: %s", x->target->shown,
             (unsigned long long)s->offset, strerror(s->error));
    x->data_bytes += s->zero ? 0 : s->bytes;
    x->written = s->offset + s->bytes;
    progress_add(&x->progress, s->bytes);
    slot_end(s);
    advance(x);
}

/* A stream takes one slot at a time, in order. */
static void write_when_due(struct export_slot *s)
{
    struct exporter *x = s->exporter;
    if (x->stopping) {
        if (!s->zero)
            volume_req_finish(&s->req);
        slot_end(s);
        return;
    }
    if (x->target->kind == TARGET_STREAM && s->offset != x->written)
        return;
    s->state = EXPORT_WRITING;
    s->error = 0;
    s->job.work = write_work;
    s->job.done = write_done;
    job_start(x->runtime->loop, &s->job);
}

static void read_done(struct volume_req *r)
{
    struct export_slot *s = CONTAINER_OF(r, struct export_slot, req);
    s->state = EXPORT_READ;
    if (r->err)
        stop(s->exporter, r->err, "reading at %llu failed: %s", (unsigned long long)r->offset,
             err_text(r->err));
    advance(s->exporter);
}

static void slot_start(struct export_slot *s, uint64_t bytes, bool zero)
{
    struct exporter *x = s->exporter;
    s->offset = x->next;
    s->bytes = bytes;
    s->zero = zero;
    x->next += bytes;
    x->busy++;
    s->state = EXPORT_READ;
    if (zero)
        return;
    s->state = EXPORT_READING;
    s->req = (struct volume_req){.verb = VOLUME_READ, .offset = s->offset, .bytes = bytes, .done = read_done};
    volume_submit(x->volume, &s->req);
}

/* ---------------------------------------------------------------------- map */

static void walked(struct volume_req *r)
{
    struct exporter *x = CONTAINER_OF(r, struct exporter, walk);
    x->walking = false;
    x->busy--;
    mem_free(x->stretches);
    x->stretches = MEM_ARRAY(struct export_stretch, MAX(r->segment_count, (size_t)1));
    x->stretch = x->stretch_count = 0;
    uint64_t at = r->offset;
    for (size_t i = 0; i < r->segment_count && !r->err; i++) {
        at += r->segments[i].bytes;
        bool zero = r->segments[i].kind != VOLUME_DATA;
        x->stretches[x->stretch_count++] = (struct export_stretch){.end = MIN(at, x->size), .zero = zero};
    }
    if (r->err)
        stop(x, r->err, "the map cannot be read at %llu: %s", (unsigned long long)r->offset,
             err_text(r->err));
    volume_req_finish(r);
    advance(x);
}

static void walk(struct exporter *x)
{
    x->walking = true;
    x->busy++;
    x->walk = (struct volume_req){.verb = VOLUME_STATUS,
                                  .offset = x->next,
                                  .bytes = MIN(x->size - x->next, EXPORT_WALK),
                                  .done = walked};
    volume_submit(x->volume, &x->walk);
}

/* Gives the slot its next piece of the disk. False: there is none now. */
static bool give_piece(struct exporter *x, struct export_slot *s)
{
    bool file = x->target->kind == TARGET_FILE;
    for (; x->stretch < x->stretch_count; x->stretch++) {
        const struct export_stretch *t = &x->stretches[x->stretch];
        if (x->next < t->end && !(t->zero && file))
            break;
        progress_add(&x->progress, t->end - x->next);
        x->next = t->end;
    }
    if (x->stopping || x->walking || x->next == x->size)
        return false;
    if (x->stretch == x->stretch_count) {
        walk(x);
        return false;
    }
    const struct export_stretch *t = &x->stretches[x->stretch];
    uint64_t rest = t->end - x->next;
    slot_start(s, t->zero ? MIN(rest, EXPORT_ZERO_CHUNK) : MIN(rest, EXPORT_CHUNK - x->next % EXPORT_CHUNK),
               t->zero);
    return true;
}

/* Does whatever can be done now; called after everything that has changed something. */
static void advance(struct exporter *x)
{
    bool more = true;
    for (size_t i = 0; i < EXPORT_SLOTS; i++) {
        struct export_slot *s = &x->slots[i];
        if (s->state == EXPORT_IDLE && more)
            more = give_piece(x, s);
        if (s->state == EXPORT_READ)
            write_when_due(s);
    }
    if (x->busy == 0)
        runtime_wake(x->runtime);
}

/* ---------------------------------------------------------------- the whole */

static void interrupted(struct runtime *r, int count)
{
    struct exporter *x = r->interrupted_ctx;
    stop(x, ERR_CANCELED, "interrupted");
    if (count > 1) {
        x->unfinished = true;
        runtime_wake(r);
    }
    advance(x);
}

enum err exporter_run(struct exporter *x, struct runtime *r, struct volume *v, struct target *t)
{
    struct volume_info info;
    volume_info(v, &info);
    memset(x, 0, sizeof *x);
    x->runtime = r;
    x->volume = v;
    x->target = t;
    x->size = info.size;
    for (size_t i = 0; i < EXPORT_SLOTS; i++)
        x->slots[i].exporter = x;
    progress_start(&x->progress, r->loop, "export", x->size);
    r->interrupted = interrupted;
    r->interrupted_ctx = x;
    advance(x);
    if (x->busy)
        runtime_wait(r);
    r->interrupted = NULL;
    progress_stop(&x->progress);
    mem_free(x->stretches);
    return x->err;
}
