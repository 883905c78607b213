#include "client.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "bucket.h"
#include "process.h"

static const char *const verbs[] = {"READ", "WRITE", "FLUSH", "TRIM", "ZERO", "CACHE", "STATUS"};

static struct sim *sim_of(const struct client *c)
{
    return c->export->sim;
}

static void *must(void *p)
{
    assert(p);
    return p;
}

static bool changes(enum volume_verb verb)
{
    return verb == VOLUME_WRITE || verb == VOLUME_TRIM || verb == VOLUME_ZERO;
}

static void release(struct client_op *op)
{
    free(op->data);
    free(op->expected);
    free(op->allocated);
    op->data = op->expected = op->allocated = NULL;
}

void op_free(struct client_op *op)
{
    release(op);
    free(op);
}

static void ended(struct client_op *op)
{
    list_remove(&op->link);
    op->client->in_flight--;
    release(op);
    if (!op->kept)
        op_free(op);
}

static void tell(struct client_op *op, enum op_stage stage, enum err err)
{
    op->stage = stage;
    op->err = err;
    if (op->done)
        op->done(op);
}

void client_forget_ops(struct client *c)
{
    LIST_EACH(&c->ops, k)
    {
        struct client_op *op = CONTAINER_OF(k, struct client_op, link);
        tell(op, OP_GONE, ERR_CANCELED);
        ended(op);
    }
}

/* ------------------------------------------------------------------- checking answers */

_Noreturn static void wrong(const struct client_op *op, const char *what, uint64_t offset,
                            const uint8_t *found, const uint8_t *wanted, size_t room)
{
    char found_text[STAMP_TEXT] = "", wanted_text[STAMP_TEXT] = "";
    if (found)
        model_stamp_text(found, room, found_text);
    if (wanted)
        model_stamp_text(wanted, room, wanted_text);
    const struct client *c = op->client;
    sim_fail(sim_of(c),
             "%s: s%zu (epoch %u): %s of %llu bytes at %llu %s, at offset %llu: [%s], the model has [%s]",
             c->export->name, c->session->server, c->session->epoch, verbs[op->req.verb],
             (unsigned long long)op->req.bytes, (unsigned long long)op->req.offset, what,
             (unsigned long long)offset, found_text, wanted_text);
}

void read_copy(const struct volume_req *r, uint8_t *to)
{
    size_t at = 0;
    for (size_t i = 0; i < r->segment_count; i++) {
        const struct volume_segment *g = &r->segments[i];
        if (g->kind == VOLUME_DATA)
            memcpy(to + at, g->buf->data + g->skip, g->bytes);
        else
            memset(to + at, 0, g->bytes);
        at += g->bytes;
    }
}

#define STATUS_PARTS 4 /* extents that are looked at for each that is asked for: of a byte at least */

static void check_segments(const struct client_op *op)
{
    const struct volume_req *r = &op->req;
    uint64_t sum = 0;
    for (size_t i = 0; i < r->segment_count; i++) {
        const struct volume_segment *g = &r->segments[i];
        if (!g->bytes)
            wrong(op, "has an empty segment", r->offset + sum, NULL, NULL, 0);
        if (g->kind == VOLUME_DATA && r->verb == VOLUME_READ &&
            (!g->buf || g->skip > g->buf->bytes || g->bytes > g->buf->bytes - g->skip))
            wrong(op, "has a segment outside of its buffer", r->offset + sum, NULL, NULL, 0);
        if (r->verb == VOLUME_STATUS && i && g->kind == r->segments[i - 1].kind)
            wrong(op, "has two adjacent segments of one kind", r->offset + sum, NULL, NULL, 0);
        sum += g->bytes;
    }
    if (r->verb == VOLUME_READ ? sum != r->bytes : r->bytes && !r->segment_count)
        wrong(op, "does not cover its range", r->offset + sum, NULL, NULL, 0);
    size_t limit = r->flags & VOLUME_REQ_ONE ? 1 : r->status_limit ? r->status_limit : 1024;
    if (r->verb == VOLUME_STATUS && sum < MIN(r->bytes, limit * STATUS_PARTS) && r->segment_count < limit)
        wrong(op, "ends early", r->offset + sum, NULL, NULL, 0);
}

/* Where it differs from what it should be, leaving out what nobody can read; op->req.bytes: nowhere. */
static size_t differs_at(const struct client_op *op, const uint8_t *found)
{
    const struct session *n = op->client->session;
    size_t bytes = (size_t)op->req.bytes;
    for (size_t at = 0; (at += bytes_differ_at(found + at, op->expected + at, bytes - at)) < bytes; at++)
        if (!n->unreadable || !n->unreadable[op->model_at + at])
            return at;
    return bytes;
}

/* A READ that had to look again shows a later moment, but never one after its answer, and one moment only. */
static bool shows_later_moment(const struct client_op *op, const uint8_t *found)
{
    const struct session *n = op->client->session;
    for (size_t i = op->change; i < n->change_count; i++) {
        session_change_part(n, i, op->model_at, (size_t)op->req.bytes, op->expected);
        if (differs_at(op, found) == op->req.bytes) {
            mark_hit("sim.read_shows_later_moment");
            return true;
        }
    }
    return false;
}

