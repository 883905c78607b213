#include "volume/read/range_read.h"

#include <assert.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/format/record.h"

struct range_part {
    struct range_read *read;
    struct stretch stretch;
    struct buf *buf; /* the part's own reference */
    uint32_t skip;
    bool fetching;
    struct fetch fetch;
};

static bool is_left_out(const struct range_read *op, const struct stretch *s)
{
    return op->only_logged && s->kind != STRETCH_LOGGED;
}

/* The piece that the part before it needs as well is fetched once. */
static size_t fetch_cost(const struct range_read *op, const struct range_part *p)
{
    const struct stretch *s = &p->stretch, *last = op->part_count > 1 ? &p[-1].stretch : NULL;
    bool same = last && last->kind == s->kind;
    if (is_left_out(op, s))
        return 0;
    if (s->kind == STRETCH_PIECE)
        return same && sha256_equal(&last->piece.hash, &s->piece.hash) ? 0 : s->piece.stored_bytes;
    if (s->kind == STRETCH_LOGGED)
        return same && last->slot == s->slot && last->folder == s->folder ? 0 : RECORD_BYTES_MAX;
    return 0;
}

static bool add_part(struct resolve *r, const struct stretch *s)
{
    struct range_read *op = CONTAINER_OF(r, struct range_read, resolve);
    if (op->part_count == op->part_room) {
        op->part_room = op->part_room ? 2 * op->part_room : 4;
        op->parts = mem_realloc(op->parts, op->part_room * sizeof *op->parts);
    }
    struct range_part *p = &op->parts[op->part_count++];
    memset(p, 0, sizeof *p);
    p->stretch = *s;
    p->skip = s->skip;
    if (s->kind == STRETCH_MEMORY)
        p->buf = buf_ref(s->buf);
    op->fetch_bytes += fetch_cost(op, p);
    if (op->fetch_max && op->fetch_bytes >= op->fetch_max) {
        op->end = s->start + s->bytes;
        return false;
    }
    return true;
}

static void drop_parts(struct range_read *op)
{
    for (size_t i = 0; i < op->part_count; i++)
        buf_unref(op->parts[i].buf);
    mem_free(op->parts);
    op->parts = NULL;
    op->part_count = op->part_room = 0;
}

static enum volume_kind segment_kind(enum stretch_kind k)
{
    return k == STRETCH_HOLE ? VOLUME_HOLE : k == STRETCH_ZEROS ? VOLUME_ALLOCATED_ZEROS : VOLUME_DATA;
}

static void make_segments(struct range_read *op, struct volume_segment *few, size_t few_count)
{
    op->segments = op->part_count <= few_count ? few : MEM_ARRAY(struct volume_segment, op->part_count);
    op->count = op->part_count;
    for (size_t i = 0; i < op->part_count; i++) {
        struct range_part *p = &op->parts[i];
        op->segments[i] = (struct volume_segment){
            .kind = segment_kind(p->stretch.kind), .bytes = p->stretch.bytes, .buf = p->buf, .skip = p->skip};
        p->buf = NULL; /* the segment has the reference */
    }
}

static void finish(struct range_read *op, enum err err)
{
    op->err = err;
    if (err == ERR_OK)
        make_segments(op, NULL, 0);
    drop_parts(op);
    op->done(op);
}

/* --------------------------------------------------------------------- fetching */

static void resolved(struct resolve *);

static void look_again(struct range_read *op)
{
    mark_hit("read-looks-again");
    drop_parts(op);
    op->fetch_bytes = 0;
    op->end = op->resolve.end;
    op->again = true;
    op->checkpoints = op->volume->checkpoints;
    op->missing = op->log_missing = false;
    resolve_start(&op->resolve);
}

/* Log records are deleted behind a checkpoint: as long as another one has passed, what is missing may have
 * moved. */
static bool may_have_moved(const struct range_read *op)
{
    return op->missing && (!op->again || op->checkpoints != op->volume->checkpoints);
}

static void all_fetched(struct range_read *op)
{
    enum err err = op->canceled ? ERR_CANCELED : ERR_OK;
    for (size_t i = 0; i < op->part_count && !err; i++)
        if (segment_kind(op->parts[i].stretch.kind) == VOLUME_DATA && !op->parts[i].buf &&
            !is_left_out(op, &op->parts[i].stretch))
            err = ERR_CORRUPT;
    if (err == ERR_CORRUPT && may_have_moved(op)) {
        look_again(op);
        return;
    }
    if (err == ERR_CORRUPT && !op->background &&
        op->log_missing) /* whoever took the export over may have deleted it; the manifest tells */
        retake_start(op->volume, "a record of its own log is gone");
    else if (err == ERR_CORRUPT && !op->background)
        log_error("read", "%s: %llu bytes at %llu cannot be read: input/output error", op->volume->name,
                  (unsigned long long)(op->end - op->start), (unsigned long long)op->start);
    finish(op, err == ERR_CORRUPT && op->partial ? ERR_OK : err);
}

