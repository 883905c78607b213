/* Snapshots, sizes and checkpoints of a volume that is open, over the store in RAM. */
#include "volume/volume.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/uv_loop.h"
#include "objstore/mem.h"
#include "unit.h"
#include "volume/exports.h"
#include "volume/format/manifest.h"
#include "volume/swap.h"

static struct loop *loop;
static struct objstore *store;
static struct host host;
static struct engine *engine;
static struct volume *disk;
static struct manifest stored;

static const struct export_params small_disk = {
    .size = 20000, .block_size = 4 * KIB, .object_size = 16 * KIB};

/* ------------------------------------------------------------ waiting for one thing */

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

static void got(struct manifest_get *g)
{
    (void)g;
    uv_loop_stop(loop);
}

static unsigned changes_under_way;

static void changed(struct volume_change *c)
{
    (void)c;
    if (--changes_under_way == 0)
        uv_loop_stop(loop);
}

static void open_named(const char *name)
{
    struct volume_open open = {.engine = engine, .name = name, .create = &small_disk, .done = opened};
    volume_open(&open);
    uv_loop_run(loop);
    assert_int_equal(open.err, ERR_OK);
    disk = open.volume;
}

static void disk_open(void)
{
    open_named("disk");
}

static enum err disk_close(bool abandon)
{
    struct volume_close close = {.volume = disk, .done = closed};
    volume_close(&close);
    if (abandon)
        volume_close_abandon(&close);
    uv_loop_run(loop);
    return close.err;
}

static void write_byte(uint64_t offset, uint8_t value)
{
    struct volume_req r = {
        .verb = VOLUME_WRITE, .offset = offset, .bytes = 1, .done = req_done, .admitted = req_done};
    assert_true(volume_prepare_write(disk, &r));
    r.payload[0]->data[0] = value;
    volume_submit(disk, &r);
    uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    volume_req_finish(&r);
}

static uint8_t byte_at(uint64_t offset)
{
    struct volume_req r = {.verb = VOLUME_READ, .offset = offset, .bytes = 1, .done = req_done};
    volume_submit(disk, &r);
    uv_loop_run(loop);
    assert_int_equal(r.err, ERR_OK);
    uint8_t value = r.segments[0].kind == VOLUME_DATA ? r.segments[0].buf->data[r.segments[0].skip] : 0;
    volume_req_finish(&r);
    return value;
}

static void start_change(struct volume_change *c)
{
    c->volume = disk;
    c->done = changed;
    changes_under_way++;
    volume_change(c);
}

static enum err change(enum volume_change_verb verb, const char *name, uint64_t size)
{
    struct volume_change c = {.verb = verb, .name = name, .size = size};
    start_change(&c);
    uv_loop_run(loop);
    assert_true(!c.err == !c.complaint.text[0]);
    return c.err;
}

static uint64_t size_now(void)
{
    struct volume_info info;
    volume_info(disk, &info);
    return info.size;
}

static void look_at_manifest(void)
{
    struct manifest_get get = {.engine = engine, .name = "disk", .done = got};
    manifest_get_start(&get);
    uv_loop_run(loop);
    assert_int_equal(get.err, ERR_OK);
    manifest_finish(&stored);
    stored = get.manifest;
}

static int setup(void **state)
{
    (void)state;
    struct engine_config config;
    struct engine_step step = {.done = step_done};
    log_set_level(LOG_ERROR);
    host_init(&host);
    loop = uv_loop_create();
    store = mem_store_create(loop);
    engine_config_defaults(&config);
    config.host = &host;
    engine = engine_create(loop, store, &config);
    engine_join(engine, &step);
    uv_loop_run(loop);
    assert_int_equal(step.err, ERR_OK);
    disk_open();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    struct engine_step step = {.done = step_done};
    engine_leave(engine, &step);
    uv_loop_run(loop);
    engine_destroy(engine);
    manifest_finish(&stored);
    objstore_destroy(store);
    uv_loop_destroy(loop);
    return 0;
}

/* ------------------------------------------------------------------------- tests */

