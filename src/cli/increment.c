#include "cli/increment.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/comparison.h"
#include "cli/target.h"
#include "cli/volume_run.h"
#include "volume/format/stream.h"

#define RANGES_AT_ONCE 4096u
#define READS_AT_ONCE  8u

struct increment {
    struct runtime *runtime;
    struct comparison comparison;
    struct volume *volume;
    struct target target;
    struct stream stream;
    struct difference ranges[RANGES_AT_ONCE];
    size_t count;
    uint64_t next; /* compared up to here */
    bool more;
    uint64_t written, data_bytes;
    unsigned pending;
    struct job job;
    struct iovec iov;
    int error;
    bool interrupted;
    struct complaint why;
};

/* --------------------------------------------------------------------- writing frames */

static void write_work(struct job *j)
{
    struct increment *x = CONTAINER_OF(j, struct increment, job);
    x->error = target_write(&x->target, &x->iov, 1, x->written);
}

static void write_done(struct job *j)
{
    runtime_wake(CONTAINER_OF(j, struct increment, job)->runtime);
}

/* Takes over the reference. */
static enum err put(struct increment *x, struct buf *frame)
{
    size_t bytes = frame->bytes;
    x->iov = (struct iovec){.iov_base = frame->data, .iov_len = bytes};
    x->job = (struct job){.work = write_work, .done = write_done};
    job_start(x->runtime->loop, &x->job);
    runtime_wait(x->runtime);
    buf_unref(frame);
    x->written += bytes;
    if (x->error)
        return complain(&x->why, ERR_NOSPACE, "%s cannot be written: %s", x->target.shown,
                        strerror(x->error));
    return ERR_OK;
}

/* --------------------------------------------------------------------- reading ranges */

struct reading {
    struct volume_req req;
    struct increment *increment;
};

static void read_done(struct volume_req *r)
{
    struct increment *x = CONTAINER_OF(r, struct reading, req)->increment;
    if (--x->pending == 0)
        runtime_wake(x->runtime);
}

static enum err put_data(struct increment *x, const struct volume_req *r)
{
    uint8_t *to;
    struct buf *frame = stream_make_data(r->offset, (uint32_t)r->bytes, &to);
    for (size_t i = 0; i < r->segment_count; i++) {
        const struct volume_segment *s = &r->segments[i];
        if (s->kind == VOLUME_DATA)
            memcpy(to, s->buf->data + s->skip, s->bytes);
        else
            memset(to, 0, s->bytes);
        to += s->bytes;
    }
    stream_put_data(&x->stream, frame);
    x->data_bytes += r->bytes;
    return put(x, frame);
}

static enum err copy_data(struct increment *x, uint64_t start, uint64_t end)
{
    struct reading reads[READS_AT_ONCE];
    enum err err = ERR_OK;
    while (start < end && !err) {
        size_t n = 0;
        for (; n < READS_AT_ONCE && start < end; n++) {
            uint64_t bytes = MIN(end - start, STREAM_DATA_MAX - start % STREAM_DATA_MAX);
            reads[n] = (struct reading){
                .req = {.verb = VOLUME_READ, .offset = start, .bytes = bytes, .done = read_done},
                .increment = x};
            start += bytes;
        }
        x->pending = (unsigned)n;
        for (size_t i = 0; i < n; i++)
            volume_submit(x->volume, &reads[i].req);
        runtime_wait(x->runtime);
        for (size_t i = 0; i < n; i++) {
            struct volume_req *r = &reads[i].req;
            if (!err && r->err)
                err = complain(&x->why, r->err, "reading at %llu failed: %s", (unsigned long long)r->offset,
                               err_text(r->err));
            if (!err && x->interrupted)
                err = complain(&x->why, ERR_CANCELED, "interrupted");
            if (!err)
                err = put_data(x, r);
            volume_req_finish(r);
        }
    }
    return err;
}

/* As it is allocated: data as such, zeros and holes in one frame each. */
static enum err copy_range(struct increment *x, uint64_t start, uint64_t end)
{
    enum err err = ERR_OK;
    while (start < end && !err) {
        struct reading status = {
            .req = {.verb = VOLUME_STATUS, .offset = start, .bytes = end - start, .done = read_done},
            .increment = x};
        x->pending = 1;
        volume_submit(x->volume, &status.req);
        runtime_wait(x->runtime);
        err = status.req.err;
        for (size_t i = 0; i < status.req.segment_count && start < end && !err; i++) {
            const struct volume_segment *s = &status.req.segments[i];
            uint64_t stop = start + MIN(s->bytes, end - start);
            if (s->kind == VOLUME_DATA)
                err = copy_data(x, start, stop);
            else
                err = put(x, stream_put_range(&x->stream, s->kind == VOLUME_HOLE ? STREAM_HOLE : STREAM_ZEROS,
                                              start, stop - start));
            start = stop;
        }
        volume_req_finish(&status.req);
    }
    return err;
}

