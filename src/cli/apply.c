#include "cli/apply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/source.h"
#include "cli/volume_run.h"
#include "volume/format/stream.h"
#include "volume/swap.h"

#define CHANGED_MAX (UINT32_C(4) << 20) /* ranges found changed by an earlier attempt */

struct range {
    uint64_t start, end;
};

struct apply {
    struct runtime *runtime;
    const char *name;
    struct source source;
    struct volume *volume;
    struct stream stream;
    struct stream_head head;
    uint64_t read, size; /* bytes of the stream so far; of the export now */
    char id[ID_HEX], base_id[ID_HEX], mark[16 + ID_HEX];
    char snapshot[EXPORT_NAME_MAX + 1]; /* to be made */
    char *base;                         /* the snapshot that is the base; NULL: nothing is */
    bool marked, there;                 /* begun before; done before */

    uint8_t frame[STREAM_FRAME_MAX];
    size_t frame_bytes;
    ssize_t got;
    int error;
    struct job job;
    size_t wanted;

    struct range *changed; /* by an earlier attempt, and not yet covered by the stream */
    size_t changed_count, changed_room, changed_at;
    struct volume_req req;
    struct volume_base_open base_open;
    struct manifest_get get;
    unsigned pending;
    bool interrupted;
    uint64_t data_bytes;
    struct complaint why;
};

static void wake(struct apply *a)
{
    if (--a->pending == 0)
        runtime_wake(a->runtime);
}

static void interrupted(struct runtime *r, int count)
{
    (void)count;
    struct apply *a = r->interrupted_ctx;
    a->interrupted = true;
    atomic_store(&a->source.stop, true);
}

/* ---------------------------------------------------------------------- reading frames */

static void read_work(struct job *j)
{
    struct apply *a = CONTAINER_OF(j, struct apply, job);
    a->got = source_read(&a->source, a->frame + a->frame_bytes, a->wanted, a->read);
    a->error = errno;
}

static void read_done(struct job *j)
{
    wake(CONTAINER_OF(j, struct apply, job));
}

static enum err read_bytes(struct apply *a, size_t n)
{
    a->wanted = n;
    a->job = (struct job){.work = read_work, .done = read_done};
    a->pending = 1;
    job_start(a->runtime->loop, &a->job);
    runtime_wait(a->runtime);
    if (a->interrupted)
        return complain(&a->why, ERR_CANCELED, "interrupted");
    if (a->got < 0)
        return complain(&a->why, ERR_INVALID, "%s cannot be read: %s", a->source.shown, strerror(a->error));
    if ((size_t)a->got < n)
        return complain(&a->why, ERR_CORRUPT, "%s ends in the middle of the stream", a->source.shown);
    a->read += n;
    a->frame_bytes += n;
    return ERR_OK;
}

static enum err next_frame(struct apply *a, struct stream_frame *f)
{
    a->frame_bytes = 0;
    enum err err = read_bytes(a, ENVELOPE_BYTES);
    if (err)
        return err;
    uint32_t n = stream_frame_bytes(a->frame);
    if (!n)
        return complain(&a->why, ERR_CORRUPT, "%s %s", a->source.shown,
                        a->stream.frames ? "is damaged" : "is not a stream that export --since has made");
    err = read_bytes(a, n - ENVELOPE_BYTES);
    return err ? err : stream_take(&a->stream, a->frame, n, f, &a->why);
}

static enum err read_head(struct apply *a)
{
    struct stream_frame f = {0};
    enum err err = next_frame(a, &f);
    if (err)
        return err;
    if (f.kind != STREAM_HEAD)
        return complain(&a->why, ERR_CORRUPT, "%s does not begin with a stream's head", a->source.shown);
    a->head = f.head;
    hex_encode(a->head.id, 16, a->id);
    hex_encode(a->head.base_id, 16, a->base_id);
    snprintf(a->mark, sizeof a->mark, "applying-%s", a->id);
    const char *at = strchr(a->head.name, '@');
    if (!at || snapshot_name_check(at + 1, &a->why))
        return complain(&a->why, ERR_CORRUPT, "%s names no snapshot that can be made", a->source.shown);
    snprintf(a->snapshot, sizeof a->snapshot, "%.*s", EXPORT_NAME_MAX, at + 1);
    return ERR_OK;
}