static void snapshots_are_taken_and_removed(void **state)
{
    (void)state;
    write_byte(0, 1);
    assert_int_equal(change(VOLUME_SNAPSHOT, "monday", 0), ERR_OK);
    write_byte(5000, 2);
    assert_int_equal(change(VOLUME_SNAPSHOT, "tuesday", 0), ERR_OK);
    assert_int_equal(change(VOLUME_SNAPSHOT, "also tuesday", 0), ERR_OK);
    look_at_manifest();
    assert_int_equal(stored.snapshot_count, 3);
    const struct manifest_snapshot *monday = manifest_snapshot(&stored, "monday");
    const struct manifest_snapshot *tuesday = manifest_snapshot(&stored, "tuesday");
    const struct manifest_snapshot *also = manifest_snapshot(&stored, "also tuesday");
    assert_true(monday->root.tree.kind == SUBTREE_PAGE && monday->root.tree.sums.mapped == 1);
    assert_int_equal(tuesday->root.tree.sums.mapped, 2);
    assert_true(sha256_equal(&tuesday->root.tree.page.hash, &also->root.tree.page.hash));
    assert_int_equal(change(VOLUME_SNAPSHOT, "monday", 0), ERR_CONFLICT);
    assert_int_equal(change(VOLUME_SNAPSHOT, "a@b", 0), ERR_INVALID);
    assert_int_equal(change(VOLUME_SNAPSHOT, "", 0), ERR_INVALID);
    assert_int_equal(change(VOLUME_REMOVE_SNAPSHOT, "monday", 0), ERR_OK);
    assert_int_equal(change(VOLUME_REMOVE_SNAPSHOT, "monday", 0), ERR_NOTFOUND);
    look_at_manifest();
    assert_int_equal(stored.snapshot_count, 2);
    assert_int_equal(disk_close(false), ERR_OK);
}

static void many_share_one_checkpoint(void **state)
{
    (void)state;
    struct volume_stats before, after;
    volume_stats(disk, &before);
    struct volume_change c[5] = {{.verb = VOLUME_SNAPSHOT, .name = "a"},
                                 {.verb = VOLUME_RESIZE, .size = 30000},
                                 {.verb = VOLUME_SNAPSHOT, .name = "b"},
                                 {.verb = VOLUME_REMOVE_SNAPSHOT, .name = "a"},
                                 {.verb = VOLUME_SNAPSHOT, .name = "a"}};
    for (size_t i = 0; i < COUNT_OF(c); i++)
        start_change(&c[i]);
    uv_loop_run(loop);
    for (size_t i = 0; i < COUNT_OF(c); i++)
        assert_int_equal(c[i].err, ERR_OK);
    volume_stats(disk, &after);
    assert_int_equal(after.checkpoints, before.checkpoints + 1);
    look_at_manifest();
    assert_int_equal(stored.snapshot_count, 2);
    assert_int_equal(manifest_snapshot(&stored, "b")->size, 30000);
    assert_int_equal(disk_close(false), ERR_OK);
}

static void there_is_an_end_to_snapshots(void **state)
{
    (void)state;
    static char names[MANIFEST_SNAPSHOTS_MAX + 1][8];
    static struct volume_change c[MANIFEST_SNAPSHOTS_MAX + 1];
    memset(c, 0, sizeof c);
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        snprintf(names[i], sizeof names[i], "%zu", i);
        c[i].verb = VOLUME_SNAPSHOT;
        c[i].name = names[i];
        start_change(&c[i]);
    }
    uv_loop_run(loop);
    for (size_t i = 0; i < COUNT_OF(c); i++)
        assert_int_equal(c[i].err, i < MANIFEST_SNAPSHOTS_MAX ? ERR_OK : ERR_INVALID);
    assert_int_equal(disk_close(false), ERR_OK);
}

/* From a root that is a leaf, by way of a node, to the largest there is; and what was there stays there. */
static void growing_adds_levels(void **state)
{
    (void)state;
    static const uint64_t sizes[] = {200000,     4 * MIB,           600 * KIB * KIB, 5000 * GIB,
                                     5001 * GIB, UINT64_C(1) << 60, INT64_MAX};
    uint64_t last = 20000;
    write_byte(0, 1);
    write_byte(last - 1, 2);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        if (i % 2)
            write_byte(last / 2, (uint8_t)(20 + i)); /* something to fold in the same checkpoint */
        assert_int_equal(change(VOLUME_RESIZE, NULL, sizes[i]), ERR_OK);
        assert_int_equal(size_now(), sizes[i]);
        assert_int_equal(byte_at(sizes[i] - 1), 0);
        write_byte(sizes[i] - 1, (uint8_t)(10 + i));
        if (i == 3) {
            assert_int_equal(disk_close(true), ERR_CANCELED);
            disk_open();
            write_byte(sizes[i] - 1, (uint8_t)(10 + i));
        }
        last = sizes[i];
    }
    assert_int_equal(change(VOLUME_RESIZE, NULL, last - 1), ERR_INVALID);
    assert_int_equal(change(VOLUME_RESIZE, NULL, last + 1), ERR_INVALID);
    assert_int_equal(change(VOLUME_RESIZE, NULL, 0), ERR_INVALID);
    assert_int_equal(change(VOLUME_RESIZE, NULL, last), ERR_OK);
    assert_int_equal(disk_close(false), ERR_OK);
    disk_open();
    assert_int_equal(byte_at(0), 1);
    assert_int_equal(byte_at(19999), 2);
    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        assert_int_equal(byte_at(sizes[i] - 1), 10 + i);
    assert_int_equal(disk_close(false), ERR_OK);
}

