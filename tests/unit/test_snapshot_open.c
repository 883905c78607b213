/* Snapshots read by a server that owns nothing, while another one writes the export. */
#include "volume/volume.h"

#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/uv_loop.h"
#include "objstore/mem.h"
#include "unit.h"
#include "volume/engine_state.h"
#include "volume/exports.h"

static struct loop *loop;
static struct objstore *store;
static struct host host;
static struct engine *writer, *reader;
static struct volume *disk, *snapshot;
static unsigned lost_count;

static const struct export_params small_disk = {
    .size = 20000, .block_size = 4 * KIB, .object_size = 16 * KIB};

static void step_done(struct engine_step *s)
{
    (void)s;
    uv_loop_stop(loop);
}

static void opened(struct volume_open *o)
{
    (void)o;
    uv_loop_stop(loop);
}

static void closed(struct volume_close *c)
{
    (void)c;
    uv_loop_stop(loop);
}

static void req_done(struct volume_req *r)
{
    (void)r;
    uv_loop_stop(loop);
}

static void changed(struct volume_change *c)
{
    (void)c;
    uv_loop_stop(loop);
}

static void op_done(struct export_op *op)
{
    (void)op;
    uv_loop_stop(loop);
}

static void store_done(struct objstore_req *r)
{
    (void)r;
    uv_loop_stop(loop);
}

static void lost(struct volume *v, void *ctx, enum err why)
{
    assert_ptr_equal(v, snapshot);
    assert_null(ctx);
    assert_int_equal(why, ERR_FENCED);
    lost_count++;
    uv_loop_stop(loop);
}

static enum err open_as(struct engine *e, const char *name, struct volume **v)
{
    struct volume_open open = {
        .engine = e, .name = name, .create = &small_disk, .lost = lost, .done = opened};
    volume_open(&open);
    uv_loop_run(loop);
    if (!open.err)
        *v = open.volume;
    else
        assert_true(open.complaint.text[0]);
    return open.err;
}

static enum err close_one(struct volume *v)
{
    struct volume_close close = {.volume = v, .done = closed};
    volume_close(&close);
    uv_loop_run(loop);
    return close.err;
}

static void fill(uint8_t value)
{
    struct volume_req r = {
        .verb = VOLUME_WRITE, .offset = 0, .bytes = 20000, .done = req_done, .admitted = req_done};
    assert_true(volume_prepare_write(disk, &r));
    for (size_t i = 0; i < r.payload_count; i++)
        memset(r.payload[i]->data, value, r.payload[i]->bytes);
    volume_submit(disk, &r);
    uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    volume_req_finish(&r);
}

static enum err change(enum volume_change_verb verb, const char *name)
{
    struct volume_change c = {.volume = disk, .verb = verb, .name = name, .done = changed};
    volume_change(&c);
    uv_loop_run(loop);
    return c.err;
}

static enum err byte_at(struct volume *v, uint64_t offset, uint8_t *value)
{
    struct volume_req r = {.verb = VOLUME_READ, .offset = offset, .bytes = 1, .done = req_done};
    volume_submit(v, &r);
    uv_loop_run(loop);
    if (!r.err)
        *value = r.segments[0].kind == VOLUME_DATA ? r.segments[0].buf->data[r.segments[0].skip] : 0;
    volume_req_finish(&r);
    return r.err;
}

static void assert_byte(struct volume *v, uint64_t offset, uint8_t expected)
{
    uint8_t value = 0xee;
    assert_int_equal(byte_at(v, offset, &value), ERR_OK);
    assert_int_equal(value, expected);
}

static struct engine *engine_new(void)
{
    struct engine_config config;
    struct engine_step step = {.done = step_done};
    engine_config_defaults(&config);
    config.host = &host;
    config.lease_ttl_ns = 3 * NS_PER_S;
    struct engine *e = engine_create(loop, store, &config);
    engine_join(e, &step);
    uv_loop_run(loop);
    assert_int_equal(step.err, ERR_OK);
    return e;
}

static void engine_end(struct engine *e)
{
    struct engine_step step = {.done = step_done};
    engine_leave(e, &step);
    uv_loop_run(loop);
    engine_destroy(e);
}

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_ERROR + 1);
    host_init(&host);
    lost_count = 0;
    loop = uv_loop_create();
    store = mem_store_create(loop);
    writer = engine_new();
    reader = engine_new();
    assert_int_equal(open_as(writer, "disk", &disk), ERR_OK);
    fill(1);
    assert_int_equal(change(VOLUME_SNAPSHOT, "one"), ERR_OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(close_one(disk), ERR_OK);
    engine_end(reader);
    engine_end(writer);
    objstore_destroy(store);
    uv_loop_destroy(loop);
    return 0;
}