static bool from_nothing(const struct apply *a)
{
    return bytes_are_zero(a->head.base_id, sizeof a->head.base_id);
}

/* ---------------------------------------------------------------------- the volume */

static void req_done(struct volume_req *r)
{
    wake(CONTAINER_OF(r, struct apply, req));
}

static enum err request(struct apply *a, enum volume_verb verb, uint64_t offset, uint64_t bytes,
                        unsigned flags, const uint8_t *data)
{
    struct volume_req *r = &a->req;
    *r = (struct volume_req){.verb = verb,
                             .flags = flags,
                             .offset = offset,
                             .bytes = bytes,
                             .done = req_done,
                             .admitted = req_done};
    a->pending = 1;
    if (verb == VOLUME_WRITE && !volume_prepare_write(a->volume, r)) {
        runtime_wait(a->runtime);
        a->pending = 1;
    }
    if (!r->err) {
        for (size_t i = 0; i < r->payload_count; data += r->payload[i++]->bytes)
            memcpy(r->payload[i]->data, data, r->payload[i]->bytes);
        volume_submit(a->volume, r);
        runtime_wait(a->runtime);
    }
    enum err err = r->err;
    if (err)
        complain(&a->why, err, "%s cannot be written at %llu: %s", a->name, (unsigned long long)offset,
                 err_text(err));
    volume_req_finish(r);
    return err;
}

struct changing {
    struct volume_change change;
    struct apply *apply;
};

static void changed(struct volume_change *c)
{
    wake(CONTAINER_OF(c, struct changing, change)->apply);
}

static void change(struct changing *c, struct apply *a, struct volume_change what)
{
    c->apply = a;
    c->change = what;
    c->change.volume = a->volume;
    c->change.done = changed;
    a->pending++;
    volume_change(&c->change);
}

/* All at once; the first error. */
static enum err change_all(struct apply *a, const struct volume_change *what, size_t count)
{
    struct changing c[4];
    a->pending = 0;
    for (size_t i = 0; i < count; i++)
        change(&c[i], a, what[i]);
    runtime_wait(a->runtime);
    for (size_t i = 0; i < count; i++)
        if (c[i].change.err) {
            a->why = c[i].change.complaint;
            return c[i].change.err;
        }
    return ERR_OK;
}

/* ---------------------------------------------------------------------- what is there */

static void got_manifest(struct manifest_get *g)
{
    wake(CONTAINER_OF(g, struct apply, get));
}

static enum err look(struct apply *a)
{
    a->get = (struct manifest_get){.engine = a->runtime->engine,
                                   .name = a->name,
                                   .patience_ns = RUNTIME_PATIENCE_NS,
                                   .done = got_manifest};
    a->pending = 1;
    manifest_get_start(&a->get);
    runtime_wait(a->runtime);
    if (a->get.err) {
        a->why = a->get.complaint;
        return a->get.err;
    }
    const struct manifest *m = &a->get.manifest;
    bool taken = false;
    for (size_t i = 0; i < m->snapshot_count; i++) {
        const struct manifest_snapshot *s = &m->snapshots[i];
        a->there |= strcmp(s->id, a->id) == 0;
        a->marked |= strcmp(s->name, a->mark) == 0;
        taken |= strcmp(s->name, a->snapshot) == 0 && strcmp(s->id, a->id) != 0;
        if (!from_nothing(a) && strcmp(s->id, a->base_id) == 0 && !a->base)
            a->base = mem_strdup(s->name);
    }
    a->size = m->params.size;
    manifest_finish(&a->get.manifest);
    if (a->there)
        return ERR_OK;
    if (taken)
        return complain(&a->why, ERR_CONFLICT, "%s has another snapshot %s; remove it first", a->name,
                        a->snapshot);
    if (!from_nothing(a) && !a->base)
        return complain(&a->why, ERR_CONFLICT,
                        "%s has no snapshot that is %s: this stream changes that into %s, and nothing else",
                        a->name, a->head.base_name, a->head.name);
    return ERR_OK;
}

