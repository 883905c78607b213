#include "base/log.h"
#include "objstore/s3/store.h"

#define TROUBLE_TOLD_NS (30 * NS_PER_S)

void s3_request_waited(struct timer *t)
{
    s3_request_enqueue(CONTAINER_OF(t, struct s3_request, wait), true);
}

static void wait_then_again(struct s3_request *r, uint64_t base_ns, uint64_t cap_ns)
{
    struct s3_store *s = r->s;
    s3_request_leave(r);
    if (r->act == S3_ACT_LIST)
        s3_list_begin(r);
    r->state = S3_WAITING;
    timer_start(s->base.loop, &r->wait, pace_backoff_ns(s->base.loop, r->tries++, base_ns, cap_ns));
    s->base.counters.retries++;
    s3_pump(s);
}

/* One line when it begins to last, one in a while, one when it is over, however many requests it is about and
 * however often some of them are answered in between. */
static void tell_trouble(struct s3_request *r, bool needs_a_person)
{
    struct s3_store *s = r->s;
    uint64_t now = loop_now_ns(s->base.loop);
    s->troubles++;
    if (needs_a_person ? r->req->patience_ns != 0 : r->tries < 2)
        return;
    if (!s->troubled_ns)
        s->troubled_ns = now;
    if (s->told_ns && now - s->told_ns < TROUBLE_TOLD_NS)
        return;
    s->told_ns = now;
    s->told = true;
    log_warn("s3", "%s (trying again; attempts in vain: %llu)", r->req->complaint.text,
             (unsigned long long)s->troubles);
}

void s3_tell_recovery(struct s3_store *s)
{
    if (s->told) {
        uint64_t lasted = loop_now_ns(s->base.loop) - s->troubled_ns;
        log_info("s3", "%s answers again, after %llu.%llu s; attempts in vain: %llu", s->name,
                 (unsigned long long)(lasted / NS_PER_S),
                 (unsigned long long)(lasted / (100 * NS_PER_MS) % 10), (unsigned long long)s->troubles);
    }
    s->troubled_ns = 0;
    s->troubles = 0;
    s->told = false;
}

/* What an attempt was signed with, which may have changed for others meanwhile. */
struct signed_with {
    unsigned credentials_serial;
    int64_t skew_ms;
};

static void back_off(struct s3_request *r, const struct verdict *v, struct signed_with with)
{
    struct s3_store *s = r->s;
    switch (v->kind) {
    case S3_SKEWED:
        s->skew_ms = with.skew_ms + v->skew_ms;
        if (r->tries++ == 0)
            s3_request_again(r);
        else
            wait_then_again(r, 100 * NS_PER_MS, 2 * NS_PER_S);
        return;
    case S3_DENIED:
        if (s3_credentials_refused(s, with.credentials_serial) && r->tries == 0)
            s3_request_again(r);
        else
            wait_then_again(r, 200 * NS_PER_MS, 5 * NS_PER_S);
        return;
    case S3_THROTTLED:
        s->base.counters.throttled++;
        pace_throttled(&s->pace, loop_now_ns(s->base.loop));
        wait_then_again(r, 100 * NS_PER_MS, 5 * NS_PER_S);
        return;
    case S3_BUSY:
        wait_then_again(r, 20 * NS_PER_MS, NS_PER_S);
        return;
    default:
        wait_then_again(r, 50 * NS_PER_MS, 2 * NS_PER_S);
    }
}

enum err s3_request_complain(struct s3_request *r, struct http_call *c, const struct verdict *v)
{
    struct s3_store *s = r->s;
    struct verdict_place place = {.bucket = s->bucket,
                                  .host = text_of(&s->host),
                                  .region = s->region,
                                  .access_key = s->credentials.access_key,
                                  .source = s->credentials.source};
    return verdict_complain(v, c, &place, &r->req->complaint);
}

void s3_request_trouble(struct s3_request *r, struct http_call *c, const struct verdict *v)
{
    bool person = verdict_needs_a_person(v->kind);
    bool is_conditional_put = r->act == S3_ACT_PUT && r->conditional;
    const struct s3_attempt *a = CONTAINER_OF(c, struct s3_attempt, call);
    struct signed_with with = {a->credentials_serial, a->skew_ms};
    r->last_err = s3_request_complain(r, c, v);
    r->fresh = c->failure == HTTP_BROKEN;
    if (is_conditional_put && !verdict_is_certainly_not_applied(v->kind)) {
        log_debug("s3", "%s: outcome unknown: %s", r->req->key, r->req->complaint.text);
        s3_request_finish(r, ERR_UNKNOWN);
        return;
    }
    if (is_conditional_put && v->kind == S3_UNKNOWN_VERB) {
        s3_request_finish(r, r->last_err);
        return;
    }
    tell_trouble(r, person);
    if (person && r->req->patience_ns && ++r->refusals > 1)
        s3_request_finish(r, r->last_err);
    else
        back_off(r, v, with);
}

void s3_request_nonsense(struct s3_request *r, const char *what)
{
    r->last_err = complain(&r->req->complaint, ERR_UNAVAILABLE, "%s answers what makes no sense: %s",
                           text_of(&r->s->host), what);
    if (r->act == S3_ACT_PUT && r->conditional) {
        s3_request_finish(r, ERR_UNKNOWN);
        return;
    }
    tell_trouble(r, true);
    wait_then_again(r, 100 * NS_PER_MS, 5 * NS_PER_S);
}
