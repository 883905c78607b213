/* The engine from outside: volumes over the store in RAM, against a plain array. */
#include "volume/volume.h"

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/prng.h"
#include "loop/uv_loop.h"
#include "objstore/mem.h"
#include "unit.h"

#define DISK_BYTES (3 * MIB + 4096 + 512)

static struct loop *loop;
static struct objstore *store;
static struct host host;
static struct engine *engine;
static struct volume *disk;
static uint8_t *model; /* what the disk must hold */
static struct prng prng;

static bool everybody_else_is_gone(const struct host *h, const struct process_id *other)
{
    (void)h;
    (void)other;
    return true;
}

/* ------------------------------------------------------------ waiting for one thing */

static void stop_loop(void)
{
    uv_loop_stop(loop);
}

static void step_done(struct engine_step *s)
{
    (void)s;
    stop_loop();
}

static void engine_up(void)
{
    struct engine_config config;
    engine_config_defaults(&config);
    config.host = &host;
    config.write_buffer_bytes = 512 * KIB;
    config.inline_bytes = 256 * KIB;
    config.cache_bytes = 512 * KIB;
    config.checkpoint_interval_ns = 20 * NS_PER_MS;
    config.flush_interval_ns = 10 * NS_PER_MS;
    engine = engine_create(loop, store, &config);
    struct engine_step step = {.done = step_done};
    engine_join(engine, &step);
    uv_loop_run(loop);
    assert_int_equal(step.err, ERR_OK);
}

static void engine_down(void)
{
    struct engine_step step = {.done = step_done};
    engine_leave(engine, &step);
    uv_loop_run(loop);
    assert_int_equal(step.err, ERR_OK);
    engine_destroy(engine);
    engine = NULL;
}

static void opened(struct volume_open *o)
{
    (void)o;
    stop_loop();
}

static enum err disk_open(const struct export_params *create, bool must_create)
{
    struct volume_open open = {
        .engine = engine, .name = "disk", .create = create, .must_create = must_create, .done = opened};
    volume_open(&open);
    uv_loop_run(loop);
    disk = open.volume;
    return open.err;
}

static void closed(struct volume_close *c)
{
    (void)c;
    stop_loop();
}

static enum err disk_close(bool abandon)
{
    struct volume_close close = {.volume = disk, .done = closed};
    volume_close(&close);
    if (abandon)
        volume_close_abandon(&close);
    uv_loop_run(loop);
    disk = NULL;
    return close.err;
}

static void req_done(struct volume_req *r)
{
    (void)r;
    stop_loop();
}

static enum err submit(struct volume_req *r)
{
    r->done = req_done;
    volume_submit(disk, r);
    uv_loop_run(loop);
    return r->err;
}

/* -------------------------------------------------------------------- operations */

static enum err write_at(uint64_t offset, size_t bytes, const uint8_t *from, unsigned flags)
{
    struct volume_req r = {
        .verb = VOLUME_WRITE, .flags = flags, .offset = offset, .bytes = bytes, .admitted = req_done};
    if (!volume_prepare_write(disk, &r))
        uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    for (size_t i = 0; i < r.payload_count; i++) {
        memcpy(r.payload[i]->data, from, r.payload[i]->bytes);
        from += r.payload[i]->bytes;
    }
    enum err err = submit(&r);
    volume_req_finish(&r);
    return err;
}

static enum err plain(enum volume_verb verb, uint64_t offset, uint64_t bytes, unsigned flags)
{
    struct volume_req r = {.verb = verb, .flags = flags, .offset = offset, .bytes = bytes};
    enum err err = submit(&r);
    volume_req_finish(&r);
    return err;
}

static enum err read_at(uint64_t offset, uint64_t bytes, uint8_t *to)
{
    struct volume_req r = {.verb = VOLUME_READ, .offset = offset, .bytes = bytes};
    if (!volume_read_now(disk, &r))
        submit(&r);
    for (size_t i = 0; i < r.segment_count; i++) {
        const struct volume_segment *s = &r.segments[i];
        if (s->kind == VOLUME_DATA)
            memcpy(to, s->buf->data + s->skip, (size_t)s->bytes);
        else
            memset(to, 0, (size_t)s->bytes);
        to += s->bytes;
    }
    volume_req_finish(&r);
    return r.err;
}

static void whole_disk_is(const uint8_t *expected)
{
    uint8_t *now = mem_alloc(DISK_BYTES);
    memset(now, 0xee, DISK_BYTES);
    assert_int_equal(read_at(0, DISK_BYTES, now), ERR_OK);
    for (size_t i = 0; i < DISK_BYTES; i++)
        if (now[i] != expected[i])
            fail_msg("byte %zu is %02x, expected %02x", i, now[i], expected[i]);
    mem_free(now);
}

