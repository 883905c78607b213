#include "survey.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "bucket.h"
#include "process.h"

#define IN_FLIGHT_MAX 8

struct survey {
    uint8_t *image, *holes, *zeros, *unreadable;
    bool any_unreadable, failed, submitting;
    enum volume_verb verb;
    size_t island;
    uint64_t at; /* in the island */
    size_t pending;
};

static void go_on(struct client *);

void survey_destroy(struct client *c)
{
    struct survey *y = c->survey;
    c->survey = NULL;
    free(y->image);
    free(y->holes);
    free(y->zeros);
    free(y->unreadable);
    free(y);
}

static void take_status(struct survey *y, const struct client_op *op, size_t at)
{
    uint64_t from = 0;
    for (size_t i = 0; i < op->req.segment_count && from < op->req.bytes; i++) {
        const struct volume_segment *g = &op->req.segments[i];
        size_t n = (size_t)MIN(g->bytes, op->req.bytes - from);
        memset(y->holes + at + from, g->kind == VOLUME_HOLE, n);
        memset(y->zeros + at + from, g->kind != VOLUME_DATA, n);
        from += n;
    }
}

static void answered(struct client_op *op)
{
    struct client *c = op->client;
    struct survey *y = c->survey;
    size_t at = 0;
    if (op->stage == OP_GONE)
        return;
    y->pending--;
    bool placed = model_place(c->export, op->req.offset, op->req.bytes, &at);
    assert(placed);
    if (op->err == ERR_FENCED) {
        y->failed = true;
    } else if (op->err == ERR_CORRUPT) {
        mark_hit("sim.unreadable");
        y->any_unreadable = true;
        memset(y->unreadable + at, 1, op->req.bytes);
    } else if (op->req.verb == VOLUME_READ) {
        read_copy(&op->req, y->image + at);
    } else {
        take_status(y, op, at);
    }
    go_on(c);
}

static bool next(struct client *c, uint64_t *offset, uint64_t *bytes)
{
    struct survey *y = c->survey;
    const struct model_export *e = c->export;
    uint64_t most = (e->sim->bucket->damaged || e->trouble ? 1 : 16) * e->params.block_size;
    if (y->island == e->island_count && y->verb == VOLUME_READ) {
        y->verb = VOLUME_STATUS;
        y->island = 0;
    }
    if (y->island == e->island_count || y->failed)
        return false;
    const struct island *d = &e->islands[y->island];
    *offset = d->at + y->at;
    *bytes = MIN(d->bytes - y->at, most - *offset % e->params.block_size);
    y->at += *bytes;
    if (y->at == d->bytes) {
        y->at = 0;
        y->island++;
    }
    return true;
}

static void go_on(struct client *c)
{
    struct survey *y = c->survey;
    uint64_t offset, bytes;
    if (y->submitting)
        return;
    y->submitting = true;
    while (y->pending < IN_FLIGHT_MAX && next(c, &offset, &bytes)) {
        y->pending++;
        client_submit_then(c, y->verb, offset, bytes, answered, NULL);
    }
    y->submitting = false;
    if (y->pending)
        return;
    if (!y->failed)
        session_verify(c->session, y->image, y->holes, y->zeros, y->any_unreadable ? y->unreadable : NULL);
    survey_destroy(c);
    c->state = CLIENT_OPEN;
}

void survey_start(struct client *c)
{
    struct survey *y = c->survey = calloc(1, sizeof *y);
    size_t n = c->export->model_bytes + 1;
    assert(y);
    y->image = calloc(1, n);
    y->holes = calloc(1, n);
    y->zeros = calloc(1, n);
    y->unreadable = calloc(1, n);
    assert(y->image && y->holes && y->zeros && y->unreadable);
    y->verb = VOLUME_READ;
    go_on(c);
}
