/* The probe against a store that keeps conditions, and wrapped ones that break one rule each. */
#include "objstore/probe.h"

#include <string.h>

#include "base/mem.h"
#include "loop/uv_loop.h"
#include "objstore/mem.h"
#include "unit.h"

enum fault {
    KEEPS_ALL,
    IGNORES_ALL,
    IGNORES_CREATE,
    IGNORES_MATCH,
    IGNORES_STALE,
    MATCH_CREATES,
    REFUSES_ALL_MATCHES,
    TWINS,
    LOSES_ANSWERS,
    LOSES_ONE_ANSWER,
    DENIES,
    NO_BUCKET,
};

struct wrapper {
    struct objstore base;
    struct objstore *inner;
    enum fault fault;
    unsigned creates, matches, losses;
};

struct passed {
    struct objstore_req inner;
    struct objstore_req *outer;
    enum err forced;
    struct wrapper *wrapper;
};

static void passed_done(struct objstore_req *r)
{
    struct passed *p = CONTAINER_OF(r, struct passed, inner);
    p->outer->err = p->forced ? p->forced : r->err;
    memcpy(p->outer->etag, r->etag, sizeof r->etag);
    objstore_answer(p->outer);
    mem_free(p);
}

static bool missing(struct wrapper *w, const char *key)
{
    return strstr(key, "/none") && w->fault == MATCH_CREATES;
}

static void wrap_submit(struct objstore *s, struct objstore_req *r)
{
    struct wrapper *w = CONTAINER_OF(s, struct wrapper, base);
    if (r->verb == OBJSTORE_PUT && (w->fault == DENIES || w->fault == NO_BUCKET)) {
        r->err = complain(&r->complaint, w->fault == DENIES ? ERR_DENIED : ERR_NOTFOUND, "forced");
        objstore_answer(r);
        return;
    }
    struct passed *p = MEM_NEW(struct passed);
    p->inner = *r;
    p->inner.store = NULL;
    p->inner.done = passed_done;
    p->outer = r;
    p->wrapper = w;
    bool create = r->verb == OBJSTORE_PUT && r->condition == OBJSTORE_CREATE;
    bool match = r->verb == OBJSTORE_PUT && r->condition == OBJSTORE_MATCH;
    w->creates += create;
    w->matches += match;
    if (w->fault == IGNORES_ALL || (w->fault == IGNORES_CREATE && create) ||
        (w->fault == IGNORES_MATCH && match) || (w->fault == TWINS && create && w->creates <= 3) ||
        missing(w, r->key) || (w->fault == IGNORES_STALE && match && w->matches == 3))
        p->inner.condition = OBJSTORE_ANY;
    if (w->fault == REFUSES_ALL_MATCHES && match)
        p->forced = ERR_CONFLICT;
    if ((w->fault == LOSES_ANSWERS || (w->fault == LOSES_ONE_ANSWER && !w->losses)) && match) {
        p->forced = ERR_UNKNOWN;
        w->losses++;
    }
    objstore_submit(w->inner, &p->inner);
}

static void wrap_cancel(struct objstore *s, struct objstore_req *r)
{
    (void)s;
    (void)r;
}

static const char *wrap_name(const struct objstore *s)
{
    (void)s;
    return "s3://wrapped";
}

static const struct objstore_ops wrap_ops = {.submit = wrap_submit, .cancel = wrap_cancel, .name = wrap_name};

static struct wrapper wrapped;
static unsigned done_calls;

static void probed(struct probe *p)
{
    (void)p;
    done_calls++;
}

static void listed(struct objstore_req *r)
{
    (void)r;
}

static size_t keys_left(struct objstore *inner, struct loop *l)
{
    struct objstore_req r = {.verb = OBJSTORE_LIST, .key = "", .list_limit = 10, .done = listed};
    objstore_submit(inner, &r);
    uv_loop_run(l);
    size_t n = r.entry_count;
    objstore_entries_free(r.entries, n);
    return n;
}

