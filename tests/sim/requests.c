#include "requests.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "base/mem.h"

static const char *const verb_names[] = {"GET", "PUT", "HEAD", "DELETE", "LIST"};
static const char *const condition_names[] = {"", " create", " match"};

static void arrive(struct timer *);
static void deliver(struct timer *);

static bool conditional(const struct bucket_op *op)
{
    return op->verb == OBJSTORE_PUT && op->condition != OBJSTORE_ANY;
}

static struct faults *faults_of(const struct bucket_op *op)
{
    return &op->bucket->sim->faults;
}

static uint64_t trip_ns(struct sim *s)
{
    uint64_t ns =
        s->faults.latency_min_ns + sim_below(s, s->faults.latency_max_ns - s->faults.latency_min_ns + 1);
    return sim_chance(s, s->faults.slow) ? ns * (2 + sim_below(s, 49)) : ns;
}

static void travel(struct bucket_op *op, uint64_t extra_ns)
{
    struct sim *s = op->bucket->sim;
    op->timer.fire = arrive;
    sim_at(s, &op->timer, extra_ns + trip_ns(s));
}

/* ------------------------------------------------------------------ made and ended */

static char *copy_text(const char *t)
{
    char *c = strdup(t ? t : "");
    assert(c);
    return c;
}

static void copy_body(struct bucket_op *op, const struct objstore_req *r)
{
    for (size_t i = 0; i < r->body_count; i++)
        op->body_bytes += r->body[i].iov_len;
    op->body = malloc(op->body_bytes + 1);
    assert(op->body);
    size_t at = 0;
    for (size_t i = 0; i < r->body_count; i++) {
        memcpy(op->body + at, r->body[i].iov_base, r->body[i].iov_len);
        at += r->body[i].iov_len;
    }
}

static void copy_keys(struct bucket_op *op, const char *const *keys, size_t n)
{
    op->keys = calloc(n, sizeof *op->keys);
    assert(op->keys || !n);
    op->key_count = n;
    for (size_t i = 0; i < n; i++)
        op->keys[i] = copy_text(keys[i]);
}

static struct bucket_op *request_create(struct bucket *b, struct server *v, struct objstore_req *r)
{
    struct bucket_op *op = calloc(1, sizeof *op);
    assert(op);
    op->bucket = b;
    op->from = v;
    op->req = r;
    op->sent_ns = sim_now_ns(b->sim);
    op->verb = r->verb;
    op->condition = r->condition;
    op->key = copy_text(r->key);
    op->after = copy_text(r->after);
    snprintf(op->etag, sizeof op->etag, "%s", r->etag);
    op->offset = r->offset;
    op->length = r->length;
    op->limit = r->limit;
    op->list_limit = r->list_limit;
    op->delimited = r->delimited;
    if (r->verb == OBJSTORE_PUT)
        copy_body(op, r);
    if (r->verb == OBJSTORE_DELETE)
        copy_keys(op, r->keys, r->key_count);
    return op;
}

void request_end(struct bucket_op *op)
{
    timer_stop(&op->timer);
    timer_stop(&op->patience);
    list_remove(&op->link);
    list_remove(&op->held);
    bucket_op_free(op);
}

/* What the network makes of a request that was sent once: another one, that nobody waits for. */
static struct bucket_op *stray_of(const struct bucket_op *op)
{
    struct bucket_op *c = calloc(1, sizeof *c);
    assert(c);
    c->bucket = op->bucket;
    c->from = op->from;
    c->verb = op->verb;
    c->condition = op->condition;
    c->key = copy_text(op->key);
    c->after = copy_text("");
    snprintf(c->etag, sizeof c->etag, "%s", op->etag);
    c->body = malloc(op->body_bytes + 1);
    assert(c->body);
    memcpy(c->body, op->body ? op->body : (const uint8_t *)"", op->body_bytes);
    c->body_bytes = op->body_bytes;
    copy_keys(c, (const char *const *)op->keys, op->key_count);
    list_push(&op->bucket->strays, &c->link);
    return c;
}

