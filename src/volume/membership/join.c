/* Becoming a server, looking only, and leaving again: the bucket's format, the probe, the heartbeat. */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "objstore/probe.h"
#include "volume/engine_state.h"
#include "volume/format/manifest.h"

#define PAUSE_NS      (500 * NS_PER_MS)
#define TOP_LEVEL_MAX 100u
#define PROBE_FOLDER  "probe/"

struct join {
    struct engine *engine;
    struct engine_step *step;
    enum {
        JOIN_READS_FORMAT,
        JOIN_LISTS,
        JOIN_PROBES,
        JOIN_WRITES_FORMAT,
        JOIN_PAUSES,
        JOIN_BEATS,
        JOIN_SEES_TURN,
        JOIN_LEAVES,
    } state;
    bool looking;   /* nothing is written */
    bool foreign;   /* there are objects, and there was no format */
    bool no_format; /* to be created */
    bool refused;   /* somebody else was creating it */
    uint64_t started_ns;
    struct objstore_req req;
    struct buf *format;
    struct iovec iov;
    struct probe probe;
    struct timer timer;
    struct engine_step beat;
    enum err turn_err;
};

static void join_step(struct join *);

static void join_answered(struct objstore_req *r)
{
    join_step(CONTAINER_OF(r, struct join, req));
}

static void join_probed(struct probe *p)
{
    join_step(CONTAINER_OF(p, struct join, probe));
}

static void join_paused(struct timer *t)
{
    join_step(CONTAINER_OF(t, struct join, timer));
}

static void join_beaten(struct engine_step *s)
{
    join_step(CONTAINER_OF(s, struct join, beat));
}

static void join_finish(struct join *j, enum err err, const struct complaint *why)
{
    struct engine_step *step = j->step;
    if (why)
        step->complaint = *why;
    if (err && !step->complaint.text[0])
        complain(&step->complaint, err, "%s: %s", objstore_name(j->engine->store), err_text(err));
    timer_stop(&j->timer);
    buf_unref(j->format);
    mem_free(j);
    step->err = err;
    step->impl = NULL;
    step->done(step);
}

/* ----------------------------------------------------------------------- requests */

static void read_format(struct join *j)
{
    j->state = JOIN_READS_FORMAT;
    j->req = (struct objstore_req){
        .verb = OBJSTORE_GET,
        .key = "format",
        .limit = FORMAT_BYTES_MAX,
        .patience_ns = j->engine->config.patience_ns,
        .done = join_answered,
    };
    objstore_submit(j->engine->store, &j->req);
}

static void list_top(struct join *j)
{
    j->state = JOIN_LISTS;
    j->req = (struct objstore_req){
        .verb = OBJSTORE_LIST,
        .key = "",
        .list_limit = TOP_LEVEL_MAX,
        .delimited = true,
        .patience_ns = j->engine->config.patience_ns,
        .done = join_answered,
    };
    objstore_submit(j->engine->store, &j->req);
}

static void probe(struct join *j)
{
    j->state = JOIN_PROBES;
    j->probe = (struct probe){.patience_ns = j->engine->config.patience_ns, .done = join_probed};
    probe_start(j->engine->store, &j->probe);
}

static void write_format(struct join *j)
{
    j->state = JOIN_WRITES_FORMAT;
    if (!j->format)
        j->format = format_encode();
    j->iov = (struct iovec){.iov_base = j->format->data, .iov_len = j->format->bytes};
    j->req = (struct objstore_req){
        .verb = OBJSTORE_PUT,
        .key = "format",
        .patience_ns = j->engine->config.patience_ns,
        .body = &j->iov,
        .body_count = 1,
        .condition = OBJSTORE_CREATE,
        .done = join_answered,
    };
    objstore_submit(j->engine->store, &j->req);
}

static void beat(struct join *j)
{
    j->state = JOIN_BEATS;
    j->beat = (struct engine_step){.done = join_beaten};
    lease_join(&j->engine->lease, &j->beat);
}

/* After the heartbeat: whoever collects either sees it, or has swapped gc/state before. */
static void see_turn(struct join *j)
{
    j->state = JOIN_SEES_TURN;
    j->beat = (struct engine_step){.done = join_beaten};
    turns_join(&j->engine->turns, &j->beat);
}

/* The heartbeat goes again: the engine has not joined. */
static void join_undo(struct join *j)
{
    struct complaint why = j->beat.complaint;
    j->state = JOIN_LEAVES;
    j->turn_err = j->beat.err;
    j->beat = (struct engine_step){.done = join_beaten};
    turns_leave(&j->engine->turns, &j->beat);
    j->beat.complaint = why;
}

/* ------------------------------------------------------------------------ answers */