static void probe_with(enum fault fault, bool cancel, struct probe *p)
{
    struct loop *l = uv_loop_create();
    wrapped =
        (struct wrapper){.base = {.ops = &wrap_ops, .loop = l}, .inner = mem_store_create(l), .fault = fault};
    *p = (struct probe){.done = probed};
    done_calls = 0;
    probe_start(&wrapped.base, p);
    assert_int_equal(done_calls, 0);
    if (cancel)
        probe_cancel(p);
    uv_loop_run(l);
    assert_int_equal(done_calls, 1);
    probe_cancel(p);
    assert_int_equal(keys_left(wrapped.inner, l), 0);
    objstore_destroy(wrapped.inner);
    uv_loop_destroy(l);
}

static void a_good_store_passes(void **state)
{
    (void)state;
    struct probe p;
    probe_with(KEEPS_ALL, false, &p);
    assert_int_equal(p.err, ERR_OK);
    assert_string_equal(p.complaint.text, "");
    assert_int_equal(wrapped.creates, 4);
}

static void eight_requests(void **state)
{
    (void)state;
    struct loop *l = uv_loop_create();
    struct objstore *s = mem_store_create(l);
    struct probe p = {.done = probed};
    probe_start(s, &p);
    uv_loop_run(l);
    assert_int_equal(p.err, ERR_OK);
    assert_int_equal(s->counters.requests[OBJSTORE_PUT], 7);
    assert_int_equal(s->counters.requests[OBJSTORE_DELETE], 1);
    objstore_destroy(s);
    uv_loop_destroy(l);
}

static void stores_that_ignore_conditions_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum fault fault;
        const char *says;
    } cases[] = {{IGNORES_ALL, "both were told"},
                 {IGNORES_CREATE, "both were told"},
                 {TWINS, "both were told"},
                 {IGNORES_MATCH, "did not exist"},
                 {MATCH_CREATES, "did not exist"},
                 {IGNORES_STALE, "changed meanwhile"},
                 {REFUSES_ALL_MATCHES, "although its ETag was given"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct probe p;
        probe_with(cases[i].fault, false, &p);
        assert_int_equal(p.err, ERR_UNSUPPORTED);
        assert_non_null(strstr(p.complaint.text, cases[i].says));
        assert_non_null(strstr(p.complaint.text, "s3://wrapped"));
        assert_non_null(strstr(p.complaint.text, "conditional_writes=off"));
    }
}

static void lost_answers_are_asked_for_again(void **state)
{
    (void)state;
    struct probe p;
    probe_with(LOSES_ONE_ANSWER, false, &p);
    assert_int_equal(p.err, ERR_OK);
    assert_int_equal(wrapped.creates, 8);
    probe_with(LOSES_ANSWERS, false, &p);
    assert_int_equal(p.err, ERR_UNAVAILABLE);
    assert_int_equal(wrapped.creates, 20);
    assert_true(p.complaint.text[0] != '\0');
}

static void the_stores_own_errors_come_through(void **state)
{
    (void)state;
    struct probe p;
    probe_with(DENIES, false, &p);
    assert_int_equal(p.err, ERR_DENIED);
    assert_string_equal(p.complaint.text, "forced");
    probe_with(NO_BUCKET, false, &p);
    assert_int_equal(p.err, ERR_NOTFOUND);
    assert_int_equal(wrapped.creates, 0);
}

static void canceled_early(void **state)
{
    (void)state;
    struct probe p;
    probe_with(KEEPS_ALL, true, &p);
    assert_int_equal(p.err, ERR_CANCELED);
}

RUN_TESTS(cmocka_unit_test(a_good_store_passes), cmocka_unit_test(eight_requests),
          cmocka_unit_test(stores_that_ignore_conditions_are_refused),
          cmocka_unit_test(lost_answers_are_asked_for_again),
          cmocka_unit_test(the_stores_own_errors_come_through), cmocka_unit_test(canceled_early))
