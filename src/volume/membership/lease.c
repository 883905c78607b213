#include "volume/membership/lease.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/membership/pins.h"
#include "volume/swap.h"

static void lease_step(struct lease *);

static void lease_answered(struct objstore_req *r)
{
    lease_step(CONTAINER_OF(r, struct lease, req));
}

static void lease_fired(struct timer *t)
{
    lease_step(CONTAINER_OF(t, struct lease, timer));
}

static uint64_t now_ns(const struct lease *l)
{
    return loop_now_ns(l->engine->loop);
}

/* ---------------------------------------------------------------------- sending */

/* The machine has the word back at least once a beat. */
static uint64_t beat_patience_ns(const struct lease *l)
{
    uint64_t patience_ns = l->engine->config.patience_ns, beat_ns = MAX(l->ttl_ns / 3, 1);
    return l->joining && patience_ns ? MIN(patience_ns, beat_ns) : beat_ns;
}

static void beat_put(struct lease *l)
{
    l->state = LEASE_PUT;
    l->sent_ns = now_ns(l);
    l->refused_for_space = l->resend = false;
    l->iov = (struct iovec){.iov_base = l->body->data, .iov_len = l->body->bytes};
    l->req = (struct objstore_req){
        .verb = OBJSTORE_PUT,
        .key = l->key.text,
        .patience_ns = beat_patience_ns(l),
        .body = &l->iov,
        .body_count = 1,
        .condition = l->creating ? OBJSTORE_CREATE : OBJSTORE_MATCH,
        .done = lease_answered,
    };
    memcpy(l->req.etag, l->etag, sizeof l->etag);
    objstore_submit(l->engine->store, &l->req);
}

static void beat_encode(struct lease *l)
{
    snprintf(l->beat.addresses, sizeof l->beat.addresses, "%s", l->engine->addresses);
    memcpy(l->beat.control, l->engine->control, sizeof l->beat.control);
    l->beat.serial++;
    l->beat.turn = l->creating ? 0 : l->engine->turns.acknowledged;
    memcpy(l->former_nonce, l->beat.nonce, sizeof l->former_nonce);
    random_id(l->engine->loop, l->beat.nonce);
    buf_unref(l->body);
    struct heartbeat_pin *pins = pins_send(l->engine, l->beat.serial, &l->beat.pin_count);
    l->beat.pins = pins;
    l->body = heartbeat_encode(&l->beat);
    l->beat.pins = NULL;
    l->beat.pin_count = 0;
    mem_free(pins);
    l->first_sent_ns = now_ns(l);
}

static void beat_next(struct lease *l)
{
    if (!l->resend)
        beat_encode(l);
    beat_put(l);
}

static void beat_create(struct lease *l)
{
    struct engine *e = l->engine;
    memset(&l->beat, 0, sizeof l->beat);
    l->stored_serial = 0;
    l->beat.process = e->config.host->self;
    l->beat.lease_ttl_ms = l->ttl_ns / NS_PER_MS;
    l->etag[0] = '\0';
    l->creating = true;
    key_server(&l->key, e->server_id);
    beat_encode(l);
    beat_put(l);
}

static void beat_read_back(struct lease *l)
{
    l->state = LEASE_READ_BACK;
    l->req = (struct objstore_req){
        .verb = OBJSTORE_GET,
        .key = l->key.text,
        .limit = HEARTBEAT_BYTES_MAX,
        .patience_ns = beat_patience_ns(l),
        .done = lease_answered,
    };
    objstore_submit(l->engine->store, &l->req);
}

/* --------------------------------------------------------------------- outcomes */

static void joining_done(struct lease *l, enum err err)
{
    struct engine_step *step = l->joining;
    l->joining = NULL;
    step->err = err;
    if (err) {
        step->complaint = l->req.complaint;
        if (!step->complaint.text[0])
            complain(&step->complaint, err, "writing this server's heartbeat %s: %s", l->key.text,
                     err_text(err));
    }
    step->done(step);
}