static void stray_late(const struct bucket_op *op)
{
    struct bucket_op *c = stray_of(op);
    travel(c, sim_spread(op->bucket->sim, NS_PER_MS, faults_of(op)->late_max_ns));
}

/* -------------------------------------------------------------------------- the answer */

static void give_content(struct bucket_op *op, struct objstore_req *r)
{
    if (op->verb == OBJSTORE_GET) {
        r->content = buf_create(op->content_bytes);
        memcpy(r->content->data, op->content, op->content_bytes);
    }
    if (op->verb == OBJSTORE_LIST) {
        r->entries = MEM_ARRAY(struct objstore_entry, op->name_count);
        r->entry_count = op->name_count;
        r->truncated = op->truncated;
        for (size_t i = 0; i < op->name_count; i++)
            r->entries[i] = (struct objstore_entry){.key = mem_strdup(op->names[i]),
                                                    .bytes = op->sizes[i].bytes,
                                                    .modified_ms = op->sizes[i].modified_ms};
    } else {
        snprintf(r->etag, sizeof r->etag, "%s", op->etag);
        r->object_bytes = op->object_bytes;
        r->modified_ms = op->modified_ms;
    }
}

static void give_answer(struct bucket_op *op, enum err err)
{
    struct objstore_req *r = op->req;
    op->req = NULL;
    timer_stop(&op->patience);
    server_enter(op->from);
    r->impl = NULL;
    r->err = err;
    r->date_ms = op->date_ms;
    if (err == ERR_OK)
        give_content(op, r);
    else if (err == ERR_DENIED || err == ERR_UNAVAILABLE || err == ERR_NOSPACE || err == ERR_INVALID)
        complain(&r->complaint, err, "the simulated store says: %s", err_text(err));
    objstore_answer(r);
    server_leave(op->from);
}

static void deliver(struct timer *t)
{
    struct bucket_op *op = CONTAINER_OF(t, struct bucket_op, timer);
    if (op->req)
        give_answer(op, op->err);
    request_end(op);
}

static void answer(struct bucket_op *op, enum err err, uint64_t extra_ns)
{
    struct sim *s = op->bucket->sim;
    if (!op->req) {
        request_end(op);
        return;
    }
    op->err = err;
    op->answered = true;
    op->timer.fire = deliver;
    sim_at(s, &op->timer, extra_ns + trip_ns(s));
}

/* It failed and is asked again below objstore.h, or, where that must not be done, reported as it is. */
static void fail(struct bucket_op *op, enum err if_conditional, uint64_t extra_ns)
{
    if (conditional(op) || !op->req) {
        answer(op, if_conditional, extra_ns);
        return;
    }
    op->attempts++;
    free(op->content);
    op->content = NULL;
    for (size_t i = 0; i < op->name_count; i++)
        free(op->names[i]);
    op->name_count = 0;
    op->truncated = false;
    travel(op, extra_ns + sim_spread(op->bucket->sim, 20 * NS_PER_MS, 2 * NS_PER_S));
}

/* ------------------------------------------------------------------------- the arrival */

static void apply(struct bucket_op *op)
{
    bucket_apply(op->bucket, op);
    sim_trace(op->bucket->sim, "s%zu%s %s%s %s%s -> %s", op->from->number, op->req ? "" : " (stray)",
              verb_names[op->verb], op->verb == OBJSTORE_PUT ? condition_names[op->condition] : "",
              op->verb == OBJSTORE_DELETE ? op->keys[0] : op->key, op->key_count > 1 ? ", ..." : "",
              err_text(op->err));
    if (!op->req)
        mark_hit("sim.stray_applied");
}

static void apply_and_answer(struct bucket_op *op)
{
    apply(op);
    if (op->err == ERR_CONFLICT && sim_chance(op->bucket->sim, faults_of(op)->loser_500)) {
        mark_hit("sim.loser_500");
        op->err = ERR_UNKNOWN;
    }
    answer(op, op->err, 0);
}

