#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "objstore/s3/store.h"

#define HASH_INLINE_BYTES (64 << 10) /* more is hashed on a worker thread */

/* ------------------------------------------------------------------- ending a request */

static void drop_attempt(struct s3_request *r, unsigned i)
{
    struct s3_attempt *a = r->attempts[i];
    if (!a)
        return;
    http_cancel(&a->call);
    r->attempts[i] = NULL;
    s3_attempt_put(r->s, a);
}

void s3_request_leave(struct s3_request *r)
{
    timer_stop(&r->slow);
    for (unsigned i = 0; i < S3_ATTEMPTS_MAX; i++)
        drop_attempt(r, i);
    if (!r->has_place)
        return;
    r->has_place = false;
    r->s->running--;
    if (r->req->priority == OBJSTORE_BACKGROUND)
        r->s->running_background--;
}

static bool has_turn(const struct s3_request *r);
static void pass_turn(struct s3_request *r);

void s3_request_finish(struct s3_request *r, enum err e)
{
    struct s3_store *s = r->s;
    struct objstore_req *q = r->req;
    s3_request_leave(r);
    timer_stop(&r->wait);
    timer_stop(&r->patience);
    list_remove(&r->link);
    list_remove(&r->all);
    if (has_turn(r))
        pass_turn(r);
    if (e != ERR_DENIED && e != ERR_UNAVAILABLE && e != ERR_NOSPACE && e != ERR_INVALID &&
        e != ERR_UNSUPPORTED)
        q->complaint.text[0] = '\0';
    if (e && q->verb == OBJSTORE_LIST)
        s3_list_begin(r);
    q->err = e;
    q->impl = NULL;
    objstore_answer(q);
    mem_free(r->left);
    text_finish(&r->deletion);
    text_finish(&r->start);
    text_finish(&r->token);
    mem_free(r);
    s3_pump(s);
}

/* What can be said of a conditional PUT that is broken off now. */
static bool may_be_applied(struct s3_request *r)
{
    if (r->was_full)
        return true;
    if (r->state != S3_RUNNING || r->act != S3_ACT_PUT || !r->conditional)
        return false;
    bool left = false;
    for (unsigned i = 0; i < S3_ATTEMPTS_MAX; i++) {
        if (r->attempts[i]) {
            http_cancel(&r->attempts[i]->call);
            left |= r->attempts[i]->call.left;
        }
    }
    return left;
}

static void end_early(struct s3_request *r, enum err e)
{
    if (r->state == S3_HASHING) {
        r->end_early = true;
        r->last_err = e;
        return;
    }
    s3_request_finish(r, may_be_applied(r) ? ERR_UNKNOWN : e);
}

void s3_request_cancel(struct s3_request *r)
{
    end_early(r, ERR_CANCELED);
}

static void patience_over(struct timer *t)
{
    struct s3_request *r = CONTAINER_OF(t, struct s3_request, patience);
    enum err e = r->last_err;
    if (e == ERR_OK)
        e = complain(&r->req->complaint, ERR_UNAVAILABLE, "no answer from %s within %llu s",
                     text_of(&r->s->host), (unsigned long long)(r->req->patience_ns / NS_PER_S));
    end_early(r, e);
}

/* ----------------------------------------------------------------------- sending */

static void attempt_done(struct http_call *);

static unsigned free_attempt(const struct s3_request *r)
{
    unsigned i = 0;
    while (i < S3_ATTEMPTS_MAX && r->attempts[i])
        i++;
    return i;
}

static void start_attempt(struct s3_request *r, bool fresh)
{
    unsigned i = free_attempt(r);
    assert(i < S3_ATTEMPTS_MAX);
    struct s3_attempt *a = s3_attempt_get(r->s);
    r->attempts[i] = a;
    a->call.done = attempt_done;
    s3_attempt_start(r, a, fresh);
}

static bool may_be_doubled(const struct s3_request *r)
{
    return r->act == S3_ACT_GET || r->act == S3_ACT_HEAD || r->act == S3_ACT_LOOK ||
           (r->act == S3_ACT_PUT && !r->conditional);
}