static void check_read(const struct client_op *op)
{
    size_t bytes = (size_t)op->req.bytes;
    uint8_t *found = must(malloc(bytes + 1));
    read_copy(&op->req, found);
    size_t at = op->expected ? differs_at(op, found) : bytes;
    if (at < bytes && !shows_later_moment(op, found)) {
        size_t back = MIN((size_t)((op->req.offset + at) % 16), at);
        wrong(op, "is stale or wrong", op->req.offset + at, found + at - back, op->expected + at - back,
              bytes - at + back);
    }
    if (!op->expected && !bytes_are_zero(found, bytes))
        wrong(op, "is not empty", op->req.offset, found, NULL, bytes);
    free(found);
}

static void check_status(const struct client_op *op)
{
    const struct session *n = op->client->session;
    uint64_t at = 0;
    for (size_t i = 0; i < op->req.segment_count && at < op->req.bytes; i++) {
        const struct volume_segment *g = &op->req.segments[i];
        uint64_t end = MIN(at + g->bytes, op->req.bytes);
        if (!op->expected && g->kind == VOLUME_DATA && !op->client->export->sim->bucket->damaged)
            wrong(op, "shows data where nothing ever was", op->req.offset + at, NULL, NULL, 0);
        for (uint64_t k = at; op->expected && k < end; k++) {
            if (n->unreadable && n->unreadable[op->model_at + k])
                continue;
            if (g->kind != VOLUME_DATA && op->expected[k])
                wrong(op, "shows zeros where data is", op->req.offset + k, NULL, op->expected + k,
                      (size_t)(op->req.bytes - k));
            if (g->kind == VOLUME_HOLE && op->allocated[k])
                wrong(op, "shows a hole where zeros are allocated", op->req.offset + k, NULL, NULL, 0);
        }
        at = end;
    }
}

static void check_error(const struct client_op *op, enum err err)
{
    const struct client *c = op->client;
    const struct bucket *b = sim_of(c)->bucket;
    bool durable =
        op->req.verb == VOLUME_FLUSH || op->req.flags & VOLUME_FUA || c->export->params.durable_writes;
    bool full =
        err == ERR_NOSPACE && b->nospace_seen &&
        (durable || op->stage == OP_ADMISSION || op->req.verb == VOLUME_TRIM || op->req.verb == VOLUME_ZERO);
    /* who was superseded may find its log gone before it knows */
    bool spoiled = err == ERR_CORRUPT && !changes(op->req.verb) && op->req.verb != VOLUME_FLUSH &&
                   (b->damaged || c->export->trouble || session_may_be_fenced(c->session));
    bool fenced = err == ERR_FENCED && (!c->session || session_may_be_fenced(c->session));
    if (!full && !spoiled && !fenced)
        sim_fail(sim_of(c), "%s: s%zu: %s of %llu bytes at %llu is answered \"%s\" for no reason",
                 c->export->name, c->session->server, verbs[op->req.verb], (unsigned long long)op->req.bytes,
                 (unsigned long long)op->req.offset, err_text(err));
}

static void check_answer(struct client_op *op)
{
    struct session *n = op->client->session;
    if (op->after_loss)
        sim_fail(sim_of(op->client), "%s: s%zu: %s is answered OK after the export was lost", n->export->name,
                 n->server, verbs[op->req.verb]);
    switch (op->req.verb) {
    case VOLUME_READ:
        check_segments(op);
        if (op->in_model)
            check_read(op);
        return;
    case VOLUME_STATUS:
        check_segments(op);
        if (op->in_model)
            check_status(op);
        return;
    case VOLUME_FLUSH:
        if (n->verified)
            session_durable(n, op->covers);
        return;
    case VOLUME_WRITE:
    case VOLUME_TRIM:
    case VOLUME_ZERO:
        session_answered(n, op->change);
        if (op->req.flags & VOLUME_FUA || n->export->params.durable_writes)
            session_durable(n, op->req.bytes ? op->change + 1 : op->covers);
        return;
    case VOLUME_CACHE:
    case VOLUME_CHANGES:
        return;
    }
}

static void note_epoch(struct client *c)
{
    struct volume_info info;
    if (!c->session->verified)
        return;
    volume_info(c->volume, &info);
    if (info.epoch == c->session->epoch)
        return;
    mark_hit("sim.owner_moved_to_new_epoch");
    sim_trace(sim_of(c), "s%zu %s: epoch %u continues as %u", c->session->server, c->export->name,
              c->session->epoch, info.epoch);
    session_new_epoch(c->session, info.epoch, info.breaks);
}

