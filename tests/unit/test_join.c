#include "world.h"

#include "volume/format/manifest.h"
#include "volume/membership/lease.h"

static struct world w;
static struct engine_step step;
static bool done;

static void step_done(struct engine_step *s)
{
    assert_ptr_equal(s, &step);
    assert_false(done);
    done = true;
}

static enum err run(void (*start)(struct engine *, struct engine_step *))
{
    memset(&step, 0, sizeof step);
    step.done = step_done;
    done = false;
    start(&w.engine, &step);
    assert_false(done);
    world_run_until(&w, &done);
    return step.err;
}

static bool there(const char *key)
{
    return world_get(&w, key, NULL, NULL) == ERR_OK;
}

/* Objects whose key begins with the prefix. */
static size_t count(const char *prefix)
{
    struct world_outside o = {
        .req = {.verb = OBJSTORE_LIST, .key = prefix, .list_limit = 100, .done = world_outside_done}};
    objstore_submit(w.bucket, &o.req);
    world_run_until(&w, &o.done);
    objstore_entries_free(o.req.entries, o.req.entry_count);
    return o.req.entry_count;
}

static void an_empty_bucket_is_made_ready(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(run(engine_look), ERR_OK);
    assert_int_equal(count(""), 0);
    world_put(&w, "probe/0123/left-behind", "x", 1);
    assert_int_equal(run(engine_join), ERR_OK);
    assert_true(w.engine.lease.joined);
    assert_true(there("format"));
    assert_int_equal(count("servers/"), 1);
    assert_int_equal(run(engine_leave), ERR_OK);
    assert_int_equal(count("servers/"), 0);
    assert_int_equal(run(engine_join), ERR_OK); /* and joined again */
    assert_int_equal(run(engine_leave), ERR_OK);
    assert_int_equal(run(engine_look), ERR_OK);
    world_finish(&w);
}

static void a_bucket_in_other_use_is_left_alone(void **state)
{
    (void)state;
    world_init(&w);
    world_put(&w, "holiday/photo.jpg", "x", 1);
    assert_int_equal(run(engine_join), ERR_INVALID);
    assert_non_null(strstr(step.complaint.text, "prefix"));
    assert_int_equal(w.requests[OBJSTORE_PUT], 0);
    assert_false(w.engine.lease.joined);
    assert_int_equal(run(engine_look), ERR_OK);
    world_finish(&w);
}

/* The format as a later version of the program would write it. */
static struct buf *format_of_version_2(void)
{
    struct buf *b = format_encode();
    char *text = (char *)b->data, hex[SHA256_HEX];
    char *version = memmem(text, b->bytes, "\"ashlar\": 1", 11);
    assert_non_null(version);
    version[10] = '2';
    size_t head = (size_t)((char *)memchr(text, '\n', b->bytes) - text) + 1;
    struct sha256 sum = sha256_of(text + head, b->bytes - head);
    hex_encode(sum.bytes, 32, hex);
    memcpy(text + head - 3 - 64, hex, 64);
    return b;
}

static void another_format_is_refused_untouched(void **state)
{
    (void)state;
    static const enum err errs[] = {ERR_UNSUPPORTED, ERR_CORRUPT, ERR_CORRUPT};
    for (int i = 0; i < 3; i++) {
        static const uint8_t large[FORMAT_BYTES_MAX + 1];
        struct buf *later = format_of_version_2();
        world_init(&w);
        if (i == 0)
            world_put(&w, "format", later->data, later->bytes);
        if (i == 1)
            world_put(&w, "format", "{}", 2);
        if (i == 2)
            world_put(&w, "format", large, sizeof large);
        buf_unref(later);
        for (int look = 0; look < 2; look++) {
            assert_int_equal(run(look ? engine_look : engine_join), errs[i]);
            assert_true(step.complaint.text[0]);
        }
        assert_int_equal(w.requests[OBJSTORE_PUT], 0);
        assert_int_equal(count(""), 1);
        world_finish(&w);
    }
}

