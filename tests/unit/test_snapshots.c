/* Snapshots and forks of exports that nobody has open: one manifest edited, whatever becomes of the
 * answers. */
#include "world.h"

#include "volume/exports.h"
#include "volume/format/manifest.h"
#include "volume/volume_state.h"

static struct world w;
static bool done;
static struct export_op op;

static void op_done(struct export_op *o)
{
    (void)o;
    assert_false(done);
    done = true;
}

static void start(void (*verb)(struct export_op *), struct export_op o)
{
    export_infos_free(op.infos);
    op = o;
    op.engine = &w.engine;
    op.done = op_done;
    done = false;
    verb(&op);
    assert_false(done);
}

static enum err run(void (*verb)(struct export_op *), struct export_op o)
{
    start(verb, o);
    world_run_until(&w, &done);
    assert_true(!op.err == !op.complaint.text[0]);
    return op.err;
}

#define RUN(verb, ...) run(verb, (struct export_op){__VA_ARGS__})

static enum err create(const char *name)
{
    static const struct export_params params = {.size = GIB};
    return RUN(export_create, .name = name, .params = &params);
}

static void end(void)
{
    export_infos_free(op.infos);
    op.infos = NULL;
    world_finish(&w);
}

static struct manifest there;

static struct manifest *manifest_of(const char *name)
{
    struct key key;
    struct buf *b;
    manifest_finish(&there);
    key_manifest(&key, name);
    assert_int_equal(world_get(&w, key.text, &b, NULL), ERR_OK);
    assert_int_equal(manifest_parse(b->data, b->bytes, &there, NULL), ERR_OK);
    buf_unref(b);
    return &there;
}

static void manifest_put(const char *name, struct manifest *m)
{
    struct key key;
    m->serial++;
    m->nonce[0] = m->nonce[0] == '0' ? '1' : '0';
    struct buf *b = manifest_encode(m);
    key_manifest(&key, name);
    world_put(&w, key.text, b->data, b->bytes);
    buf_unref(b);
}

/* As if it had been written to: another root. */
static void write_to(const char *name, unsigned mapped)
{
    struct manifest *m = manifest_of(name);
    m->root.tree.kind = SUBTREE_PAGE;
    m->root.tree.page.bytes = 100;
    memset(&m->root.tree.page.hash, (int)mapped, sizeof m->root.tree.page.hash);
    m->root.tree.sums = (struct map_sums){.mapped = mapped, .stored = mapped, .objects = 1};
    manifest_put(name, m);
}

static const char other_id[ID_HEX] = "cccccccccccccccccccccccccccccccc";

static void heartbeat_put(void)
{
    struct heartbeat beat = {.serial = 1, .process = w.host.self, .lease_ttl_ms = 30000};
    struct key key;
    memset(beat.nonce, 'f', ID_HEX - 1);
    snprintf(beat.process.host, sizeof beat.process.host, "elsewhere");
    struct buf *b = heartbeat_encode(&beat);
    key_server(&key, other_id);
    world_put(&w, key.text, b->data, b->bytes);
    buf_unref(b);
}

static unsigned all_requests(void)
{
    unsigned n = 0;
    for (size_t i = 0; i < COUNT_OF(w.requests); i++)
        n += w.requests[i];
    memset(w.requests, 0, sizeof w.requests);
    return n;
}

/* ---------------------------------------------------------------------------- snapshots */

static void a_snapshot_is_two_requests(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    write_to("disk", 1);
    all_requests();
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "one"), ERR_OK);
    assert_int_equal(all_requests(), 2);
    write_to("disk", 2);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "one"), ERR_CONFLICT);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "a@b"), ERR_INVALID);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "two"), ERR_OK);
    assert_int_equal(RUN(export_snapshot, .name = "none", .snapshot = "two"), ERR_NOTFOUND);
    assert_int_equal(RUN(export_snapshot, .name = "no@ne", .snapshot = "two"), ERR_NOTFOUND);
    assert_int_equal(RUN(export_info, .name = "disk"), ERR_OK);
    assert_int_equal(op.infos->snapshot_count, 2);
    assert_string_equal(op.infos->snapshots[0].name, "one");
    assert_int_equal(op.infos->snapshots[0].mapped, 1);
    assert_int_equal(op.infos->snapshots[1].mapped, 2);
    assert_int_equal(op.infos->snapshots[1].size, GIB);
    assert_int_equal(RUN(export_remove_snapshot, .name = "disk", .snapshot = "one"), ERR_OK);
    assert_int_equal(RUN(export_remove_snapshot, .name = "disk", .snapshot = "one"), ERR_NOTFOUND);
    assert_int_equal(manifest_of("disk")->snapshot_count, 1);
    end();
}