static void base_opened(struct volume_base_open *o)
{
    wake(CONTAINER_OF(o, struct apply, base_open));
}

static void note_changed(struct apply *a, uint64_t start, uint64_t end)
{
    if (a->changed_count == a->changed_room) {
        a->changed_room = MAX(2 * a->changed_room, (size_t)64);
        a->changed = mem_realloc(a->changed, a->changed_room * sizeof *a->changed);
    }
    a->changed[a->changed_count++] = (struct range){start, end};
}

/* Where the export is not as its base: of nothing, where it is not a hole. */
static enum err find_changed(struct apply *a, const struct volume_base *base)
{
    uint64_t at = 0;
    enum err err = ERR_OK;
    while (at < a->size && !err) {
        struct volume_req *r = &a->req;
        *r = (struct volume_req){.verb = base ? VOLUME_CHANGES : VOLUME_STATUS,
                                 .offset = at,
                                 .bytes = a->size - at,
                                 .base = base,
                                 .done = req_done};
        a->pending = 1;
        volume_submit(a->volume, r);
        runtime_wait(a->runtime);
        err = r->err;
        for (size_t i = 0; i < r->segment_count && at < a->size; i++) {
            uint64_t end = at + MIN(r->segments[i].bytes, a->size - at);
            enum volume_kind kind = r->segments[i].kind;
            if (kind == VOLUME_CHANGED || kind == VOLUME_DATA)
                note_changed(a, at, end);
            at = end;
        }
        volume_req_finish(r);
        if (a->changed_count > CHANGED_MAX)
            return complain(&a->why, ERR_CONFLICT, "%s differs from its base in too many places", a->name);
    }
    return err;
}

static enum err compare(struct apply *a)
{
    char name[VOLUME_NAME_MAX + 1];
    struct volume_base *base = NULL;
    const struct volume_change fold = {.verb = VOLUME_CHECKPOINT};
    enum err err = change_all(a, &fold, 1);
    if (!err && a->base) {
        snprintf(name, sizeof name, "%.*s@%.*s", EXPORT_NAME_MAX, a->name, EXPORT_NAME_MAX, a->base);
        a->base_open =
            (struct volume_base_open){.engine = a->runtime->engine, .name = name, .done = base_opened};
        a->pending = 1;
        volume_base_open(&a->base_open);
        runtime_wait(a->runtime);
        err = a->base_open.err;
        a->why = a->base_open.complaint;
        base = a->base_open.base;
    }
    if (!err)
        err = find_changed(a, base);
    volume_base_close(base);
    if (!err && a->changed_count && !a->marked && from_nothing(a))
        return complain(
            &a->why, ERR_CONFLICT,
            "there is an export %s already: a stream since nothing makes a new one, or fills an empty one",
            a->name);
    if (!err && a->changed_count && !a->marked)
        return complain(
            &a->why, ERR_CONFLICT,
            "%s was changed since its snapshot %s: roll it back to that first, or apply to another export",
            a->name, a->base);
    return err;
}

/* ----------------------------------------------------------------------- applying */

/* What the stream covers is as it says. */
static void cover(struct apply *a, uint64_t start, uint64_t end)
{
    while (a->changed_at < a->changed_count) {
        struct range *r = &a->changed[a->changed_at];
        if (r->start < start || r->start >= end)
            return;
        r->start = MIN(r->end, end);
        if (r->start < r->end)
            return;
        a->changed_at++;
    }
}

static enum err apply_range(struct apply *a, const struct stream_frame *f)
{
    cover(a, f->offset, f->offset + f->bytes);
    switch (f->kind) {
    case STREAM_DATA:
        a->data_bytes += f->bytes;
        return request(a, VOLUME_WRITE, f->offset, f->bytes, 0, f->data);
    case STREAM_ZEROS:
        return request(a, VOLUME_ZERO, f->offset, f->bytes, VOLUME_NO_HOLE, NULL);
    case STREAM_HOLE:
        return request(a, VOLUME_TRIM, f->offset, f->bytes, 0, NULL);
    case STREAM_HEAD:
    case STREAM_END:
        break;
    }
    return complain(&a->why, ERR_CORRUPT, "the stream has two heads");
}