/* With luck: true when one of the faults took it. */
static bool misfortune(struct bucket_op *op)
{
    struct sim *s = op->bucket->sim;
    const struct faults *f = faults_of(op);
    if (op->attempts > 4)
        return false;
    if (sim_chance(s, f->throttled)) {
        mark_hit("sim.throttled");
        fail(op, ERR_UNAVAILABLE, 0);
    } else if (sim_chance(s, f->refused)) {
        mark_hit("sim.refused_5xx");
        fail(op, ERR_UNKNOWN, 0);
    } else if (bucket_op_mutates(op) && sim_chance(s, f->stalled)) {
        mark_hit("sim.stalled");
        stray_late(op);
        fail(op, ERR_UNKNOWN, sim_spread(s, NS_PER_MS, 30 * NS_PER_S));
    } else if (sim_chance(s, f->lost_answer)) {
        mark_hit("sim.lost_answer");
        apply(op);
        fail(op, ERR_UNKNOWN, sim_spread(s, NS_PER_MS, 30 * NS_PER_S));
    } else {
        if (bucket_op_mutates(op) && sim_chance(s, f->duplicated))
            stray_late(op);
        return false;
    }
    return true;
}

static void crash_sender(struct bucket_op *op, bool applied)
{
    struct server *v = op->from;
    if (applied)
        apply(op);
    op->req = NULL;
    request_end(op);
    server_crash(v);
}

static void hold(struct bucket_op *op, struct rule *r)
{
    sim_trace(op->bucket->sim, "s%zu %s %s is held", op->from->number, verb_names[op->verb], op->key);
    list_push(&r->held, &op->held);
}

static bool ruled(struct bucket_op *op)
{
    struct rule *r = rule_for(op->bucket, op);
    if (!r)
        return false;
    switch (r->action) {
    case RULE_HOLD:
        hold(op, r);
        return true;
    case RULE_HOLD_ANSWER:
        apply(op);
        op->answered = true;
        hold(op, r);
        return true;
    case RULE_LOSE_ANSWER:
        apply(op);
        fail(op, ERR_UNKNOWN, 0);
        return true;
    case RULE_REFUSE:
        fail(op, ERR_UNKNOWN, 0);
        return true;
    case RULE_UNAVAILABLE:
        fail(op, ERR_UNAVAILABLE, 0);
        return true;
    case RULE_NOSPACE:
        op->bucket->nospace_seen = true;
        answer(op, ERR_NOSPACE, 0);
        return true;
    case RULE_DROP:
        return true;
    case RULE_STALL:
        hold(stray_of(op), r);
        fail(op, ERR_UNKNOWN, 0);
        return true;
    case RULE_CRASH_BEFORE:
    case RULE_CRASH_AFTER:
        if (!op->req)
            return false;
        crash_sender(op, r->action == RULE_CRASH_AFTER);
        return true;
    case RULE_COUNT:
        return false;
    }
    return false;
}

static bool unreachable(struct bucket_op *op)
{
    struct sim *s = op->bucket->sim;
    const struct outage *o = outage_for(op->bucket, op);
    if (!o)
        return false;
    uint64_t wait_ns = o->until_ns - sim_now_ns(s);
    if (!op->req || !conditional(op))
        travel(op, wait_ns + sim_spread(s, NS_PER_MS, 2 * NS_PER_S));
    else if (o->denied)
        answer(op, ERR_DENIED, 0);
    else if (sim_below(s, 2))
        answer(op, ERR_UNAVAILABLE, 0);
    else
        answer(op, ERR_UNKNOWN, sim_spread(s, NS_PER_S, 30 * NS_PER_S));
    return true;
}

static bool crash_is_due(struct bucket_op *op)
{
    struct bucket *b = op->bucket;
    if (!op->req || !bucket_op_mutates(op))
        return false;
    b->mutations++;
    if (!b->crash_at_mutation || --b->crash_at_mutation)
        return false;
    crash_sender(op, b->crash_after);
    return true;
}