static void a_hole_grows_without_pages(void **state)
{
    (void)state;
    assert_int_equal(change(VOLUME_RESIZE, NULL, 5000 * GIB), ERR_OK);
    look_at_manifest();
    assert_int_equal(stored.root.tree.kind, SUBTREE_HOLE);
    write_byte(5000 * GIB - 1, 7);
    assert_int_equal(disk_close(false), ERR_OK);
    disk_open();
    assert_int_equal(byte_at(5000 * GIB - 1), 7);
    assert_int_equal(disk_close(false), ERR_OK);
}

static void a_checkpoint_is_all_it_says(void **state)
{
    (void)state;
    struct volume_stats before, after;
    write_byte(100, 1);
    assert_int_equal(change(VOLUME_CHECKPOINT, NULL, 0), ERR_OK);
    look_at_manifest();
    assert_int_equal(stored.root.tree.sums.mapped, 1);
    volume_stats(disk, &before);
    assert_int_equal(change(VOLUME_CHECKPOINT, NULL, 0), ERR_OK); /* nothing to do: nothing is sent */
    volume_stats(disk, &after);
    assert_int_equal(after.checkpoints, before.checkpoints);
    assert_int_equal(disk_close(false), ERR_OK);
}

static void a_close_makes_what_waits(void **state)
{
    (void)state;
    struct volume_change c = {.verb = VOLUME_SNAPSHOT, .name = "last"};
    struct volume_close close = {.volume = disk, .done = closed};
    write_byte(100, 1);
    start_change(&c);
    changes_under_way++; /* the close ends the wait */
    volume_close(&close);
    uv_loop_run(loop);
    assert_int_equal(close.err, ERR_OK);
    assert_int_equal(c.err, ERR_OK);
    assert_int_equal(--changes_under_way, 0);
    look_at_manifest();
    assert_int_equal(stored.state, MANIFEST_CLOSED);
    assert_int_equal(stored.snapshot_count, 1);
}

static void an_abandoned_close_answers_all(void **state)
{
    (void)state;
    struct volume_change c[2] = {{.verb = VOLUME_SNAPSHOT, .name = "a"}, {.verb = VOLUME_CHECKPOINT}};
    struct volume_close close = {.volume = disk, .done = closed};
    write_byte(100, 1);
    start_change(&c[0]);
    start_change(&c[1]);
    changes_under_way++;
    volume_close(&close);
    volume_close_abandon(&close);
    uv_loop_run(loop);
    assert_int_equal(close.err, ERR_CANCELED);
    assert_int_equal(c[0].err, ERR_CANCELED);
    assert_int_equal(c[1].err, ERR_CANCELED);
    assert_int_equal(--changes_under_way, 0);
}

/* ------------------------------------------------------------- exports that nobody has open */

static void op_done(struct export_op *o)
{
    (void)o;
    uv_loop_stop(loop);
}

static enum err run(void (*verb)(struct export_op *), struct export_op *o)
{
    o->engine = engine;
    o->done = op_done;
    verb(o);
    uv_loop_run(loop);
    return o->err;
}

#define RUN(verb, ...) run(verb, &(struct export_op){__VA_ARGS__})

static void expect_bytes(const char *name, uint8_t first, uint8_t second)
{
    open_named(name);
    assert_int_equal(byte_at(0), first);
    assert_int_equal(byte_at(5000), second);
    assert_int_equal(disk_close(false), ERR_OK);
}