static void lost_answers_are_found_out(void **state)
{
    (void)state;
    static const enum fault kinds[] = {FAULT_LOST_APPLIED, FAULT_LOST, FAULT_LATE, FAULT_CONFLICT_APPLIED};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        world_init(&w);
        w.late_ns = 10 * NS_PER_MS;
        assert_int_equal(create("disk"), ERR_OK);
        world_fault(&w, OBJSTORE_PUT, kinds[i], 1);
        assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "one"), ERR_OK);
        assert_int_equal(manifest_of("disk")->snapshot_count, 1);
        world_fault(&w, OBJSTORE_PUT, kinds[i], 1);
        assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "one"), ERR_OK);
        assert_int_equal(manifest_of("disk")->breaks, 1);
        world_fault(&w, OBJSTORE_PUT, kinds[i], 1);
        assert_int_equal(RUN(export_remove_snapshot, .name = "disk", .snapshot = "one"), ERR_OK);
        world_fault(&w, OBJSTORE_PUT, kinds[i], 2);
        assert_int_equal(RUN(export_fork, .name = "disk", .child = "child"), ERR_OK);
        assert_int_equal(manifest_of("child")->state, MANIFEST_CLOSED);
        end();
    }
}

/* It was made, the answer was lost, and before that could be found out somebody else replaced it. */
static void made_and_replaced_since(struct export_op o, void (*verb)(struct export_op *), enum err expected)
{
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "old"), ERR_OK);
    write_to("disk", 7);
    world_fault(&w, OBJSTORE_PUT, FAULT_LOST_APPLIED, 1);
    world_fault(&w, OBJSTORE_GET, FAULT_NONE, 1);
    world_fault(&w, OBJSTORE_GET, FAULT_SLOW, 1);
    start(verb, o);
    world_run_for(&w, NS_PER_S);
    assert_false(done);
    manifest_put("disk", manifest_of("disk"));
    world_run_until(&w, &done);
    assert_int_equal(op.err, expected);
    assert_true(manifest_of("disk")->breaks <= 1);
    assert_true(there.snapshot_count <= 2);
    end();
}

static void what_was_made_is_not_made_twice(void **state)
{
    (void)state;
    made_and_replaced_since((struct export_op){.name = "disk", .snapshot = "new"}, export_snapshot, ERR_OK);
    made_and_replaced_since((struct export_op){.name = "disk", .snapshot = "old"}, export_remove_snapshot,
                            ERR_OK);
    made_and_replaced_since((struct export_op){.name = "disk", .snapshot = "old"}, export_rollback, ERR_OK);
    made_and_replaced_since((struct export_op){.name = "disk", .snapshot = "old", .discard = true},
                            export_rollback, ERR_UNKNOWN);
}

static void what_somebody_holds_is_left_alone(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "old"), ERR_OK);
    struct manifest *m = manifest_of("disk");
    m->state = MANIFEST_OPEN;
    m->epoch = 1;
    memset(m->folder, 'd', FOLDER_HEX - 1);
    memcpy(m->owner, other_id, sizeof m->owner);
    manifest_put("disk", m);
    heartbeat_put();
    w.engine.lease.joined = true;
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "new"), ERR_HELD);
    assert_non_null(strstr(op.complaint.text, "elsewhere, pid 17"));
    assert_int_equal(RUN(export_remove_snapshot, .name = "disk", .snapshot = "old"), ERR_HELD);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "old"), ERR_HELD);
    assert_int_equal(RUN(export_resize, .name = "disk", .size = 2 * GIB), ERR_HELD);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "child"), ERR_HELD);
    assert_int_equal(RUN(export_info, .name = "child"), ERR_NOTFOUND);
    assert_int_equal(RUN(export_fork, .name = "disk", .snapshot = "old", .child = "child"), ERR_OK);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "live", .as_checkpointed = true), ERR_OK);
    w.engine.lease.joined = false;
    end();
}