static void a_snapshot_is_read_while_the_export_is_written(void **state)
{
    (void)state;
    struct volume *mine;
    struct volume_info info;
    fill(2);
    assert_int_equal(open_as(reader, "disk@one", &snapshot), ERR_OK);
    assert_int_equal(open_as(writer, "disk@one", &mine), ERR_OK); /* also by the owner, at the same time */
    volume_info(snapshot, &info);
    assert_string_equal(info.name, "disk@one");
    assert_true(info.read_only);
    assert_int_equal(info.size, 20000);
    assert_byte(snapshot, 0, 1);
    assert_byte(mine, 19999, 1);
    assert_byte(disk, 19999, 2);
    assert_int_equal(change(VOLUME_REMOVE_SNAPSHOT, "one"), ERR_OK);
    fill(3);
    assert_byte(snapshot, 10000, 1); /* stays for whoever reads it */
    struct volume_req r = {.verb = VOLUME_FLUSH, .done = req_done};
    volume_submit(snapshot, &r);
    uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    volume_req_finish(&r);
    r = (struct volume_req){.verb = VOLUME_STATUS, .bytes = 20000, .done = req_done};
    volume_submit(snapshot, &r);
    uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    assert_int_equal(r.segment_count, 1);
    assert_int_equal(r.segments[0].kind, VOLUME_DATA);
    volume_req_finish(&r);
    assert_int_equal(reader->pin_count, 1);
    assert_int_equal(close_one(snapshot), ERR_OK);
    assert_int_equal(reader->pin_count, 0);
    assert_int_equal(close_one(mine), ERR_OK);
    assert_int_equal(open_as(reader, "disk@one", &snapshot), ERR_NOTFOUND);
    assert_int_equal(open_as(reader, "disk@", &snapshot), ERR_INVALID);
    assert_int_equal(open_as(reader, "desk@one", &snapshot), ERR_NOTFOUND);
    volume_info(disk, &info);
    assert_false(info.read_only);
}

static void it_is_looked_at_like_an_export(void **state)
{
    (void)state;
    struct export_op op = {.engine = reader, .name = "disk@one", .done = op_done};
    export_info(&op);
    uv_loop_run(loop);
    assert_int_equal(op.err, ERR_OK);
    assert_string_equal(op.infos->name, "disk@one");
    assert_true(op.infos->read_only && op.infos->closed && !op.infos->held);
    assert_int_equal(op.infos->params.size, 20000);
    assert_int_equal(op.infos->mapped, 20000);
    export_infos_free(op.infos);
    op.name = "disk@two";
    export_info(&op);
    uv_loop_run(loop);
    assert_int_equal(op.err, ERR_NOTFOUND);
    assert_non_null(strstr(op.complaint.text, "snapshot disk@two"));
}

static void declared_dead_it_serves_no_more(void **state)
{
    (void)state;
    struct key key;
    uint8_t value;
    assert_int_equal(open_as(reader, "disk@one", &snapshot), ERR_OK);
    assert_byte(snapshot, 0, 1);
    key_server(&key, engine_server_id(reader));
    const char *doomed = key.text;
    struct objstore_req r = {
        .verb = OBJSTORE_DELETE, .key = "", .keys = &doomed, .key_count = 1, .done = store_done};
    objstore_submit(store, &r);
    uv_loop_run(loop);
    uv_loop_run(loop); /* until it has noticed */
    assert_int_equal(lost_count, 1);
    assert_int_equal(byte_at(snapshot, 0, &value), ERR_FENCED);
    assert_int_equal(close_one(snapshot), ERR_OK);
    assert_int_equal(open_as(reader, "disk@one", &snapshot), ERR_OK); /* under its new id */
    assert_byte(snapshot, 0, 1);
    assert_int_equal(close_one(snapshot), ERR_OK);
}

/* ------------------------------------------------------------------- what has changed */

enum { BYTES = 300000 }; /* of a disk whose map has a node and leaves */

static uint8_t present[BYTES], past[BYTES];

static void base_opened(struct volume_base_open *o)
{
    (void)o;
    uv_loop_stop(loop);
}

static enum err base_open(struct engine *e, const char *name, struct volume_base **base)
{
    struct volume_base_open o = {.engine = e, .name = name, .done = base_opened};
    volume_base_open(&o);
    uv_loop_run(loop);
    if (!o.err)
        *base = o.base;
    else
        assert_true(o.complaint.text[0]);
    return o.err;
}