static void random_change(void)
{
    static uint8_t bytes[100 * KIB];
    uint64_t n = prng_below(&prng, 4) ? 1 + prng_below(&prng, 6000) : 1 + prng_below(&prng, sizeof bytes);
    uint64_t at = prng_below(&prng, DISK_BYTES - n);
    if (prng_below(&prng, 2)) {
        at &= ~UINT64_C(4095);
        n = MIN((n + 4095) & ~UINT64_C(4095), DISK_BYTES - at);
        n = MIN(n, sizeof bytes);
    }
    switch (prng_below(&prng, 8)) {
    case 0:
        assert_int_equal(plain(VOLUME_TRIM, at, n, 0), ERR_OK);
        memset(model + at, 0, n);
        return;
    case 1:
        assert_int_equal(plain(VOLUME_ZERO, at, n, prng_below(&prng, 2) ? VOLUME_NO_HOLE : 0), ERR_OK);
        memset(model + at, 0, n);
        return;
    default:
        prng_fill(&prng, bytes, prng_below(&prng, 10) ? n : 1);
        assert_int_equal(write_at(at, n, bytes, prng_below(&prng, 20) ? 0 : VOLUME_FUA), ERR_OK);
        memcpy(model + at, bytes, n);
    }
}

/* ------------------------------------------------------------------------- tests */

static const struct export_params small_blocks = {
    .size = DISK_BYTES, .block_size = 16 * KIB, .object_size = 128 * KIB};

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR);
    host_init(&host);
    host.is_gone = everybody_else_is_gone;
    loop = uv_loop_create();
    store = mem_store_create(loop);
    model = mem_calloc(1, DISK_BYTES);
    prng_seed(&prng, 42);
    engine_up();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (engine)
        engine_down();
    mem_free(model);
    objstore_destroy(store);
    uv_loop_destroy(loop);
    return 0;
}

static void new_disk_is_zeros(void **state)
{
    (void)state;
    assert_int_equal(disk_open(NULL, false), ERR_NOTFOUND);
    assert_int_equal(disk_open(&small_blocks, true), ERR_OK);
    whole_disk_is(model);
    assert_int_equal(disk_close(false), ERR_OK);
    assert_int_equal(disk_open(&small_blocks, true), ERR_CONFLICT);
}

static void what_was_written_is_read(void **state)
{
    (void)state;
    assert_int_equal(disk_open(&small_blocks, true), ERR_OK);
    for (int i = 0; i < 300; i++) {
        random_change();
        if (i % 50 == 49)
            whole_disk_is(model);
    }
    assert_int_equal(disk_close(false), ERR_OK);
    assert_int_equal(disk_open(NULL, false), ERR_OK);
    whole_disk_is(model);
    assert_int_equal(disk_close(false), ERR_OK);
}

static void many_rounds_of_changes_and_crashes(void **state)
{
    (void)state;
    assert_int_equal(disk_open(&small_blocks, true), ERR_OK);
    for (int round = 0; round < 40; round++) {
        int changes = (int)prng_below(&prng, 120);
        for (int i = 0; i < changes; i++) {
            random_change();
            if (prng_below(&prng, 10) == 0)
                assert_int_equal(plain(VOLUME_FLUSH, 0, 0, 0), ERR_OK);
        }
        bool crash = prng_below(&prng, 2);
        if (crash)
            assert_int_equal(plain(VOLUME_FLUSH, 0, 0, 0), ERR_OK);
        assert_int_equal(disk_close(crash), crash ? ERR_CANCELED : ERR_OK);
        if (prng_below(&prng, 2)) {
            engine_down();
            engine_up();
        }
        assert_int_equal(disk_open(NULL, false), ERR_OK);
        whole_disk_is(model);
    }
    assert_int_equal(disk_close(false), ERR_OK);
}

static void holes_and_zeros_are_told_apart(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    prng_fill(&prng, bytes, sizeof bytes);
    assert_int_equal(disk_open(&small_blocks, true), ERR_OK);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(write_at(65536, sizeof bytes, bytes, 0), ERR_OK);
        assert_int_equal(plain(VOLUME_ZERO, 131072, 4096, VOLUME_NO_HOLE), ERR_OK);
        struct volume_req r = {.verb = VOLUME_STATUS, .offset = 0, .bytes = 200000};
        assert_int_equal(submit(&r), ERR_OK);
        static const struct {
            enum volume_kind kind;
            uint64_t bytes;
        } expected[] = {{VOLUME_HOLE, 65536},
                        {VOLUME_DATA, 4096},
                        {VOLUME_HOLE, 61440},
                        {VOLUME_ALLOCATED_ZEROS, 4096},
                        {VOLUME_HOLE, 200000 - 135168}};
        assert_int_equal(r.segment_count, COUNT_OF(expected));
        for (size_t i = 0; i < COUNT_OF(expected); i++) {
            assert_int_equal(r.segments[i].kind, expected[i].kind);
            if (i + 1 < COUNT_OF(expected))
                assert_int_equal(r.segments[i].bytes, expected[i].bytes);
        }
        volume_req_finish(&r);
        assert_int_equal(disk_close(false), ERR_OK);
        assert_int_equal(disk_open(NULL, false), ERR_OK);
    }
    assert_int_equal(disk_close(false), ERR_OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(new_disk_is_zeros), T(what_was_written_is_read), T(holes_and_zeros_are_told_apart),
          T(many_rounds_of_changes_and_crashes))