static void answered(struct volume_req *r)
{
    struct client_op *op = CONTAINER_OF(r, struct client_op, req);
    struct client *c = op->client;
    if (c->process->server->doomed)
        return;
    enum err err = r->err;
    sim_trace(sim_of(c), "s%zu %s: %s%s %llu+%llu is answered: %s", c->session->server, c->export->name,
              verbs[r->verb], r->flags & VOLUME_FUA && changes(r->verb) ? " fua" : "",
              (unsigned long long)r->offset, (unsigned long long)r->bytes, err_text(err));
    note_epoch(c);
    if (err == ERR_OK)
        check_answer(op);
    else
        check_error(op, err);
    tell(op, OP_DONE, err);
    volume_req_finish(r);
    ended(op);
}

/* ------------------------------------------------------------------------- submitting */

static void remember(struct client_op *op)
{
    struct session *n = op->client->session;
    struct volume_req *r = &op->req;
    op->after_loss = op->client->lost;
    if (r->verb == VOLUME_FLUSH || !r->bytes) /* FUA on nothing is a FLUSH */
        op->covers = session_flush_covers(n);
    if (changes(r->verb)) {
        op->change = session_change(n, r->verb, r->flags, r->offset, r->bytes, op->data);
        op->data = NULL;
    }
    if ((r->verb != VOLUME_READ && r->verb != VOLUME_STATUS) || !n->verified)
        return;
    op->in_model = true;
    op->change = n->change_count;
    if (!model_place(n->export, r->offset, r->bytes, &op->model_at))
        return;
    op->expected = must(malloc(r->bytes + 1));
    op->allocated = must(malloc(r->bytes + 1));
    memcpy(op->expected, n->live + op->model_at, r->bytes);
    memcpy(op->allocated, n->allocated + op->model_at, r->bytes);
}

static void submit(struct client_op *op)
{
    struct volume_req *r = &op->req;
    size_t at = 0;
    for (size_t i = 0; r->verb == VOLUME_WRITE && i < r->payload_count; i++) {
        memcpy(r->payload[i]->data, op->data + at, r->payload[i]->bytes);
        at += r->payload[i]->bytes;
    }
    assert(r->verb != VOLUME_WRITE || at == r->bytes);
    op->stage = OP_SUBMITTED;
    remember(op);
    sim_trace(sim_of(op->client), "s%zu %s: %s%s %llu+%llu", op->client->process->server->number,
              op->client->export->name, verbs[r->verb],
              r->flags & VOLUME_FUA && changes(r->verb) ? " fua" : "", (unsigned long long)r->offset,
              (unsigned long long)r->bytes);
    volume_submit(op->client->volume, r);
}

static void admitted(struct volume_req *r)
{
    struct client_op *op = CONTAINER_OF(r, struct client_op, req);
    if (op->client->process->server->doomed)
        return;
    mark_hit("sim.write_waited_for_memory");
    if (r->err == ERR_OK) {
        submit(op);
        return;
    }
    check_error(op, r->err);
    tell(op, OP_DONE, r->err);
    ended(op);
}

static struct client_op *op_create(struct client *c, enum volume_verb verb, unsigned flags, uint64_t offset,
                                   uint64_t bytes)
{
    assert(c->state == CLIENT_OPEN || c->state == CLIENT_READING);
    struct client_op *op = must(calloc(1, sizeof *op));
    op->client = c;
    op->req = (struct volume_req){.verb = verb,
                                  .flags = flags,
                                  .offset = offset,
                                  .bytes = bytes,
                                  .done = answered,
                                  .admitted = admitted};
    list_push(&c->ops, &op->link);
    c->in_flight++;
    return op;
}

/* The server may be dead after it, and the op gone unless it is kept. */
static void send(struct client_op *op)
{
    struct client *c = op->client;
    struct server *v = c->process->server;
    server_enter(v);
    if (op->req.verb != VOLUME_WRITE || !op->req.bytes || volume_prepare_write(c->volume, &op->req))
        submit(op);
    server_leave(v);
}

struct client_op *client_submit(struct client *c, enum volume_verb verb, unsigned flags, uint64_t offset,
                                uint64_t bytes, uint8_t *data, bool keep)
{
    struct client_op *op = op_create(c, verb, flags, offset, bytes);
    op->kept = keep;
    op->data = data;
    if (verb == VOLUME_WRITE && !data) {
        op->data = must(malloc(bytes + 1));
        model_stamp(c->export, op->data, offset, bytes);
    }
    send(op);
    return keep ? op : NULL;
}

void client_submit_then(struct client *c, enum volume_verb verb, uint64_t offset, uint64_t bytes,
                        void (*done)(struct client_op *), void *ctx)
{
    struct client_op *op = op_create(c, verb, 0, offset, bytes);
    op->done = done;
    op->ctx = ctx;
    send(op);
}

bool client_read_now(struct client *c, uint64_t offset, uint64_t bytes)
{
    struct client_op op = {.client = c};
    op.req = (struct volume_req){.verb = VOLUME_READ, .offset = offset, .bytes = bytes};
    struct server *v = c->process->server;
    bool now;
    server_enter(v);
    if ((now = volume_read_now(c->volume, &op.req)) && !v->doomed) {
        mark_hit("sim.read_now");
        remember(&op);
        check_answer(&op);
        volume_req_finish(&op.req);
    }
    server_leave(v);
    release(&op);
    return now;
}