/* ----------------------------------------------------------------------------- rollback */

static void the_present_is_saved(void **state)
{
    (void)state;
    char saved[sizeof op.saved];
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    write_to("disk", 1);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "one"), ERR_OK);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "one"), ERR_OK);
    assert_string_equal(op.saved, ""); /* nothing to save */
    write_to("disk", 2);
    uint32_t epoch = manifest_of("disk")->epoch;
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "one"), ERR_OK);
    snprintf(saved, sizeof saved, "%s", op.saved);
    assert_int_equal(manifest_of("disk")->root.tree.sums.mapped, 1);
    assert_int_equal(there.epoch, epoch + 1);
    assert_int_equal(there.breaks, 2);
    assert_int_equal(there.state, MANIFEST_CLOSED);
    assert_int_equal(manifest_snapshot(&there, saved)->root.tree.sums.mapped, 2);
    write_to("disk", 3);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = saved),
                     ERR_OK); /* in the same second */
    assert_int_equal(manifest_of("disk")->root.tree.sums.mapped, 2);
    assert_int_equal(there.snapshot_count, 3);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "one", .discard = true), ERR_OK);
    assert_int_equal(manifest_of("disk")->snapshot_count, 3);
    assert_int_equal(RUN(export_rollback, .name = "disk", .snapshot = "none"), ERR_NOTFOUND);
    end();
}

/* --------------------------------------------------------------------------------- forks */

static void a_fork_is_four_requests(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    write_to("disk", 1);
    assert_int_equal(RUN(export_snapshot, .name = "disk", .snapshot = "one"), ERR_OK);
    write_to("disk", 2);
    all_requests();
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "child"), ERR_OK);
    assert_int_equal(all_requests(), 4);
    assert_int_equal(RUN(export_fork, .name = "disk", .snapshot = "one", .child = "older child"), ERR_OK);
    assert_int_equal(all_requests(), 4);
    struct manifest *m = manifest_of("child");
    assert_int_equal(m->state, MANIFEST_CLOSED);
    assert_int_equal(m->epoch, 0);
    assert_string_equal(m->owner, "");
    assert_int_equal(m->params.size, GIB);
    assert_int_equal(m->root.tree.sums.mapped, 2);
    assert_int_equal(m->snapshot_count, 0);
    assert_int_equal(manifest_of("older child")->root.tree.sums.mapped, 1);
    assert_int_equal(RUN(export_info, .name = "older child"), ERR_OK);
    assert_string_equal(op.infos->parent, "disk");
    assert_string_equal(op.infos->parent_snapshot, "one");
    assert_string_equal(op.infos->parent_id, manifest_of("disk")->id);
    assert_int_equal(RUN(export_remove, .name = "disk"), ERR_OK); /* forks live on */
    assert_int_equal(RUN(export_fork, .name = "child", .child = "grandchild"), ERR_OK);
    assert_int_equal(manifest_of("grandchild")->root.tree.sums.mapped, 2);
    end();
}

static void what_cannot_be_forked(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    assert_int_equal(create("other"), ERR_OK);
    assert_int_equal(RUN(export_fork, .name = "none", .child = "child"), ERR_NOTFOUND);
    assert_int_equal(RUN(export_fork, .name = "disk", .snapshot = "none", .child = "child"), ERR_NOTFOUND);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "other"), ERR_CONFLICT);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "disk"), ERR_CONFLICT);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "a@b"), ERR_INVALID);
    assert_int_equal(world_get(&w, "exports/child/manifest", NULL, NULL), ERR_NOTFOUND);
    end();
}