static enum pace_verb pace_verb_of(const struct s3_request *r)
{
    return r->act == S3_ACT_PUT ? PACE_PUT : PACE_GET;
}

static size_t pace_bytes_of(const struct s3_request *r)
{
    return r->act == S3_ACT_PUT   ? r->body_bytes
           : r->act != S3_ACT_GET ? 0
           : r->req->length       ? r->req->length
                                  : r->req->limit;
}

static void wait_until_slow(struct s3_request *r)
{
    timer_start(r->s->base.loop, &r->slow, pace_slow_ns(&r->s->pace, pace_verb_of(r), pace_bytes_of(r)));
}

static void is_slow(struct timer *t)
{
    struct s3_request *r = CONTAINER_OF(t, struct s3_request, slow);
    if (!pace_take_second(&r->s->pace)) {
        wait_until_slow(r);
        return;
    }
    log_debug("s3", "%s is slow: sent once more", r->req->key);
    r->s->base.counters.retries++;
    start_attempt(r, true);
    if (free_attempt(r) < S3_ATTEMPTS_MAX)
        wait_until_slow(r);
}

static void run(struct s3_request *r)
{
    list_remove(&r->link);
    r->state = S3_RUNNING;
    r->has_place = true;
    r->s->running++;
    if (r->req->priority == OBJSTORE_BACKGROUND)
        r->s->running_background++;
    start_attempt(r, r->fresh);
    r->fresh = false;
    if (may_be_doubled(r))
        wait_until_slow(r);
}

static struct s3_request *next_to_run(struct s3_store *s)
{
    size_t width = s->pace.width;
    size_t background = width - MIN(width / 2, S3_KEPT_FOR_DEMAND);
    struct link *k = s->running < width ? list_first(&s->queues[OBJSTORE_DEMAND]) : NULL;
    if (!k && s->running < width && s->running_background < background)
        k = list_first(&s->queues[OBJSTORE_BACKGROUND]);
    return LIST_ENTRY(k, struct s3_request, link);
}

void s3_pump(struct s3_store *s)
{
    struct s3_request *r;
    while ((r = next_to_run(s)))
        run(r);
}

void s3_request_enqueue(struct s3_request *r, bool first)
{
    struct list *queue =
        &r->s->queues[r->req->priority == OBJSTORE_BACKGROUND ? OBJSTORE_BACKGROUND : OBJSTORE_DEMAND];
    r->state = S3_QUEUED;
    if (first)
        list_push_front(queue, &r->link);
    else
        list_push(queue, &r->link);
    s3_pump(r->s);
}

void s3_request_again(struct s3_request *r)
{
    s3_request_leave(r);
    s3_request_enqueue(r, true);
}

/* ----------------------------------------------------------- what comes back, in general */

/* MinIO may say so when some of its disks are full and others have the object already. */
static void full(struct s3_request *r, struct http_call *c, const struct verdict *v)
{
    if (r->act != S3_ACT_PUT) {
        s3_request_trouble(r, c, v);
        return;
    }
    r->last_err = s3_request_complain(r, c, v);
    if (!r->conditional) {
        s3_request_finish(r, r->last_err);
        return;
    }
    r->was_full = true;
    r->act = S3_ACT_LOOK;
    s3_request_again(r);
}

/* A PUT whose condition did not hold. While it is not known which form of an ETag the server understands, a
 * look at the object tells a lost race from a form that is not understood. */
static void refused(struct s3_request *r, struct http_call *c, const struct verdict *v)
{
    if (r->act != S3_ACT_PUT || !r->conditional) {
        s3_request_trouble(r, c, v);
        return;
    }
    if (r->req->condition != OBJSTORE_MATCH || r->s->emulate_conditions || r->s->etag_form_proven ||
        r->etag_checked) {
        s3_request_finish(r, ERR_CONFLICT);
        return;
    }
    r->etag_checked = true;
    r->act = S3_ACT_LOOK;
    s3_request_again(r);
}