static void confirmed(struct lease *l, uint64_t sent_ns)
{
    uint64_t due_ns = l->soon ? 0 : sent_ns + l->ttl_ns / 3;
    l->soon = false;
    l->confirmed_ns = l->creating ? sent_ns : MAX(l->confirmed_ns, sent_ns);
    l->creating = false;
    if (l->warned)
        log_info("lease", "%s: the heartbeat is confirmed again", l->key.text);
    l->warned = false;
    l->state = LEASE_RESTS;
    timer_start(l->engine->loop, &l->timer, due_ns > now_ns(l) ? due_ns - now_ns(l) : 0);
    if (l->joining) {
        l->joined = true;
        joining_done(l, ERR_OK);
    } else if (l->reviving) {
        l->reviving = false;
        l->joined = true;
        mark_hit("lease.revived");
        l->revived(l->engine);
    } else {
        l->confirmed(l->engine);
    }
}

/* Somebody else replaced or removed what was ours. */
static void declared_dead(struct lease *l)
{
    mark_hit("lease.died");
    log_error("lease", "%s: this server was declared dead; it takes a new id", l->key.text);
    if (l->joined) {
        l->joined = false;
        l->reviving = true;
        l->died(l->engine);
    }
    random_id(l->engine->loop, l->engine->server_id);
    beat_create(l);
}

static bool may_pass(enum err err)
{
    return err == ERR_UNAVAILABLE || err == ERR_DENIED || err == ERR_NOSPACE || err == ERR_CANCELED;
}

static void pause_after(struct lease *l, enum lease_state state, enum err err)
{
    uint64_t patience_ns = l->engine->config.patience_ns, random, longest = MIN(l->ttl_ns / 10, NS_PER_S);
    bool over = patience_ns && now_ns(l) - l->join_ns >= patience_ns;
    if (l->joining && (over || (err && !may_pass(err)))) {
        l->state = LEASE_IDLE;
        joining_done(l, err ? err : ERR_UNAVAILABLE);
        return;
    }
    if (l->joined && !l->warned && !lease_holds(l, now_ns(l))) {
        l->warned = true;
        log_warn(
            "lease",
            "%s: the heartbeat has not been confirmed for %llu s (%s); answers are held back until it is",
            l->key.text, (unsigned long long)((now_ns(l) - l->confirmed_ns) / NS_PER_S),
            err ? err_text(err) : "refused");
    }
    l->state = state;
    loop_random(l->engine->loop, &random, sizeof random);
    timer_start(l->engine->loop, &l->timer, longest / 2 + random % (longest / 2 + 1));
}

static void after_put(struct lease *l)
{
    switch (l->req.err) {
    case ERR_OK:
        memcpy(l->etag, l->req.etag, sizeof l->etag);
        l->stored_serial = l->beat.serial;
        confirmed(l, l->sent_ns);
        break;
    case ERR_CONFLICT:
    case ERR_UNKNOWN:
    case ERR_CANCELED:
        beat_read_back(l);
        break;
    case ERR_NOSPACE:
        l->refused_for_space = !l->creating;
        if (l->creating)
            pause_after(l, LEASE_PUT_PAUSE, ERR_NOSPACE);
        else
            beat_read_back(l);
        break;
    default:
        pause_after(l, LEASE_PUT_PAUSE, l->req.err);
    }
}

static void compare(struct lease *l, const struct heartbeat *there)
{
    bool ours = strcmp(there->nonce, l->beat.nonce) == 0;
    bool former = !l->creating && strcmp(there->nonce, l->former_nonce) == 0;
    if (!ours && !former) {
        declared_dead(l);
        return;
    }
    memcpy(l->etag, l->req.etag, sizeof l->etag);
    if (ours) {
        mark_hit("lease.found_ours");
        l->stored_serial = l->beat.serial;
        confirmed(l, l->first_sent_ns);
    } else if (l->refused_for_space) {
        mark_hit("lease.refused_for_space");
        l->resend = true;
        confirmed(l, l->sent_ns);
    } else {
        pause_after(l, LEASE_PUT_PAUSE, ERR_OK);
    }
}