static void forks_and_rollback_hold_what_was_there(void **state)
{
    (void)state;
    write_byte(0, 1);
    write_byte(5000, 1);
    assert_int_equal(change(VOLUME_SNAPSHOT, "one", 0), ERR_OK);
    write_byte(0, 2);
    assert_int_equal(change(VOLUME_CHECKPOINT, NULL, 0), ERR_OK);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "live", .as_checkpointed = true), ERR_OK);
    write_byte(5000, 3);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "one"), ERR_HELD);
    assert_int_equal(RUN(export_resize, .name = "disk", .size = 40000), ERR_HELD);
    assert_int_equal(disk_close(false), ERR_OK);
    assert_int_equal(RUN(export_fork, .name = "disk", .snapshot = "one", .child = "a"), ERR_OK);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "b"), ERR_OK);
    expect_bytes("a", 1, 1);
    expect_bytes("b", 2, 3);
    expect_bytes("live", 2, 1);
    open_named("a");
    write_byte(0, 9);
    assert_int_equal(disk_close(false), ERR_OK);
    expect_bytes("disk", 2, 3);
    struct export_op back = {.name = "disk", .snapshot = "one"};
    assert_int_equal(run(export_rollback, &back), ERR_OK);
    expect_bytes("disk", 1, 1);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = back.saved), ERR_OK);
    expect_bytes("disk", 2, 3);
    expect_bytes("a", 9, 1);
}

/* Its owner's process is gone, and what it flushed is in its log only. */
static void the_log_of_the_dead_is_folded_first(void **state)
{
    (void)state;
    write_byte(0, 1);
    struct volume_req r = {.verb = VOLUME_FLUSH, .done = req_done};
    volume_submit(disk, &r);
    uv_loop_run(loop);
    assert_int_equal(disk_close(true), ERR_CANCELED);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "one"), ERR_OK);
    look_at_manifest();
    assert_int_equal(stored.state, MANIFEST_CLOSED);
    assert_int_equal(manifest_snapshot(&stored, "one")->root.tree.sums.mapped, 1);
    assert_int_equal(RUN(export_fork, .name = "disk", .snapshot = "one", .child = "a"), ERR_OK);
    expect_bytes("a", 1, 0);
}

static void what_grows_back_is_zeros(void **state)
{
    (void)state;
    write_byte(0, 1);
    write_byte(5000, 2);
    write_byte(19000, 3);
    assert_int_equal(change(VOLUME_SNAPSHOT, "whole", 0), ERR_OK);
    assert_int_equal(disk_close(false), ERR_OK);
    assert_int_equal(RUN(export_resize, .name = "disk", .size = 4999), ERR_INVALID);
    assert_int_equal(RUN(export_resize, .name = "disk", .size = 0, .shrink = true), ERR_INVALID);
    assert_int_equal(RUN(export_resize, .name = "none", .size = 1), ERR_NOTFOUND);
    assert_int_equal(RUN(export_resize, .name = "disk", .size = 4999, .shrink = true), ERR_OK);
    look_at_manifest();
    assert_int_equal(stored.state, MANIFEST_CLOSED);
    assert_int_equal(stored.params.size, 4999);
    assert_int_equal(stored.root.tree.sums.mapped, 1);
    assert_int_equal(RUN(export_resize, .name = "disk", .size = 5000 * GIB), ERR_OK);
    open_named("disk");
    assert_int_equal(size_now(), 5000 * GIB);
    assert_int_equal(byte_at(0), 1);
    assert_int_equal(byte_at(5000), 0);
    assert_int_equal(byte_at(19000), 0);
    write_byte(19000, 4);
    write_byte(4000 * GIB, 5);
    assert_int_equal(disk_close(false), ERR_OK);
    assert_int_equal(RUN(export_fork, .name = "disk", .snapshot = "whole", .child = "a"), ERR_OK);
    open_named("a");
    assert_int_equal(size_now(), 20000);
    assert_int_equal(byte_at(19000), 3);
    assert_int_equal(disk_close(false), ERR_OK);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "whole", .discard = true), ERR_OK);
    open_named("disk");
    assert_int_equal(size_now(), 20000);
    assert_int_equal(byte_at(5000), 2);
    assert_int_equal(change(VOLUME_RESIZE, NULL, 6000 * GIB), ERR_OK);
    assert_int_equal(byte_at(4000 * GIB), 0);
    assert_int_equal(byte_at(19000), 3);
    assert_int_equal(disk_close(false), ERR_OK);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(snapshots_are_taken_and_removed), T(many_share_one_checkpoint), T(there_is_an_end_to_snapshots),
          T(growing_adds_levels), T(a_hole_grows_without_pages), T(a_checkpoint_is_all_it_says),
          T(a_close_makes_what_waits), T(an_abandoned_close_answers_all),
          T(forks_and_rollback_hold_what_was_there), T(the_log_of_the_dead_is_folded_first),
          T(what_grows_back_is_zeros))