static void fetched(struct fetch *f)
{
    struct range_part *p = CONTAINER_OF(f, struct range_part, fetch);
    struct range_read *op = p->read;
    p->fetching = false;
    if (f->err == ERR_OK && p->skip + p->stretch.bytes <= f->content->bytes)
        p->buf = f->content;
    else if (f->err == ERR_OK)
        buf_unref(f->content);
    op->missing |= f->err == ERR_NOTFOUND;
    op->log_missing |= f->err == ERR_NOTFOUND && p->stretch.kind == STRETCH_LOGGED;
    if (--op->fetching == 0)
        all_fetched(op);
}

static void start_fetch(struct range_part *p)
{
    struct volume *v = p->read->volume;
    p->fetch = (struct fetch){.engine = v->engine, .done = fetched, .priority = OBJSTORE_DEMAND};
    if (p->read->layers == RESOLVE_FOLDING || p->read->background)
        p->fetch.priority = OBJSTORE_BACKGROUND;
    p->fetching = true;
    p->read->fetching++;
    if (p->stretch.kind == STRETCH_PIECE) {
        fetch_piece(&p->fetch, &p->stretch.piece);
        return;
    }
    struct key key;
    key_log_slot(&key, v->name, v->manifest.id, p->stretch.folder->epoch, p->stretch.folder->nonce,
                 p->stretch.slot);
    fetch_record(&p->fetch, key.text);
}

static bool get_now(struct range_part *p)
{
    if (p->stretch.kind == STRETCH_PIECE)
        p->buf = fetch_piece_now(p->read->volume->engine, &p->stretch.piece);
    else if (p->stretch.kind == STRETCH_LOGGED || p->stretch.kind == STRETCH_UNREADABLE)
        return false;
    return segment_kind(p->stretch.kind) != VOLUME_DATA || p->buf;
}

static void resolved(struct resolve *r)
{
    struct range_read *op = CONTAINER_OF(r, struct range_read, resolve);
    op->fetching = 1;
    op->end = MIN(op->end, r->end);
    for (size_t i = 0; i < op->part_count && !op->canceled; i++) {
        struct range_part *p = &op->parts[i];
        p->read = op;
        if (is_left_out(op, &p->stretch))
            continue;
        if (!get_now(p) && p->stretch.kind != STRETCH_UNREADABLE)
            start_fetch(p);
    }
    if (--op->fetching == 0)
        all_fetched(op);
}

static void set_up(struct range_read *op)
{
    op->parts = NULL;
    op->part_count = op->part_room = op->fetching = op->fetch_bytes = 0;
    op->again = op->missing = op->log_missing = op->canceled = false;
    op->checkpoints = op->volume->checkpoints;
    op->segments = NULL;
    op->count = 0;
    op->resolve = (struct resolve){.volume = op->volume,
                                   .layers = op->layers,
                                   .start = op->start,
                                   .end = op->end,
                                   .parts_max = op->parts_max,
                                   .background = op->background,
                                   .found = add_part,
                                   .done = resolved};
}

void range_read_start(struct range_read *op)
{
    set_up(op);
    resolve_start(&op->resolve);
}

void range_read_cancel(struct range_read *op)
{
    op->canceled = true;
    if (!op->fetching) {
        resolve_cancel(&op->resolve);
        return;
    }
    for (size_t i = 0; i < op->part_count; i++)
        if (op->parts[i].fetching)
            fetch_cancel(&op->parts[i].fetch);
}

bool range_read_now(struct range_read *op, struct volume_segment *few, size_t few_count)
{
    set_up(op);
    bool all = resolve_now(&op->resolve);
    for (size_t i = 0; i < op->part_count && all; i++) {
        op->parts[i].read = op;
        all = get_now(&op->parts[i]);
    }
    if (all) {
        op->err = ERR_OK;
        make_segments(op, few, few_count);
    }
    drop_parts(op);
    return all;
}

void range_segments_drop(struct volume_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_unref(segments[i].buf);
}