static void after_read(struct lease *l)
{
    struct objstore_req *r = &l->req;
    struct heartbeat there;
    struct complaint complaint = {0};
    struct buf *content = r->content;
    r->content = NULL;
    if (r->err == ERR_OK && heartbeat_parse(content->data, content->bytes, &there, &complaint) == ERR_OK)
        compare(l, &there);
    else if (r->err == ERR_OK || r->err == ERR_CORRUPT)
        declared_dead(l);
    else if (r->err == ERR_NOTFOUND && !l->creating)
        declared_dead(l);
    else if (r->err == ERR_NOTFOUND)
        pause_after(l, LEASE_PUT_PAUSE, ERR_OK);
    else
        pause_after(l, LEASE_READ_PAUSE, r->err);
    buf_unref(content);
}

/* ------------------------------------------------------------------------ leaving */

static void leaving_done(struct lease *l, enum err err)
{
    struct engine_step *step = l->leaving;
    l->state = LEASE_IDLE;
    l->leaving = NULL;
    step->err = err;
    step->done(step);
}

static void beat_delete(struct lease *l)
{
    uint64_t patience_ns = l->engine->config.patience_ns;
    l->state = LEASE_DELETES;
    l->doomed = l->key.text;
    l->req = (struct objstore_req){
        .verb = OBJSTORE_DELETE,
        .key = "",
        .keys = &l->doomed,
        .key_count = 1,
        .patience_ns = patience_ns ? MIN(patience_ns, l->ttl_ns) : l->ttl_ns,
        .done = lease_answered,
    };
    objstore_submit(l->engine->store, &l->req);
}

static void not_joined(struct task *t)
{
    leaving_done(CONTAINER_OF(t, struct lease, task), ERR_OK);
}

static void lease_step(struct lease *l)
{
    if (l->state == LEASE_DELETES) {
        l->leaving->complaint = l->req.complaint;
        leaving_done(l, l->req.err);
        return;
    }
    if (l->leaving) {
        buf_unref(l->req.content);
        l->req.content = NULL;
        beat_delete(l);
        return;
    }
    switch (l->state) {
    case LEASE_PUT:
        after_put(l);
        break;
    case LEASE_READ_BACK:
        after_read(l);
        break;
    case LEASE_PUT_PAUSE:
        beat_put(l);
        break;
    case LEASE_READ_PAUSE:
        beat_read_back(l);
        break;
    case LEASE_RESTS:
        beat_next(l);
        break;
    case LEASE_IDLE:
    case LEASE_DELETES:
        break;
    }
}

/* --------------------------------------------------------------------------------- */

void lease_init(struct lease *l, struct engine *e)
{
    memset(l, 0, sizeof *l);
    l->engine = e;
    l->ttl_ns = e->config.lease_ttl_ns;
    l->timer.fire = lease_fired;
    l->task.run = not_joined;
}

void lease_join(struct lease *l, struct engine_step *step)
{
    assert(l->state == LEASE_IDLE && !l->joined && l->confirmed && l->died && l->revived);
    l->joining = step;
    l->join_ns = now_ns(l);
    step->complaint.text[0] = '\0';
    beat_create(l);
}

void lease_beat_soon(struct lease *l)
{
    if (l->leaving || l->state == LEASE_IDLE)
        return;
    if (l->state == LEASE_RESTS)
        timer_start(l->engine->loop, &l->timer, 0);
    else
        l->soon = true;
}

void lease_leave(struct lease *l, struct engine_step *step)
{
    assert(!l->joining && !l->leaving);
    l->leaving = step;
    l->joined = l->reviving = false;
    step->complaint.text[0] = '\0';
    timer_stop(&l->timer);
    if (l->state == LEASE_IDLE)
        loop_post(l->engine->loop, &l->task);
    else if (l->state == LEASE_PUT || l->state == LEASE_READ_BACK)
        objstore_cancel(&l->req);
    else
        beat_delete(l);
}

void lease_finish(struct lease *l)
{
    assert(l->state == LEASE_IDLE);
    timer_stop(&l->timer);
    task_cancel(&l->task);
    buf_unref(l->body);
    l->body = NULL;
}