/* The parent goes between the look and the reading: the child's name is free again. */
static void the_parent_is_removed_meanwhile(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    world_fault(&w, OBJSTORE_GET, FAULT_NONE, 1);
    world_fault(&w, OBJSTORE_GET, FAULT_SLOW, 1);
    start(export_fork, (struct export_op){.name = "disk", .child = "child"});
    world_run_for(&w, NS_PER_S);
    assert_int_equal(manifest_of("child")->state, MANIFEST_FORKING);
    struct manifest *m = manifest_of("disk");
    m->state = MANIFEST_TOMBSTONE;
    manifest_put("disk", m);
    world_run_until(&w, &done);
    assert_int_equal(op.err, ERR_NOTFOUND);
    assert_int_equal(manifest_of("child")->state, MANIFEST_TOMBSTONE);
    assert_int_equal(create("child"), ERR_OK);
    end();
}

static void leave_a_fork(const char *child, const char *owner)
{
    struct manifest m = {.state = MANIFEST_FORKING,
                         .params = {.size = 1, .block_size = 4096, .object_size = 4096}};
    memset(m.id, 'e', ID_HEX - 1);
    memset(m.nonce, 'e', ID_HEX - 1);
    snprintf(m.owner, sizeof m.owner, "%s", owner);
    manifest_put(child, &m);
}

static void a_fork_nobody_finishes_makes_room(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    heartbeat_put();
    leave_a_fork("a", other_id);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "a"), ERR_HELD);
    assert_int_equal(create("a"), ERR_HELD);
    assert_int_equal(RUN(export_remove, .name = "a"), ERR_HELD);
    assert_non_null(strstr(op.complaint.text, "elsewhere, pid 17"));
    assert_int_equal(manifest_of("a")->state, MANIFEST_FORKING);
    world_delete(&w, "servers/cccccccccccccccccccccccccccccccc");
    leave_a_fork("b", other_id);
    leave_a_fork("c", w.engine.server_id);
    leave_a_fork("d", other_id);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "a"), ERR_OK);
    assert_int_equal(create("b"), ERR_OK);
    assert_int_equal(RUN(export_fork, .name = "disk", .child = "c"), ERR_OK);
    assert_int_equal(RUN(export_remove, .name = "d"), ERR_OK);
    assert_int_equal(manifest_of("a")->state, MANIFEST_CLOSED);
    assert_string_equal(manifest_of("a")->parent.name, "disk");
    assert_int_equal(manifest_of("b")->state, MANIFEST_CLOSED);
    assert_int_equal(manifest_of("c")->state, MANIFEST_CLOSED);
    assert_int_equal(manifest_of("d")->state, MANIFEST_TOMBSTONE);
    end();
}

/* Its maker was taken for dead: it finds out when it wants to fill in the child, and touches nothing. */
static void a_slow_fork_gives_up(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk"), ERR_OK);
    world_fault(&w, OBJSTORE_GET, FAULT_NONE, 1);
    world_fault(&w, OBJSTORE_GET, FAULT_SLOW, 1);
    start(export_fork, (struct export_op){.name = "disk", .child = "child"});
    world_run_for(&w, NS_PER_S);
    leave_a_fork("child", other_id);
    world_run_until(&w, &done);
    assert_int_equal(op.err, ERR_CONFLICT);
    assert_string_equal(manifest_of("child")->owner, other_id);
    end();
}

RUN_TESTS(cmocka_unit_test(a_snapshot_is_two_requests), cmocka_unit_test(lost_answers_are_found_out),
          cmocka_unit_test(what_was_made_is_not_made_twice),
          cmocka_unit_test(what_somebody_holds_is_left_alone), cmocka_unit_test(the_present_is_saved),
          cmocka_unit_test(a_fork_is_four_requests), cmocka_unit_test(what_cannot_be_forked),
          cmocka_unit_test(the_parent_is_removed_meanwhile),
          cmocka_unit_test(a_fork_nobody_finishes_makes_room), cmocka_unit_test(a_slow_fork_gives_up))
