#include "volume/map/gather.h"

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"

static void read_next(struct gather *g);

/* Its data is lost, and reading it must say so ever after. */
static void put_lost(struct volume *v, uint64_t start, uint64_t end)
{
    log_error("checkpoint", "%s: %llu bytes at %llu were in a log record that cannot be read: lost", v->name,
              (unsigned long long)(end - start), (unsigned long long)start);
    struct piece_ref nowhere = {.bytes = (uint32_t)(end - start), .stored_bytes = (uint32_t)(end - start)};
    struct content c = {.kind = CONTENT_PIECE, .piece = piece_create(&nowhere)};
    extents_put(&v->folding, start, end, &c);
    piece_unref(c.piece);
}

static struct buf *trimmed(struct engine *e, struct buf *b, size_t bytes)
{
    if (bytes * 2 >= b->bytes)
        return b;
    budget_take(&e->inline_budget, buf_cost(bytes));
    struct buf *small = buf_create_charged(bytes, &e->inline_budget);
    memcpy(small->data, b->data, bytes);
    buf_unref(b);
    return small;
}

/* A run that is one piece already stays what it is. */
static void end_run(struct gather *g)
{
    struct volume *v = g->volume;
    if (g->run_parts > 1 || g->run_logged) {
        struct content c = {.kind = CONTENT_DATA};
        c.data.buf = g->buf = trimmed(v->engine, g->buf, (size_t)(g->at - g->run));
        c.data.generation = ++v->engine->generations;
        extents_put(&v->folding, g->run, g->at, &c);
        g->bytes += g->at - g->run;
    }
    buf_unref(g->buf);
    g->buf = NULL;
    g->run_parts = 0;
    g->run_logged = false;
}

static bool only_in_log(const struct gather *g)
{
    const struct extent *e = extents_from(&g->volume->folding, g->at);
    return e && e->start <= g->at && e->content.kind == CONTENT_LOGGED;
}

static void add_to_run(struct gather *g, const struct volume_segment *s)
{
    struct engine *e = g->volume->engine;
    if (!g->buf) {
        size_t room = (size_t)(g->end - g->at);
        budget_take(&e->inline_budget, buf_cost(room));
        g->buf = buf_create_charged(room, &e->inline_budget);
        g->run = g->at;
    }
    uint8_t *to = g->buf->data + (g->at - g->run);
    if (s->kind == VOLUME_DATA)
        memcpy(to, s->buf->data + s->skip, (size_t)s->bytes);
    else
        memset(to, 0, (size_t)s->bytes);
    g->run_parts++;
    g->run_logged |= only_in_log(g);
}

static void take(struct gather *g, const struct volume_segment *s)
{
    bool logged = only_in_log(g);
    bool wanted = logged || !g->only_logged, readable = s->kind != VOLUME_DATA || s->buf;
    if (wanted && readable)
        add_to_run(g, s);
    else
        end_run(g);
    if (logged && !readable)
        put_lost(g->volume, g->at, g->at + s->bytes);
    if (!logged && wanted && !readable)
        mark_hit("consolidated-around-damage");
    g->at += s->bytes;
}

static void read_done(struct range_read *r)
{
    struct gather *g = CONTAINER_OF(r, struct gather, read);
    if (r->err == ERR_OK) {
        for (size_t i = 0; i < r->count; i++)
            take(g, &r->segments[i]);
        range_segments_drop(r->segments, r->count);
        mem_free(r->segments);
        if (g->at < g->end) {
            read_next(g);
            return;
        }
    }
    g->canceled = r->err != ERR_OK;
    if (g->canceled)
        g->run_parts = 0;
    end_run(g);
    g->done(g);
}

static void read_next(struct gather *g)
{
    g->read = (struct range_read){.volume = g->volume,
                                  .layers = RESOLVE_FOLDING,
                                  .start = g->at,
                                  .end = g->end,
                                  .parts_max = GATHER_PARTS,
                                  .fetch_max = GATHER_FETCH_BYTES,
                                  .partial = true,
                                  .only_logged = g->only_logged,
                                  .done = read_done};
    range_read_start(&g->read);
}

void gather_start(struct gather *g)
{
    g->at = g->start;
    g->buf = NULL;
    g->bytes = 0;
    g->run_parts = 0;
    g->run_logged = g->canceled = false;
    read_next(g);
}

void gather_cancel(struct gather *g)
{
    range_read_cancel(&g->read);
}