static void past_end(struct s3_request *r, struct http_call *c, const struct verdict *v)
{
    if (r->act == S3_ACT_GET && r->req->length && c->failure == HTTP_TOO_LARGE) {
        s3_request_nonsense(r, "a range was asked for, more came");
    } else if (r->act == S3_ACT_GET) {
        log_error("s3", "%s: the object is not of the size it should have", r->req->key);
        s3_request_finish(r, ERR_CORRUPT);
    } else if (r->act == S3_ACT_TELL) {
        r->act = S3_ACT_HEAD;
        s3_request_again(r);
    } else {
        s3_request_trouble(r, c, v);
    }
}

static void deletes_are_unknown(struct s3_request *r)
{
    log_info("s3", "%s does not delete many objects in one request: going one by one", r->s->name);
    r->s->deletes_singly = true;
    r->act = S3_ACT_DELETE_ONE;
    s3_request_again(r);
}

static bool is_final(enum verdict_kind k)
{
    return k == S3_DONE || k == S3_MISSING || k == S3_REFUSED || k == S3_PAST_END || k == S3_FULL;
}

static void step(struct s3_request *r, struct s3_attempt *a, const struct verdict *v)
{
    struct http_call *c = &a->call;
    switch (v->kind) {
    case S3_DONE:
        s3_answer_done(r, c);
        break;
    case S3_MISSING:
        s3_answer_missing(r, c, v);
        break;
    case S3_REFUSED:
        refused(r, c, v);
        break;
    case S3_PAST_END:
        past_end(r, c, v);
        break;
    case S3_FULL:
        full(r, c, v);
        break;
    case S3_UNKNOWN_VERB:
    case S3_REJECTED:
        if (r->act == S3_ACT_DELETE_MANY)
            deletes_are_unknown(r);
        else
            s3_request_trouble(r, c, v);
        break;
    default:
        s3_request_trouble(r, c, v);
    }
}

static void note_answer(struct s3_request *r, struct s3_attempt *a, const struct verdict *v)
{
    struct s3_store *s = r->s;
    const struct http_call *c = &a->call;
    uint64_t took_ns = loop_now_ns(s->base.loop) - a->started_ns;
    if (c->content)
        s->base.counters.bytes_in += c->content->bytes;
    if (c->left)
        s->base.counters.bytes_out += c->body_bytes;
    if (c->failure == HTTP_ANSWERED && c->head.date_ms)
        r->req->date_ms = c->head.date_ms;
    if (v->kind == S3_DONE || v->kind == S3_MISSING || v->kind == S3_REFUSED) {
        if (may_be_doubled(r))
            pace_note(&s->pace, pace_verb_of(r), pace_bytes_of(r), took_ns);
        pace_answered(&s->pace);
        s3_tell_recovery(s);
    }
}

static void attempt_done(struct http_call *c)
{
    struct s3_attempt *a = CONTAINER_OF(c, struct s3_attempt, call);
    struct s3_request *r = a->request;
    unsigned mine = 0, others = 0;
    struct verdict v;
    for (unsigned i = 0; i < S3_ATTEMPTS_MAX; i++) {
        if (r->attempts[i] == a)
            mine = i;
        else
            others += r->attempts[i] != NULL;
    }
    assert(r->attempts[mine] == a);
    verdict_of(c, a->signed_ms, &v);
    note_answer(r, a, &v);
    if (others && !is_final(v.kind)) {
        drop_attempt(r, mine);
        if (!timer_started(&r->slow))
            wait_until_slow(r);
        return;
    }
    timer_stop(&r->slow);
    for (unsigned i = 0; i < S3_ATTEMPTS_MAX; i++)
        if (i != mine)
            drop_attempt(r, i);
    step(r, a, &v);
}

/* ---------------------------------------------------------------------- conditions by hand */

static bool has_turn(const struct s3_request *r)
{
    return r->s->emulate_conditions && r->conditional &&
           (r->state == S3_QUEUED || r->state == S3_RUNNING || r->state == S3_WAITING);
}