static void do_change(struct volume *v, enum volume_verb verb, uint64_t offset, uint64_t bytes, uint8_t value)
{
    struct volume_req r = {
        .verb = verb, .offset = offset, .bytes = bytes, .done = req_done, .admitted = req_done};
    if (verb == VOLUME_WRITE) {
        assert_true(volume_prepare_write(v, &r));
        for (size_t i = 0; i < r.payload_count; i++)
            memset(r.payload[i]->data, value, r.payload[i]->bytes);
    }
    volume_submit(v, &r);
    uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    volume_req_finish(&r);
    if (verb == VOLUME_WRITE || verb == VOLUME_TRIM)
        memset(present + offset, verb == VOLUME_WRITE ? value : 0, bytes);
}

/* Every byte that is not as it was is told; returns how many are told. */
static uint64_t check_changes(struct volume *v, const struct volume_base *base, uint64_t offset,
                              uint64_t bytes, size_t limit)
{
    struct volume_req r = {.verb = VOLUME_CHANGES,
                           .offset = offset,
                           .bytes = bytes,
                           .status_limit = limit,
                           .base = base,
                           .done = req_done};
    volume_submit(v, &r);
    uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    assert_true(r.segment_count > 0 && (!limit || r.segment_count <= limit));
    uint64_t at = offset, told = 0;
    for (size_t i = 0; i < r.segment_count; i++) {
        const struct volume_segment *s = &r.segments[i];
        assert_true(s->kind == VOLUME_CHANGED || s->kind == VOLUME_UNCHANGED);
        assert_true(!i || s->kind != r.segments[i - 1].kind);
        if (s->kind == VOLUME_UNCHANGED)
            assert_memory_equal(present + at, past + at, s->bytes);
        else
            told += s->bytes;
        at += s->bytes;
    }
    assert_true(at == offset + bytes || (limit && r.segment_count == limit && at < offset + bytes));
    volume_req_finish(&r);
    return told;
}

static void changes_since_a_snapshot_are_told(void **state)
{
    (void)state;
    const struct export_params params = {.size = BYTES, .block_size = 4 * KIB, .object_size = 16 * KIB};
    struct volume_open open = {
        .engine = writer, .name = "big", .create = &params, .lost = lost, .done = opened};
    struct volume_base *base;
    volume_open(&open);
    uv_loop_run(loop);
    assert_int_equal(open.err, ERR_OK);
    struct volume *big = open.volume;
    memset(present, 0, sizeof present);
    do_change(big, VOLUME_WRITE, 1000, 200000, 7);
    struct volume_change c = {.volume = big, .verb = VOLUME_SNAPSHOT, .name = "then", .done = changed};
    volume_change(&c);
    uv_loop_run(loop);
    assert_int_equal(c.err, ERR_OK);
    assert_string_equal(volume_snapshot(big, 0), "then");
    assert_null(volume_snapshot(big, 1));
    memcpy(past, present, sizeof past);
    assert_int_equal(base_open(writer, "big@now", &base), ERR_NOTFOUND);
    assert_int_equal(base_open(writer, "big@then", &base), ERR_OK);
    assert_int_equal(check_changes(big, base, 0, BYTES, 0), 0);
    for (int round = 0; round < 6; round++) {
        uint64_t at = 20000 + (uint64_t)round * 40000;
        do_change(big, VOLUME_WRITE, at, 5000,
                  (uint8_t)(20 + round)); /* dirty; then logged; then in the map */
        do_change(big, VOLUME_TRIM, at + 10000, 3000, 0);
        uint64_t told = check_changes(big, base, 0, BYTES, 0);
        assert_true(told >= 5000 && told <= (uint64_t)(round + 1) * (5000 + 3000 + 4 * 4 * KIB));
        check_changes(big, base, 17, 150000, 0);
        check_changes(big, base, 100, BYTES - 100, 1);
        check_changes(big, base, 100, BYTES - 100, 3);
        if (round % 2)
            do_change(big, VOLUME_FLUSH, 0, 0, 0);
        if (round == 3) {
            c = (struct volume_change){.volume = big, .verb = VOLUME_CHECKPOINT, .done = changed};
            volume_change(&c);
            uv_loop_run(loop);
        }
    }
    volume_base_close(base);
    assert_int_equal(close_one(big), ERR_OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
RUN_TESTS(T(a_snapshot_is_read_while_the_export_is_written), T(it_is_looked_at_like_an_export),
          T(declared_dead_it_serves_no_more), T(changes_since_a_snapshot_are_told))