static enum err begin(struct apply *a)
{
    struct volume_change first[2];
    size_t n = 0;
    if (!a->marked)
        first[n++] = (struct volume_change){.verb = VOLUME_SNAPSHOT, .name = a->mark};
    if (a->head.bytes > a->size)
        first[n++] = (struct volume_change){.verb = VOLUME_RESIZE, .size = a->head.bytes};
    enum err err = n ? change_all(a, first, n) : ERR_OK;
    a->size = MAX(a->size, a->head.bytes);
    return err;
}

static enum err finish(struct apply *a)
{
    struct volume_change last[3];
    size_t n = 0;
    enum err err = ERR_OK;
    if (a->changed_at < a->changed_count && a->changed[a->changed_at].start < a->head.bytes)
        return complain(
            &a->why, ERR_CONFLICT,
            "%s was changed by something else while the stream was half applied: roll it back to %s and "
            "apply it again",
            a->name, a->mark);
    if (a->head.bytes < a->size) {
        err = request(a, VOLUME_TRIM, a->head.bytes, a->size - a->head.bytes, 0, NULL);
        last[n++] = (struct volume_change){.verb = VOLUME_RESIZE, .size = a->head.bytes, .shrink = true};
    }
    last[n++] = (struct volume_change){.verb = VOLUME_SNAPSHOT, .name = a->snapshot, .id = a->id};
    last[n++] = (struct volume_change){.verb = VOLUME_REMOVE_SNAPSHOT, .name = a->mark};
    return err ? err : change_all(a, last, n);
}

static enum err apply_all(struct apply *a)
{
    struct stream_frame f = {0};
    enum err err = begin(a);
    while (!err) {
        err = next_frame(a, &f);
        if (err || f.kind == STREAM_END)
            break;
        err = apply_range(a, &f);
    }
    return err ? err : finish(a);
}

/* ------------------------------------------------------------------------ the whole */

static enum err open_volume(struct apply *a)
{
    const struct export_params params = {
        .size = a->head.bytes, .block_size = a->head.block_size, .object_size = a->head.object_size};
    enum err err =
        volume_run_open(a->runtime, a->name, from_nothing(a) ? &params : NULL, &a->volume, &a->why);
    if (!from_nothing(a) || err != ERR_CONFLICT)
        return err;
    return volume_run_open(a->runtime, a->name, NULL, &a->volume, &a->why);
}

static enum err run(struct apply *a)
{
    enum err err = read_head(a);
    if (!err)
        err = open_volume(a);
    a->runtime->interrupted = interrupted; /* opening had its own */
    a->runtime->interrupted_ctx = a;
    if (!err)
        err = look(a);
    if (err || a->there)
        return err;
    err = compare(a);
    return err ? err : apply_all(a);
}

static int report(struct apply *a, enum err err)
{
    char data[SIZE_TEXT_MAX];
    if (err == ERR_NOTFOUND)
        return fail("import: there is no export %s; the stream changes %s, so import that first", a->name,
                    a->head.base_name);
    if (err)
        return fail("import: %s", a->why.text[0] ? a->why.text : err_text(err));
    if (a->there)
        printf("%s has %s already\n", a->name, a->snapshot);
    else
        printf("%s is now as %s, and has it as %s@%s: %s of data\n", a->name, a->head.name, a->name,
               a->snapshot, size_format(a->data_bytes, data));
    return STATUS_DONE;
}

int apply_stream(struct runtime *r, const char *file, const char *name)
{
    struct apply *a = MEM_NEW(struct apply);
    a->runtime = r;
    a->name = name;
    int status;
    if (source_open(&a->source, file, &a->why)) {
        status = fail("import: %s", a->why.text);
    } else {
        r->interrupted = interrupted;
        r->interrupted_ctx = a;
        enum err err = run(a);
        r->interrupted = NULL;
        if (a->volume) {
            enum err closed = volume_run_close(r, a->volume);
            if (!err && closed)
                err = complain(&a->why, closed, "%s was not closed cleanly: %s", name, err_text(closed));
        }
        status = report(a, err);
        source_close(&a->source);
    }
    mem_free(a->base);
    mem_free(a->changed);
    mem_free(a);
    return status;
}