static void a_store_that_ignores_conditions_is_refused_and_left_empty(void **state)
{
    (void)state;
    world_init(&w);
    w.always[OBJSTORE_PUT] = FAULT_UNCONDITIONAL;
    assert_int_equal(run(engine_join), ERR_UNSUPPORTED);
    assert_true(step.complaint.text[0]);
    assert_int_equal(count(""), 0);
    world_finish(&w);
}

/* How many PUTs the probe sends: all of a join but the heartbeat. */
static size_t puts_of_probe(void)
{
    struct buf *format = format_encode();
    world_init(&w);
    world_put(&w, "format", format->data, format->bytes);
    buf_unref(format);
    assert_int_equal(run(engine_join), ERR_OK);
    size_t puts = w.requests[OBJSTORE_PUT] - 1;
    assert_int_equal(run(engine_leave), ERR_OK);
    world_finish(&w);
    return puts;
}

static void whoever_creates_the_format_the_join_goes_on(void **state)
{
    (void)state;
    static const enum fault kinds[] = {FAULT_LOST_APPLIED,     FAULT_LOST,    FAULT_LATE,
                                       FAULT_CONFLICT_APPLIED, FAULT_NOSPACE, FAULT_UNAVAILABLE};
    size_t probes = puts_of_probe();
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        world_init(&w);
        w.late_ns = 100 * NS_PER_MS;
        world_fault(&w, OBJSTORE_PUT, FAULT_NONE, probes);
        world_fault(&w, OBJSTORE_PUT, kinds[i], 1);
        assert_int_equal(run(engine_join), ERR_OK);
        assert_true(there("format"));
        assert_int_equal(run(engine_leave), ERR_OK);
        world_finish(&w);
    }
    world_init(&w); /* another server was faster */
    world_fault(&w, OBJSTORE_PUT, FAULT_NONE, probes);
    world_fault(&w, OBJSTORE_PUT, FAULT_STUCK, 1);
    step = (struct engine_step){.done = step_done};
    done = false;
    engine_join(&w.engine, &step);
    world_run_for(&w, NS_PER_S);
    struct buf *format = format_encode();
    world_put(&w, "format", format->data, format->bytes);
    buf_unref(format);
    world_unstick(&w);
    world_run_until(&w, &done);
    assert_int_equal(step.err, ERR_OK);
    assert_int_equal(run(engine_leave), ERR_OK);
    world_finish(&w);
}

static void what_the_store_says_reaches_the_prompt(void **state)
{
    (void)state;
    size_t probes = puts_of_probe();
    world_init(&w);
    w.engine.config.patience_ns = 5 * NS_PER_S;
    w.always[OBJSTORE_GET] = FAULT_DENIED;
    assert_int_equal(run(engine_join), ERR_DENIED);
    assert_true(step.complaint.text[0]);
    assert_int_equal(run(engine_look), ERR_DENIED);
    w.always[OBJSTORE_GET] = FAULT_NONE;
    w.always[OBJSTORE_LIST] = FAULT_UNAVAILABLE;
    assert_int_equal(run(engine_join), ERR_UNAVAILABLE);
    w.always[OBJSTORE_LIST] = FAULT_NONE;
    world_fault(&w, OBJSTORE_PUT, FAULT_NONE, probes);
    w.always[OBJSTORE_PUT] = FAULT_NOSPACE;
    assert_int_equal(run(engine_join), ERR_NOSPACE);
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    world_fault(&w, OBJSTORE_PUT, FAULT_NONE, probes + 1);
    w.always[OBJSTORE_PUT] = FAULT_UNAVAILABLE;
    assert_int_equal(run(engine_join), ERR_UNAVAILABLE);
    assert_true(step.complaint.text[0]);
    assert_false(w.engine.lease.joined);
    world_finish(&w);
}

RUN_TESTS(cmocka_unit_test(an_empty_bucket_is_made_ready),
          cmocka_unit_test(a_bucket_in_other_use_is_left_alone),
          cmocka_unit_test(another_format_is_refused_untouched),
          cmocka_unit_test(a_store_that_ignores_conditions_is_refused_and_left_empty),
          cmocka_unit_test(whoever_creates_the_format_the_join_goes_on),
          cmocka_unit_test(what_the_store_says_reaches_the_prompt))
