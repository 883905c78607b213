#include "volume/read/readahead.h"

#include <string.h>

#include "base/mark.h"
#include "base/mem.h"
#include "volume/read/range_read.h"
#include "volume/volume_state.h"

#define PART_BYTES    (1 * MIB) /* read by one range_read, and by one request where it lies in one object */
#define RUNNING_MAX   64u
#define FIRST_BLOCKS  4u
#define NEAR_BYTES    (256 * KIB) /* reads of one reader may overtake each other by so much */
#define STRIDE_MAX    (64 * (int64_t)MIB)
#define STRIDES_AHEAD 16u

struct ahead_read {
    struct link link;
    struct range_read range;
};

void readahead_init(struct readahead *ra)
{
    memset(ra, 0, sizeof *ra);
    ra->window_max = READAHEAD_BYTES_MAX;
    list_init(&ra->running);
}

/* ------------------------------------------------------------------------ reading */

static void ahead_done(struct range_read *r)
{
    struct ahead_read *a = CONTAINER_OF(r, struct ahead_read, range);
    struct volume *v = r->volume;
    if (!r->err) {
        range_segments_drop(r->segments, r->count);
        mem_free(r->segments);
    }
    list_remove(&a->link);
    mem_free(a);
    if (--v->readahead.running_count == 0 && v->readahead.stopped)
        loop_post(v->engine->loop, &v->pump);
}

static void ask(struct volume *v, uint64_t start, uint64_t end)
{
    struct readahead *ra = &v->readahead;
    end = MIN(end, v->params.size);
    while (start < end && ra->running_count < RUNNING_MAX) {
        struct ahead_read *a = MEM_NEW(struct ahead_read);
        uint64_t stop = MIN(end, (start / PART_BYTES + 1) * PART_BYTES);
        a->range = (struct range_read){.volume = v,
                                       .layers = RESOLVE_ALL,
                                       .background = true,
                                       .partial = true,
                                       .start = start,
                                       .end = stop,
                                       .done = ahead_done};
        list_push(&ra->running, &a->link);
        ra->running_count++;
        range_read_start(&a->range);
        start = stop;
    }
}

static uint64_t window_limit(const struct volume *v)
{
    return MIN(v->readahead.window_max, v->engine->config.cache_bytes / 8);
}

static void read_ahead(struct volume *v, struct readahead_stream *s)
{
    uint64_t limit = window_limit(v);
    s->ahead = MAX(s->ahead, s->next);
    if (s->ahead - s->next > s->window / 2)
        return;
    s->window = MIN(2 * s->window, limit);
    if (s->window == limit && v->readahead.window_max < READAHEAD_BYTES_MAX)
        v->readahead.window_max *= 2;
    uint64_t end = s->next + s->window;
    if (s->window >= 2 * PART_BYTES)
        end -= end % PART_BYTES;
    if (end <= s->ahead)
        return;
    mark_hit("readahead");
    ask(v, s->ahead, end);
    s->ahead = end;
}

/* ------------------------------------------------------------------------ readers */

static bool goes_on(const struct readahead_stream *s, uint64_t offset, uint64_t bytes)
{
    uint64_t slack = MAX(NEAR_BYTES, bytes);
    return offset + slack >= s->next && offset <= MAX(s->ahead, s->next + (s->window ? slack : 0));
}

static void went_on(struct volume *v, struct readahead_stream *s, uint64_t offset, uint64_t bytes)
{
    if (!s->window && offset < s->next)
        return;
    if (!s->window) {
        s->window = (uint64_t)FIRST_BLOCKS * v->params.block_size / 2;
        v->readahead.readers += !s->stride;
    }
    s->last = offset;
    s->next = MAX(s->next, offset + bytes);
    read_ahead(v, s);
}

/* Its place in a row of reads that lie equally far apart. */
static void strode_on(struct volume *v, struct readahead_stream *s, uint64_t offset, uint64_t bytes)
{
    s->last = offset;
    s->next = offset + bytes;
    s->strides++;
    uint64_t from = s->strides_ahead ? s->strides_ahead : 1, to = MIN(2 * s->strides, STRIDES_AHEAD);
    for (uint64_t i = from; i <= to; i++) {
        int64_t at = (int64_t)offset + (int64_t)i * s->stride;
        if (at >= 0 && (uint64_t)at < v->params.size)
            ask(v, (uint64_t)at, (uint64_t)at + bytes);
    }
    mark_hit("readahead-strided");
    s->strides_ahead = to; /* the next read is one stride nearer */
}

static struct readahead_stream *find(struct readahead *ra, uint64_t offset, uint64_t bytes, bool *strided)
{
    for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
        struct readahead_stream *s = &ra->streams[i];
        *strided = s->stride && (int64_t)(offset - s->last) == s->stride;
        if (s->used_at && (*strided || goes_on(s, offset, bytes)))
            return s;
    }
    return NULL;
}

static struct readahead_stream *latest(struct readahead *ra)
{
    struct readahead_stream *s = &ra->streams[0];
    for (unsigned i = 1; i < READAHEAD_STREAMS; i++)
        if (ra->streams[i].used_at > s->used_at)
            s = &ra->streams[i];
    return s->used_at ? s : NULL;
}

static void forget(struct volume *v, struct readahead_stream *s)
{
    struct readahead *ra = &v->readahead;
    bool unused = s->window && s->ahead < v->params.size && s->ahead - s->next > s->window / 2;
    if (unused && ra->window_max > READAHEAD_BYTES_MAX / 32)
        ra->window_max /= 2;
    ra->readers -= s->window || s->stride;
    memset(s, 0, sizeof *s);
}

/* The first read of a reader, perhaps; or the second of one that strides. */
static struct readahead_stream *begin(struct volume *v, uint64_t offset, uint64_t bytes)
{
    struct readahead *ra = &v->readahead;
    struct readahead_stream *s = latest(ra), *oldest = &ra->streams[0];
    int64_t stride = s ? (int64_t)(offset - s->last) : 0;
    if (s && !s->window && !s->stride && stride < STRIDE_MAX && stride > -STRIDE_MAX) {
        s->stride = stride;
        ra->readers++;
        s->last = offset;
        s->next = offset + bytes;
        return s;
    }
    for (unsigned i = 1; i < READAHEAD_STREAMS; i++)
        if (ra->streams[i].used_at < oldest->used_at)
            oldest = &ra->streams[i];
    forget(v, oldest);
    oldest->last = offset;
    oldest->next = oldest->ahead = offset + bytes;
    return oldest;
}

void readahead_note(struct volume *v, uint64_t offset, uint64_t bytes, bool missed)
{
    struct readahead *ra = &v->readahead;
    bool strided = false;
    if (ra->stopped || (!missed && !ra->readers))
        return;
    struct readahead_stream *s = find(ra, offset, bytes, &strided);
    if (!s && !missed)
        return;
    if (!s)
        s = begin(v, offset, bytes);
    else if (strided)
        strode_on(v, s, offset, bytes);
    else
        went_on(v, s, offset, bytes);
    s->used_at = ++ra->clock;
}

void readahead_stop(struct volume *v)
{
    v->readahead.stopped = true;
    LIST_EACH(&v->readahead.running, k)
    range_read_cancel(&CONTAINER_OF(k, struct ahead_read, link)->range);
}

bool readahead_stopped(const struct volume *v)
{
    return list_empty(&v->readahead.running);
}