static void format_found(struct join *j)
{
    struct complaint complaint = {0};
    struct buf *content = j->req.content;
    enum err err = format_parse(content->data, content->bytes, &complaint);
    buf_unref(content);
    if (err)
        log_error("join", "%s: format: %s", objstore_name(j->engine->store), complaint.text);
    if (err || j->looking)
        join_finish(j, err, &complaint);
    else if (j->no_format)
        beat(j); /* written by us or somebody else; probed already */
    else
        probe(j);
}

static void format_read(struct join *j)
{
    enum err err = j->req.err;
    struct complaint complaint = {0};
    if (err == ERR_OK)
        format_found(j);
    else if (err == ERR_NOTFOUND && j->looking)
        join_finish(j, ERR_OK, NULL);
    else if (err == ERR_NOTFOUND && j->no_format)
        write_format(j);
    else if (err == ERR_NOTFOUND && j->foreign)
        join_finish(j,
                    complain(&complaint, ERR_INVALID,
                             "%s holds objects, but no `format`: it is not ashlar's; use an empty bucket or "
                             "directory, or a prefix in this one",
                             objstore_name(j->engine->store)),
                    &complaint);
    else if (err == ERR_NOTFOUND)
        list_top(j);
    else if (err == ERR_CORRUPT)
        join_finish(j,
                    complain(&complaint, err, "%s: the object `format` is larger than it can be",
                             objstore_name(j->engine->store)),
                    &complaint);
    else
        join_finish(j, err, &j->req.complaint);
}

/* Without a format there must be nothing, but for what probes have left behind. */
static void top_listed(struct join *j)
{
    struct objstore_req *r = &j->req;
    if (r->err) {
        join_finish(j, r->err, &r->complaint);
        return;
    }
    for (size_t i = 0; i < r->entry_count; i++)
        if (strcmp(r->entries[i].key, PROBE_FOLDER) != 0)
            j->foreign = true;
    objstore_entries_free(r->entries, r->entry_count);
    if (j->foreign) {
        read_format(j); /* somebody else may have created it just now */
        return;
    }
    j->no_format = true;
    probe(j);
}

/* A lost answer is looked into within the patience; what the store itself waited for in vain is final, unless
 * there is no end to it. */
static bool worth_waiting(const struct join *j, enum err err)
{
    uint64_t patience_ns = j->engine->config.patience_ns;
    if (err == ERR_UNKNOWN || err == ERR_CANCELED || err == ERR_CONFLICT)
        return !patience_ns || loop_now_ns(j->engine->loop) - j->started_ns < patience_ns;
    return !patience_ns && (err == ERR_NOSPACE || err == ERR_DENIED || err == ERR_UNAVAILABLE);
}

static void format_written(struct join *j)
{
    enum err err = j->req.err;
    if (err == ERR_OK) {
        beat(j);
    } else if (err == ERR_CONFLICT && !j->refused) {
        j->refused = true;
        read_format(j);
    } else if (worth_waiting(j, err)) {
        j->state = JOIN_PAUSES;
        timer_start(j->engine->loop, &j->timer, PAUSE_NS);
    } else {
        join_finish(j, err, &j->req.complaint);
    }
}

static void join_step(struct join *j)
{
    switch (j->state) {
    case JOIN_READS_FORMAT:
        format_read(j);
        break;
    case JOIN_LISTS:
        top_listed(j);
        break;
    case JOIN_PROBES:
        if (j->probe.err)
            join_finish(j, j->probe.err, &j->probe.complaint);
        else if (j->no_format)
            write_format(j);
        else
            beat(j);
        break;
    case JOIN_WRITES_FORMAT:
        format_written(j);
        break;
    case JOIN_PAUSES:
        read_format(j);
        break;
    case JOIN_BEATS:
        if (j->beat.err)
            join_finish(j, j->beat.err, &j->beat.complaint);
        else
            see_turn(j);
        break;
    case JOIN_SEES_TURN:
        if (j->beat.err)
            join_undo(j);
        else
            join_finish(j, ERR_OK, NULL);
        break;
    case JOIN_LEAVES:
        join_finish(j, j->turn_err, &j->beat.complaint);
        break;
    }
}

static void join_start(struct engine *e, struct engine_step *step, bool looking)
{
    struct join *j = MEM_NEW(struct join);
    assert(step->done);
    step->complaint.text[0] = '\0';
    step->impl = j;
    j->engine = e;
    j->step = step;
    j->looking = looking;
    j->started_ns = loop_now_ns(e->loop);
    j->timer.fire = join_paused;
    read_format(j);
}

/* --------------------------------------------------------------------------------- */

void engine_join(struct engine *e, struct engine_step *step)
{
    join_start(e, step, false);
}

void engine_look(struct engine *e, struct engine_step *step)
{
    join_start(e, step, true);
}

void engine_leave(struct engine *e, struct engine_step *step)
{
    turns_leave(&e->turns, step);
}