static bool another_has_turn(struct s3_request *r)
{
    LIST_EACH(&r->s->all, k)
    {
        struct s3_request *other = CONTAINER_OF(k, struct s3_request, all);
        if (other != r && has_turn(other) && strcmp(other->req->key, r->req->key) == 0)
            return true;
    }
    return false;
}

static void pass_turn(struct s3_request *r)
{
    LIST_EACH(&r->s->turns, k)
    {
        struct s3_request *next = CONTAINER_OF(k, struct s3_request, link);
        if (strcmp(next->req->key, r->req->key) == 0) {
            list_remove(k);
            s3_request_enqueue(next, false);
            return;
        }
    }
}

static void enter(struct s3_request *r)
{
    if (r->s->emulate_conditions && r->conditional) {
        r->act = S3_ACT_LOOK;
        if (another_has_turn(r)) {
            r->state = S3_TURN;
            list_push(&r->s->turns, &r->link);
            return;
        }
    }
    s3_request_enqueue(r, false);
}

/* ------------------------------------------------------------------------------ beginning */

static void hash_body(struct job *j)
{
    struct s3_request *r = CONTAINER_OF(j, struct s3_request, hashing);
    r->body_hash = sha256_of_iov(r->req->body, r->req->body_count);
}

static void hashed(struct job *j)
{
    struct s3_request *r = CONTAINER_OF(j, struct s3_request, hashing);
    r->state = S3_NEW;
    if (r->end_early)
        s3_request_finish(r, r->last_err);
    else
        enter(r);
}

static void begin_put(struct s3_request *r)
{
    const struct objstore_req *q = r->req;
    r->act = S3_ACT_PUT;
    r->conditional = q->condition != OBJSTORE_ANY;
    for (size_t i = 0; i < q->body_count; i++)
        r->body_bytes += q->body[i].iov_len;
    if (q->sha256) {
        r->body_hash = *q->sha256;
    } else if (r->body_bytes <= HASH_INLINE_BYTES) {
        r->body_hash = sha256_of_iov(q->body, q->body_count);
    } else {
        r->state = S3_HASHING;
        r->hashing.work = hash_body;
        r->hashing.done = hashed;
        job_start(r->s->base.loop, &r->hashing);
    }
}

static void begin_delete(struct s3_request *r)
{
    const struct objstore_req *q = r->req;
    r->left = MEM_ARRAY(const char *, q->key_count);
    memcpy(r->left, q->keys, q->key_count * sizeof *r->left);
    r->left_count = q->key_count;
    r->act = q->key_count == 1 || r->s->deletes_singly ? S3_ACT_DELETE_ONE : S3_ACT_DELETE_MANY;
}

void s3_request_submit(struct s3_store *s, struct objstore_req *q)
{
    struct s3_request *r = MEM_NEW(struct s3_request);
    r->s = s;
    r->req = q;
    q->impl = r;
    r->wait.fire = s3_request_waited;
    r->slow.fire = is_slow;
    r->patience.fire = patience_over;
    list_push(&s->all, &r->all);
    if (q->patience_ns)
        timer_start(s->base.loop, &r->patience, q->patience_ns);
    switch (q->verb) {
    case OBJSTORE_GET:
        r->act = S3_ACT_GET;
        break;
    case OBJSTORE_HEAD:
        r->act = S3_ACT_HEAD;
        break;
    case OBJSTORE_PUT:
        begin_put(r);
        break;
    case OBJSTORE_DELETE:
        begin_delete(r);
        break;
    case OBJSTORE_LIST:
        r->act = S3_ACT_LIST;
        s3_list_begin(r);
        break;
    }
    /* What has no ETag is matched by none. Sent, an empty header would be left out, and the condition with
     * it. */
    if (q->verb == OBJSTORE_PUT && q->condition == OBJSTORE_MATCH && !q->etag[0])
        end_early(r, ERR_CONFLICT);
    else if (r->state == S3_NEW)
        enter(r);
}
