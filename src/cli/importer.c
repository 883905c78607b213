#include "cli/importer.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

static void next_chunk(struct import_slot *);
static void next_run(struct import_slot *);

static void stop(struct importer *m, enum err e)
{
    if (!m->err)
        m->err = e;
    m->stopping = true;
    atomic_store(&m->source->stop, true);
}

/* Ends the import; of several reasons the first is told. */
PRINTF(3, 4) static void complain_once(struct importer *m, enum err e, const char *fmt, ...)
{
    if (!m->err) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(m->complaint.text, sizeof m->complaint.text, fmt, ap);
        va_end(ap);
    }
    stop(m, e);
}

static void write_failed(struct importer *m, const struct volume_req *r)
{
    complain_once(m, r->err, "writing at %llu failed: %s", (unsigned long long)r->offset, err_text(r->err));
}

static void slot_retire(struct import_slot *s)
{
    s->busy = false;
    if (--s->importer->busy == 0)
        runtime_wake(s->importer->runtime);
}

/* A stream is read by one slot at a time; the next one takes its turn when that has its bytes. */
static void wake_idle(struct importer *m)
{
    for (size_t i = 0; i < IMPORT_SLOTS; i++)
        if (!m->slots[i].busy && !m->stopping && !m->at_end && !m->reading)
            next_chunk(&m->slots[i]);
}

/* ------------------------------------------------------------------ writing */

static void write_answered(struct volume_req *r)
{
    struct import_slot *s = CONTAINER_OF(r, struct import_slot, req);
    struct importer *m = s->importer;
    if (r->err)
        write_failed(m, r);
    m->data_bytes += r->bytes;
    s->at += r->bytes;
    volume_req_finish(r);
    next_run(s);
}

static void fill_and_submit(struct import_slot *s)
{
    size_t done = 0;
    for (size_t i = 0; i < s->req.payload_count; i++) {
        size_t n = MIN(s->req.payload[i]->bytes, s->req.bytes - done);
        memcpy(s->req.payload[i]->data, s->bytes + s->at + done, n);
        done += n;
    }
    assert(done == s->req.bytes);
    volume_submit(s->importer->volume, &s->req);
}

static void admitted(struct volume_req *r)
{
    struct import_slot *s = CONTAINER_OF(r, struct import_slot, req);
    s->waiting = false;
    if (!r->err) {
        fill_and_submit(s);
        return;
    }
    write_failed(s->importer, r);
    next_run(s);
}

static size_t zeros_from(const struct import_slot *s, size_t at, bool zero)
{
    uint32_t block = s->importer->block_bytes;
    while (at < s->length && s->zero[at / block] == zero)
        at += block;
    return MIN(at, s->length);
}

static void next_run(struct import_slot *s)
{
    struct importer *m = s->importer;
    s->at = zeros_from(s, s->at, true);
    if (m->stopping || s->at == s->length) {
        progress_add(&m->progress, s->asked);
        next_chunk(s);
        return;
    }
    memset(&s->req, 0, sizeof s->req);
    s->req.verb = VOLUME_WRITE;
    s->req.offset = s->offset + s->at;
    s->req.bytes = zeros_from(s, s->at, false) - s->at;
    s->req.done = write_answered;
    s->req.admitted = admitted;
    if (volume_prepare_write(m->volume, &s->req))
        fill_and_submit(s);
    else
        s->waiting = true;
}

/* ------------------------------------------------------------------ reading */

static void read_work(struct job *j)
{
    struct import_slot *s = CONTAINER_OF(j, struct import_slot, job);
    uint32_t block = s->importer->block_bytes;
    ssize_t n = source_read(s->importer->source, s->bytes, s->asked, s->offset);
    s->error = n < 0 ? errno : 0;
    s->length = n < 0 ? 0 : (size_t)n;
    s->more = s->importer->source->stream && s->offset + s->length == s->importer->size &&
              source_read(s->importer->source, &(uint8_t){0}, 1, 0) > 0;
    for (size_t at = 0; at < s->length; at += block)
        s->zero[at / block] = bytes_are_zero(s->bytes + at, MIN(block, s->length - at));
}