static void arrive(struct timer *t)
{
    struct bucket_op *op = CONTAINER_OF(t, struct bucket_op, timer);
    struct bucket *b = op->bucket;
    if (crash_is_due(op) || ruled(op) || unreachable(op))
        return;
    if (op->verb == OBJSTORE_PUT && b->nospace_until_ns > sim_now_ns(b->sim)) {
        b->nospace_seen = true;
        answer(op, ERR_NOSPACE, 0);
        return;
    }
    if (!op->req || !misfortune(op))
        apply_and_answer(op);
}

void request_go_on(struct bucket *b, struct bucket_op *op)
{
    (void)b;
    if (op->answered)
        answer(op, op->err, 0);
    else
        apply_and_answer(op);
}

/* ---------------------------------------------------------------- the server's end of it */

static void out_of_patience(struct timer *t)
{
    struct bucket_op *op = CONTAINER_OF(t, struct bucket_op, patience);
    if (op->answered)
        return;
    give_answer(op, conditional(op) ? ERR_UNKNOWN : ERR_UNAVAILABLE);
    if (bucket_op_mutates(op)) {
        list_remove(&op->link);
        list_push(&op->bucket->strays, &op->link);
    } else {
        request_end(op);
    }
}

static void submit(struct objstore *store, struct objstore_req *r)
{
    struct server *v = CONTAINER_OF(store, struct server, store);
    struct sim *s = v->sim;
    assert(v->entered);
    assert(r->verb != OBJSTORE_LIST || (r->list_limit >= 1 && r->list_limit <= OBJSTORE_LIST_MAX));
    assert(r->verb != OBJSTORE_DELETE || (r->key_count >= 1 && r->key_count <= OBJSTORE_DELETE_MAX));
    r->impl = NULL;
    if (v->doomed)
        return;
    struct bucket_op *op = request_create(s->bucket, v, r);
    r->impl = op;
    list_push(&v->requests, &op->link);
    store->counters.requests[r->verb]++;
    if (r->patience_ns) {
        op->patience.fire = out_of_patience;
        sim_at(s, &op->patience, r->patience_ns);
    }
    travel(op, 0);
}

/* Nobody waits for it any more. It may have been on its way all the same. */
static void let_go(struct bucket_op *op)
{
    struct sim *s = op->bucket->sim;
    timer_stop(&op->patience);
    list_remove(&op->link);
    bool never = !bucket_op_mutates(op) || op->answered;
    bool held = link_in_list(&op->held);
    if (never || (!held && (!timer_started(&op->timer) || sim_chance(s, faults_of(op)->orphan_lost)))) {
        request_end(op);
        return;
    }
    list_push(&op->bucket->strays, &op->link);
    if (!held && sim_chance(s, faults_of(op)->orphan_late))
        travel(op, sim_spread(s, NS_PER_MS, faults_of(op)->late_max_ns));
}

static void cancel(struct objstore *store, struct objstore_req *r)
{
    struct server *v = CONTAINER_OF(store, struct server, store);
    struct bucket_op *op = r->impl;
    if (!op || v->doomed)
        return;
    if (op->answered && sim_below(v->sim, 2) && timer_started(&op->timer))
        return;
    mark_hit("sim.canceled");
    give_answer(op, conditional(op) ? ERR_UNKNOWN : ERR_CANCELED);
    let_go(op);
}

static void destroy(struct objstore *store)
{
    (void)store;
}

static const char *name(const struct objstore *store)
{
    (void)store;
    return "sim:";
}

static const struct objstore_ops store_ops = {
    .submit = submit, .cancel = cancel, .destroy = destroy, .name = name};

void bucket_store_init(struct bucket *b, struct server *v)
{
    (void)b;
    v->store = (struct objstore){.ops = &store_ops, .loop = &v->loop};
}

void bucket_orphan(struct bucket *b, struct server *v)
{
    (void)b;
    LIST_EACH(&v->requests, k)
    {
        struct bucket_op *op = CONTAINER_OF(k, struct bucket_op, link);
        op->req = NULL;
        let_go(op);
    }
}