/* ------------------------------------------------------------------------- comparing */

static bool collect(void *ctx, const struct difference *d)
{
    struct increment *x = ctx;
    x->ranges[x->count++] = *d;
    x->next = d->start + d->bytes;
    x->more = x->count == RANGES_AT_ONCE;
    return !x->more;
}

static void interrupted(struct runtime *r, int count)
{
    (void)count;
    ((struct increment *)r->interrupted_ctx)->interrupted = true;
}

static enum err copy_differences(struct increment *x)
{
    uint64_t size = x->comparison.sides[1].size;
    enum err err;
    do {
        x->count = 0;
        x->more = false;
        err = comparison_run(&x->comparison, x->next, collect, x);
        if (err)
            return complain(&x->why, err, "%s",
                            err == ERR_CANCELED ? "interrupted" : "declared dead; try again");
        x->runtime->interrupted = interrupted;
        x->runtime->interrupted_ctx = x;
        for (size_t i = 0; i < x->count && !err && x->ranges[i].start < size; i++)
            err = copy_range(x, x->ranges[i].start, MIN(size, x->ranges[i].start + x->ranges[i].bytes));
        x->runtime->interrupted = NULL;
    } while (x->more && !err);
    return err;
}

/* ------------------------------------------------------------------------- the whole */

static bool take_id(const struct pinned *p, uint8_t id[16])
{
    return p->snapshot_id[0] && hex_decode(p->snapshot_id, id, 16);
}

static enum err begin(struct increment *x, bool since_nothing)
{
    const struct pinned *a = &x->comparison.sides[0], *b = &x->comparison.sides[1];
    struct stream_head h = {.base_bytes = since_nothing ? 0 : a->size,
                            .bytes = b->size,
                            .block_size = b->params.block_size,
                            .object_size = b->params.object_size};
    snprintf(h.base_name, sizeof h.base_name, "%s", since_nothing ? "" : a->name);
    snprintf(h.name, sizeof h.name, "%s", b->name);
    if ((!since_nothing && !take_id(a, h.base_id)) || !take_id(b, h.id))
        return complain(&x->why, ERR_UNSUPPORTED,
                        "the snapshot was taken by an earlier version, which gave it no identity");
    return put(x, stream_put_head(&x->stream, &h));
}

static void finish_work(struct job *j)
{
    struct increment *x = CONTAINER_OF(j, struct increment, job);
    x->error = target_finish(&x->target, x->written);
}

static int finish(struct increment *x, const char *name)
{
    char data[SIZE_TEXT_MAX];
    x->job = (struct job){.work = finish_work, .done = write_done};
    job_start(x->runtime->loop, &x->job);
    runtime_wait(x->runtime);
    if (x->error)
        return fail("export: %s cannot be finished: %s; what it holds is incomplete", x->target.shown,
                    strerror(x->error));
    fprintf(x->target.fd == STDOUT_FILENO ? stderr : stdout, "exported %s: %s of data in %s\n", name,
            size_format(x->data_bytes, data), x->target.shown);
    return STATUS_DONE;
}

static int write_stream(struct increment *x, bool since_nothing, const char *file)
{
    if (target_open(&x->target, file, 0, &x->why))
        return fail("export: %s", x->why.text);
    enum err err = begin(x, since_nothing);
    if (!err)
        err = copy_differences(x);
    if (!err)
        err = put(x, stream_put_end(&x->stream));
    if (!err)
        return finish(x, x->comparison.sides[1].name);
    int status =
        fail("export: %s; %s is incomplete", x->why.text[0] ? x->why.text : err_text(err), x->target.shown);
    target_finish(&x->target, x->written);
    return status;
}

static int run(struct increment *x, const char *since, const char *name, const char *file)
{
    bool nothing = strcmp(since, SINCE_NOTHING) == 0;
    const char *const names[2] = {nothing ? name : since, name};
    enum err err = comparison_open(&x->comparison, x->runtime, names, &x->why);
    if (err)
        return err == ERR_CANCELED ? fail("interrupted") : fail_with(err, &x->why);
    if (nothing) {
        x->comparison.sides[0].root = (struct map_root){.level = 0};
        x->comparison.sides[0].size = 0;
    }
    int status;
    err = volume_run_open(x->runtime, name, NULL, &x->volume, &x->why);
    if (err) {
        status = fail_with(err, &x->why);
    } else {
        status = write_stream(x, nothing, file);
        if (volume_run_close(x->runtime, x->volume) && !status)
            log_warn("export", "%s was not closed cleanly", name);
    }
    comparison_close(&x->comparison);
    return status;
}

int increment_export(struct runtime *r, const char *since, const char *name, const char *file)
{
    struct increment *x = MEM_NEW(struct increment);
    x->runtime = r;
    int status = run(x, since, name, file);
    mem_free(x);
    return status;
}