static void check_read(struct import_slot *s)
{
    struct importer *m = s->importer;
    const struct source *f = m->source;
    unsigned long long at = s->offset + s->length;
    if (s->error)
        complain_once(m, ERR_UNAVAILABLE, "%s cannot be read at %llu: %s", f->shown, at, strerror(s->error));
    else if (s->more)
        complain_once(m, ERR_INVALID, "%s goes on after the %llu bytes that --size says", f->shown, at);
    else if (!f->stream && at < MIN(s->offset + s->asked, f->bytes))
        complain_once(m, ERR_UNAVAILABLE, "%s ends at %llu, earlier than when the import began", f->shown,
                      at);
}

static void read_done(struct job *j)
{
    struct import_slot *s = CONTAINER_OF(j, struct import_slot, job);
    struct importer *m = s->importer;
    m->reading = false;
    m->read_bytes += s->length;
    check_read(s);
    s->at = 0;
    if (!m->source->stream) {
        next_run(s);
        return;
    }
    m->at_end = s->length < s->asked;
    next_run(s);
    wake_idle(m);
}

static void read_chunk(struct import_slot *s)
{
    struct importer *m = s->importer;
    s->offset = m->next;
    s->asked = (size_t)MIN(m->chunk_bytes - s->offset % m->chunk_bytes, m->size - s->offset);
    m->next += s->asked;
    m->reading = m->source->stream;
    s->job.work = read_work;
    s->job.done = read_done;
    job_start(m->runtime->loop, &s->job);
}

static void next_chunk(struct import_slot *s)
{
    struct importer *m = s->importer;
    if (!s->busy) {
        s->busy = true;
        m->busy++;
    }
    uint64_t data = source_next_data(m->source, m->next, m->size);
    data = MAX(m->next, data - data % m->block_bytes);
    if (!m->stopping && !m->reading) {
        progress_add(&m->progress, data - m->next);
        m->next = data;
    }
    if (m->stopping || m->at_end || m->reading || m->next == m->size)
        slot_retire(s);
    else
        read_chunk(s);
}

/* ---------------------------------------------------------------- the whole */

/* The first interrupt lets what is under way finish; where that may take for ever, the wait ends at once. */
static void interrupted(struct runtime *r, int count)
{
    struct importer *m = r->interrupted_ctx;
    stop(m, ERR_CANCELED);
    if (m->flushing || count > 1) {
        m->unfinished = true;
        runtime_wake(r);
        return;
    }
    for (size_t i = 0; i < IMPORT_SLOTS; i++) {
        struct import_slot *s = &m->slots[i];
        if (!s->waiting)
            continue;
        s->waiting = false;
        volume_drop_write(m->volume, &s->req);
        slot_retire(s);
    }
}

static void flushed(struct volume_req *r)
{
    struct importer *m = CONTAINER_OF(r, struct importer, flush);
    if (r->err)
        complain_once(m, r->err, "the last flush failed: %s", err_text(r->err));
    volume_req_finish(r);
    runtime_wake(m->runtime);
}

static void flush(struct importer *m)
{
    m->flushing = true;
    m->flush = (struct volume_req){.verb = VOLUME_FLUSH, .done = flushed};
    volume_submit(m->volume, &m->flush);
    runtime_wait(m->runtime);
}

static void init(struct importer *m, struct runtime *r, struct source *source, struct volume *v)
{
    struct volume_info info;
    volume_info(v, &info);
    memset(m, 0, sizeof *m);
    m->runtime = r;
    m->source = source;
    m->volume = v;
    m->size = info.size;
    m->block_bytes = info.block_size;
    m->chunk_bytes = MAX(IMPORT_CHUNK, info.block_size);
    for (size_t i = 0; i < IMPORT_SLOTS; i++) {
        m->slots[i].importer = m;
        m->slots[i].bytes = mem_alloc(m->chunk_bytes);
    }
}

enum err importer_run(struct importer *m, struct runtime *r, struct source *source, struct volume *v)
{
    init(m, r, source, v);
    progress_start(&m->progress, r->loop, "import", m->size);
    r->interrupted = interrupted;
    r->interrupted_ctx = m;
    m->busy++; /* held while the slots start, so that none of them ends the wait before it begins */
    wake_idle(m);
    if (--m->busy)
        runtime_wait(r);
    if (!m->err)
        flush(m);
    progress_stop(&m->progress);
    r->interrupted = NULL;
    for (size_t i = 0; i < IMPORT_SLOTS && !m->unfinished; i++)
        mem_free(m->slots[i].bytes);
    return m->err;
}
