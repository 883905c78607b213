#include "volume/membership/liveness.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "volume/engine_state.h"

#define TTL_MAX_MS UINT64_C(86400000)

static void liveness_step(struct liveness *);

static void liveness_answered(struct objstore_req *r)
{
    liveness_step(CONTAINER_OF(r, struct liveness, req));
}

static void liveness_fired(struct timer *t)
{
    liveness_step(CONTAINER_OF(t, struct liveness, timer));
}

static uint64_t now_ns(const struct liveness *l)
{
    return loop_now_ns(l->engine->loop);
}

static uint64_t beat_ns(const struct liveness *l)
{
    return l->ttl_ns / 3;
}

static void liveness_finish(struct liveness *l, enum err err, bool dead)
{
    timer_stop(&l->timer);
    l->state = LIVENESS_DONE;
    l->err = err;
    l->dead = !err && dead;
    l->done(l);
}

/* How long it must stay unchanged. */
static uint64_t window_ns(const struct liveness *l)
{
    return l->req.date_ms ? beat_ns(l) : l->ttl_ns + beat_ns(l);
}

static uint64_t patience_of(const struct liveness *l)
{
    return l->patience_ns ? l->patience_ns : l->engine->config.patience_ns;
}

static void liveness_ask(struct liveness *l)
{
    l->state = LIVENESS_ASKS;
    l->asked_ns = now_ns(l);
    l->req = (struct objstore_req){
        .verb = OBJSTORE_GET,
        .key = l->key.text,
        .limit = HEARTBEAT_BYTES_MAX,
        .patience_ns = patience_of(l),
        .done = liveness_answered,
    };
    objstore_submit(l->engine->store, &l->req);
}

/* ------------------------------------------------------------------- what it says */

static void describe(struct liveness *l, bool readable)
{
    const struct heartbeat *b = &l->beat;
    int n;
    if (readable)
        n = snprintf(l->who, sizeof l->who, "%s, pid %lld%s%s", b->process.host, (long long)b->process.pid,
                     b->addresses[0] ? ", " : "", b->addresses);
    else
        n = snprintf(l->who, sizeof l->who, "server %s, whose heartbeat cannot be read", l->server_id);
    assert(n > 0 && (size_t)n < sizeof l->who);
    int64_t age_ms = l->req.date_ms - l->req.modified_ms;
    if (l->req.date_ms && l->req.modified_ms && age_ms >= 0)
        snprintf(l->who + n, sizeof l->who - (size_t)n, ", last heard of %lld s ago",
                 (long long)(age_ms / 1000));
}

/* Takes in the heartbeat that a GET brought. */
static void take_in(struct liveness *l)
{
    struct buf *content = l->req.content;
    struct complaint complaint = {0};
    struct heartbeat beat;
    l->req.content = NULL;
    bool readable = content && heartbeat_parse(content->data, content->bytes, &beat, &complaint) == ERR_OK;
    if (readable) {
        l->beat = beat;
        if (beat.lease_ttl_ms)
            l->ttl_ns = MIN(beat.lease_ttl_ms, TTL_MAX_MS) * NS_PER_MS;
    } else {
        log_error("liveness", "%s: %s", l->key.text, complaint.text[0] ? complaint.text : "damaged");
    }
    describe(l, readable);
    buf_unref(content);
}

static bool overdue(const struct liveness *l)
{
    const struct objstore_req *r = &l->req;
    if (!r->date_ms || !r->modified_ms)
        return true; /* nobody knows: then it is watched for longer */
    return r->date_ms > r->modified_ms && (uint64_t)(r->date_ms - r->modified_ms) > l->ttl_ns / NS_PER_MS;
}

static bool own_lease_holds(const struct liveness *l)
{
    const struct lease *own = &l->engine->lease;
    return !own->joined || lease_holds(own, now_ns(l));
}

static bool process_is_gone(const struct liveness *l)
{
    const struct host *host = l->engine->config.host;
    return l->beat.process.boot_id[0] && host->is_gone(host, &l->beat.process);
}

/* ------------------------------------------------------------------- step by step */

static void liveness_watch(struct liveness *l)
{
    uint64_t patience_ns = patience_of(l);
    if (patience_ns && now_ns(l) - l->started_ns > patience_ns + window_ns(l)) {
        liveness_finish(l, ERR_UNAVAILABLE, false);
        return;
    }
    l->watching = true;
    l->counts = own_lease_holds(l);
    memcpy(l->etag, l->req.etag, sizeof l->etag);
    l->state = LIVENESS_WATCHES;
    timer_start(l->engine->loop, &l->timer, window_ns(l));
}

static void liveness_seen(struct liveness *l)
{
    bool unchanged = l->watching && strcmp(l->etag, l->req.etag) == 0;
    take_in(l);
    if (l->beat.dead) {
        mark_hit("liveness.declared_dead");
        liveness_finish(l, ERR_OK, true);
    } else if (process_is_gone(l)) {
        mark_hit("liveness.process_gone");
        liveness_finish(l, ERR_OK, true);
    } else if (l->no_wait || (l->watching && !unchanged) || !overdue(l)) {
        liveness_finish(l, ERR_OK, false);
    } else if (!unchanged || !l->counts || !own_lease_holds(l) || now_ns(l) - l->asked_ns > beat_ns(l)) {
        liveness_watch(l);
    } else {
        mark_hit("liveness.overdue");
        liveness_finish(l, ERR_OK, true);
    }
}

static void liveness_step(struct liveness *l)
{
    if (l->canceled) {
        buf_unref(l->req.content);
        l->req.content = NULL;
        liveness_finish(l, ERR_CANCELED, false);
        return;
    }
    switch (l->state) {
    case LIVENESS_DONE:
        break;
    case LIVENESS_WATCHES:
        if (l->server_id[0])
            liveness_ask(l);
        else
            liveness_finish(l, ERR_OK, true);
        break;
    case LIVENESS_ASKS:
        if (l->req.err == ERR_NOTFOUND)
            liveness_finish(l, ERR_OK, true);
        else if (l->req.err && l->req.err != ERR_CORRUPT)
            liveness_finish(l, l->req.err, false);
        else
            liveness_seen(l);
        break;
    }
}

void liveness_start(struct liveness *l)
{
    assert(l->done);
    memset(&l->beat, 0, sizeof l->beat);
    memset(&l->timer, 0, sizeof l->timer);
    l->timer.fire = liveness_fired;
    l->who[0] = '\0';
    l->ttl_ns = l->engine->config.lease_ttl_ns;
    l->started_ns = now_ns(l);
    l->watching = l->counts = l->canceled = false;
    if (l->server_id[0]) {
        key_server(&l->key, l->server_id);
        liveness_ask(l);
        return;
    }
    l->state = LIVENESS_WATCHES;
    timer_start(l->engine->loop, &l->timer, 0);
}

void liveness_cancel(struct liveness *l)
{
    if (l->state == LIVENESS_DONE)
        return;
    l->canceled = true;
    if (l->state == LIVENESS_WATCHES)
        timer_start(l->engine->loop, &l->timer, 0);
    else
        objstore_cancel(&l->req);
}
