#include "world.h"

#include "volume/exports.h"
#include "volume/format/manifest.h"
#include "volume/format/page.h"
#include "volume/membership/lease.h"
#include "volume/volume_state.h"

static struct world w;
static bool done;

static void op_done(struct export_op *op)
{
    (void)op;
    assert_false(done);
    done = true;
}

static struct export_op op;

static enum err run(void (*start)(struct export_op *), const char *name, const struct export_params *params)
{
    export_infos_free(op.infos);
    memset(&op, 0, sizeof op);
    op.engine = &w.engine;
    op.name = name;
    op.params = params;
    op.done = op_done;
    done = false;
    start(&op);
    assert_false(done);
    world_run_until(&w, &done);
    return op.err;
}

static enum err create(const char *name, uint64_t size)
{
    struct export_params params = {.size = size};
    return run(export_create, name, &params);
}

static void end(void)
{
    export_infos_free(op.infos);
    op.infos = NULL;
    world_finish(&w);
}

static void manifest_there(const char *name, struct manifest *m)
{
    struct key key;
    struct buf *b;
    key_manifest(&key, name);
    assert_int_equal(world_get(&w, key.text, &b, NULL), ERR_OK);
    assert_int_equal(manifest_parse(b->data, b->bytes, m, NULL), ERR_OK);
    buf_unref(b);
}

static void manifest_put(const char *name, const struct manifest *m)
{
    struct key key;
    struct buf *b = manifest_encode(m);
    key_manifest(&key, name);
    world_put(&w, key.text, b->data, b->bytes);
    buf_unref(b);
}

/* As if that server had it open, with something in it and a snapshot. */
static void open_by(const char *name, const char *server_id)
{
    struct manifest m;
    manifest_there(name, &m);
    m.serial++;
    m.nonce[0] = m.nonce[0] == '0' ? '1' : '0';
    m.state = MANIFEST_OPEN;
    m.epoch = 4;
    m.breaks = 2;
    memcpy(m.owner, server_id, sizeof m.owner);
    memset(m.folder, 'd', FOLDER_HEX - 1);
    m.position = 9;
    mem_free(m.segments);
    m.segments = MEM_ARRAY(struct segment, 1);
    m.segment_count = 1;
    m.segments[0] = (struct segment){.epoch = 3, .nonce = "eeeeeeeeeeeeeeee", .from = 1, .to = 2};
    m.root.tree.kind = SUBTREE_PAGE;
    m.root.tree.page.bytes = 100;
    m.root.tree.sums = (struct map_sums){.mapped = 1000, .stored = 900, .objects = 3};
    for (size_t i = 0; i < m.snapshot_count; i++)
        mem_free(m.snapshots[i].name);
    mem_free(m.snapshots);
    m.snapshots = MEM_ARRAY(struct manifest_snapshot, 1);
    m.snapshot_count = 1;
    m.snapshots[0] =
        (struct manifest_snapshot){.name = mem_strdup("monday"), .size = m.params.size, .root = m.root};
    manifest_put(name, &m);
    manifest_finish(&m);
}

static void heartbeat_put(const char *server_id, const char *host)
{
    struct heartbeat beat = {.serial = 1, .process = w.host.self, .lease_ttl_ms = 30000};
    struct key key;
    memset(beat.nonce, 'f', ID_HEX - 1);
    snprintf(beat.process.host, sizeof beat.process.host, "%s", host);
    struct buf *b = heartbeat_encode(&beat);
    key_server(&key, server_id);
    world_put(&w, key.text, b->data, b->bytes);
    buf_unref(b);
}

static const char other_id[ID_HEX] = "cccccccccccccccccccccccccccccccc";

/* ------------------------------------------------------------------------------ names */

static void names_and_parameters_are_checked(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "disk 1", "../x", "a/b", "\xc3\xa4", ".hidden", "="};
    static const char *const bad[] = {"", "a@b", "@", "a\nb", "\x7f"};
    char longest[EXPORT_NAME_MAX + 2];
    struct complaint c;
    memset(longest, 'x', sizeof longest);
    longest[EXPORT_NAME_MAX + 1] = '\0';
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_int_equal(export_name_check(good[i], &c), ERR_OK);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        c.text[0] = '\0';
        assert_int_equal(export_name_check(bad[i], &c), ERR_INVALID);
        assert_true(c.text[0]);
    }
    assert_int_equal(export_name_check(longest, &c), ERR_INVALID);
    longest[EXPORT_NAME_MAX] = '\0';
    assert_int_equal(export_name_check(longest, &c), ERR_OK);
    longest[0] = ' '; /* counts as three */
    assert_int_equal(export_name_check(longest, &c), ERR_INVALID);

    static const struct {
        struct export_params in;
        uint32_t block_size, object_size; /* 0: refused */
    } params[] = {
        {{.size = 1}, 128 * KIB, 4 * MIB},
        {{.size = INT64_MAX, .block_size = 4096}, 4096, 4 * MIB},
        {{.size = 1, .block_size = 4 * MIB}, 4 * MIB, 4 * MIB},
        {{.size = 1, .block_size = 128 * KIB, .object_size = 128 * KIB}, 128 * KIB, 128 * KIB},
        {{.size = 1, .block_size = 128 * KIB, .object_size = 64 * MIB}, 128 * KIB, 64 * MIB},
        {{.size = 0}, 0, 0},
        {{.size = UINT64_C(1) << 63}, 0, 0},
        {{.size = 1, .block_size = 2048}, 0, 0},
        {{.size = 1, .block_size = 8 * MIB}, 0, 0},
        {{.size = 1, .block_size = 12288}, 0, 0},
        {{.size = 1, .object_size = 64 * KIB}, 0, 0},
        {{.size = 1, .object_size = 192 * KIB}, 0, 0},
        {{.size = 1, .object_size = 128 * MIB}, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(params); i++) {
        struct export_params p = params[i].in;
        c.text[0] = '\0';
        if (params[i].block_size) {
            assert_int_equal(export_params_check(&p, &c), ERR_OK);
            assert_int_equal(p.block_size, params[i].block_size);
            assert_int_equal(p.object_size, params[i].object_size);
        } else {
            assert_int_equal(export_params_check(&p, &c), ERR_INVALID);
            assert_true(c.text[0]);
            assert_memory_equal(&p, &params[i].in, sizeof p);
        }
    }
}

/* --------------------------------------------------------------------------- creating */

static void created_it_is_there_and_not_created_again(void **state)
{
    (void)state;
    struct manifest m;
    world_init(&w);
    assert_int_equal(create("disk/1", 10 * TIB), ERR_OK);
    manifest_there("disk/1", &m);
    assert_int_equal(m.state, MANIFEST_CLOSED);
    assert_int_equal(m.epoch, 0);
    assert_int_equal(m.params.size, 10 * TIB);
    assert_int_equal(m.root.tree.kind, SUBTREE_HOLE);
    assert_int_equal(m.root.level, page_root_level(128 * KIB, 10 * TIB));
    assert_int_equal(strlen(m.id), ID_HEX - 1);
    assert_int_equal(m.created_ms, world_wall_ms(&w.loop));
    manifest_finish(&m);
    assert_int_equal(w.requests[OBJSTORE_PUT], 1);
    assert_int_equal(create("disk/1", GIB), ERR_CONFLICT);
    assert_non_null(strstr(op.complaint.text, "disk/1"));
    assert_int_equal(create("a@b", GIB), ERR_INVALID);
    assert_int_equal(create("b", 0), ERR_INVALID);
    assert_int_equal(run(export_info, "disk/1", NULL), ERR_OK);
    assert_string_equal(op.infos->name, "disk/1");
    assert_null(op.infos->next);
    assert_int_equal(op.infos->params.size, 10 * TIB);
    assert_true(op.infos->closed);
    assert_false(op.infos->held);
    assert_string_equal(op.infos->holder, "");
    end();
}

static void creating_survives_lost_answers(void **state)
{
    (void)state;
    static const enum fault kinds[] = {FAULT_LOST_APPLIED, FAULT_LOST, FAULT_LATE, FAULT_CONFLICT_APPLIED};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        world_init(&w);
        w.late_ns = 10 * NS_PER_MS;
        world_fault(&w, OBJSTORE_PUT, kinds[i], 1);
        assert_int_equal(create("disk", GIB), ERR_OK);
        end();
    }
}

static void what_the_store_says_reaches_the_prompt(void **state)
{
    (void)state;
    static const enum fault kinds[] = {FAULT_NOSPACE, FAULT_DENIED, FAULT_UNAVAILABLE, FAULT_LOST};
    static const enum err errs[] = {ERR_NOSPACE, ERR_DENIED, ERR_UNAVAILABLE, ERR_UNKNOWN};
    world_init(&w);
    w.engine.config.patience_ns = 5 * NS_PER_S;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        w.always[OBJSTORE_PUT] = kinds[i];
        assert_int_equal(create("disk", GIB), errs[i]);
        assert_true(op.complaint.text[0]);
    }
    end();
}

/* --------------------------------------------------------------------------- removing */

static void removed_it_is_gone_and_its_name_is_free(void **state)
{
    (void)state;
    struct manifest first, tomb, second;
    world_init(&w);
    assert_int_equal(run(export_remove, "disk", NULL), ERR_NOTFOUND);
    assert_int_equal(run(export_remove, "a@b", NULL), ERR_NOTFOUND);
    assert_int_equal(create("disk", GIB), ERR_OK);
    manifest_there("disk", &first);
    assert_int_equal(run(export_remove, "disk", NULL), ERR_OK);
    manifest_there("disk", &tomb);
    assert_int_equal(tomb.state, MANIFEST_TOMBSTONE);
    assert_string_equal(tomb.id, first.id);
    assert_int_equal(tomb.serial, first.serial + 1);
    assert_int_equal(run(export_remove, "disk", NULL), ERR_NOTFOUND);
    assert_int_equal(run(export_info, "disk", NULL), ERR_NOTFOUND);
    assert_true(op.complaint.text[0]);
    assert_int_equal(run(export_list, NULL, NULL), ERR_OK);
    assert_null(op.infos);
    assert_int_equal(create("disk", 2 * GIB), ERR_OK);
    manifest_there("disk", &second);
    assert_int_equal(second.state, MANIFEST_CLOSED);
    assert_int_equal(second.params.size, 2 * GIB);
    assert_int_equal(second.serial, tomb.serial + 1);
    assert_string_not_equal(second.id, first.id);
    assert_string_not_equal(second.nonce, tomb.nonce);
    manifest_finish(&first);
    manifest_finish(&tomb);
    manifest_finish(&second);
    end();
}

static void what_a_live_server_holds_is_not_removed(void **state)
{
    (void)state;
    struct manifest tomb;
    world_init(&w);
    assert_int_equal(create("disk", GIB), ERR_OK);
    open_by("disk", w.engine.server_id);
    static struct volume here = {.name = "disk"};
    list_push(&w.engine.volumes, &here.link);
    assert_int_equal(run(export_remove, "disk", NULL), ERR_HELD);
    list_remove(&here.link);
    assert_int_equal(run(export_remove, "disk", NULL), ERR_OK); /* ours, but not open any more */
    assert_int_equal(create("disk", GIB), ERR_OK);
    open_by("disk", other_id);
    heartbeat_put(other_id, "elsewhere");
    assert_int_equal(run(export_remove, "disk", NULL), ERR_HELD);
    assert_non_null(strstr(op.complaint.text, "elsewhere, pid 17"));
    assert_int_equal(run(export_info, "disk", NULL), ERR_OK);
    assert_true(op.infos->held);
    assert_false(op.infos->closed);
    assert_non_null(strstr(op.infos->holder, "elsewhere, pid 17"));
    assert_int_equal(op.infos->mapped, 1000);
    assert_int_equal(op.infos->stored, 900);
    assert_int_equal(op.infos->objects, 3);
    assert_int_equal(op.infos->epoch, 4);
    assert_int_equal(op.infos->breaks, 2);

    world_run_for(&w, 31 * NS_PER_S); /* and now it is overdue */
    assert_int_equal(run(export_info, "disk", NULL), ERR_OK);
    assert_true(op.infos->held);
    assert_int_equal(run(export_remove, "disk", NULL), ERR_OK);
    manifest_there("disk", &tomb);
    assert_int_equal(tomb.state, MANIFEST_TOMBSTONE);
    assert_string_equal(tomb.owner, "");
    assert_int_equal(tomb.segment_count, 0);
    assert_int_equal(tomb.snapshot_count, 0);
    assert_int_equal(tomb.root.tree.kind, SUBTREE_HOLE);
    manifest_finish(&tomb);

    assert_int_equal(create("disk", GIB), ERR_OK);
    open_by("disk", other_id);
    w.process_gone = true;
    assert_int_equal(run(export_info, "disk", NULL), ERR_OK);
    assert_false(op.infos->held);
    assert_int_equal(run(export_remove, "disk", NULL), ERR_OK);
    end();
}

/* Somebody opens it between the look and the swap. */
static void removing_looks_again_when_it_was_changed_meanwhile(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk", GIB), ERR_OK);
    heartbeat_put(other_id, "elsewhere");
    world_fault(&w, OBJSTORE_PUT, FAULT_STUCK, 1);
    memset(&op, 0, sizeof op);
    op.engine = &w.engine;
    op.name = "disk";
    op.done = op_done;
    done = false;
    export_remove(&op);
    world_run_for(&w, NS_PER_S);
    assert_false(done);
    open_by("disk", other_id);
    world_unstick(&w);
    world_run_until(&w, &done);
    assert_int_equal(op.err, ERR_HELD);
    end();
}

/* ----------------------------------------------------------------------------- listing */

static void thousands_are_listed_in_order_sixteen_at_once(void **state)
{
    (void)state;
    enum { N = 2500 };
    char name[32];
    struct manifest m;
    world_init(&w);
    assert_int_equal(create("first", GIB), ERR_OK);
    manifest_there("first", &m);
    for (unsigned i = 0; i < N; i++) { /* '!' is encoded: its order is not that of the keys */
        snprintf(name, sizeof name, "disk%c%04u", i % 2 ? '!' : '-', (i * 7919) % N);
        manifest_put(name, &m);
    }
    manifest_finish(&m);
    assert_int_equal(run(export_remove, "first", NULL), ERR_OK);
    world_put(&w, "exports/disk-0000/00112233445566778899aabbccddeeff/00000001-0011223344556677/0", "x", 1);
    world_put(&w, "exports/broken/manifest", "{}", 2);
    world_put(&w, "exports/ruins/00112233445566778899aabbccddeeff/00000001-0011223344556677/0", "x", 1);
    world_put(&w, "exports/=zz/manifest", "{}", 2);
    w.under_way_max = 0;
    w.requests[OBJSTORE_LIST] = 0;
    assert_int_equal(run(export_list, NULL, NULL), ERR_OK);
    assert_int_equal(w.under_way_max, 16);
    assert_int_equal(w.requests[OBJSTORE_LIST], 3);
    unsigned count = 0;
    for (const struct export_info *i = op.infos; i; i = i->next, count++)
        assert_true(!i->next || strcmp(i->name, i->next->name) < 0);
    assert_int_equal(count, N);
    end();
}

static void a_list_that_cannot_be_had_is_an_error(void **state)
{
    (void)state;
    world_init(&w);
    for (int i = 0; i < 30; i++) {
        char name[16];
        snprintf(name, sizeof name, "disk%d", i);
        assert_int_equal(create(name, GIB), ERR_OK);
    }
    world_fault(&w, OBJSTORE_LIST, FAULT_DENIED, 1);
    assert_int_equal(run(export_list, NULL, NULL), ERR_DENIED);
    assert_null(op.infos);
    world_fault(&w, OBJSTORE_GET, FAULT_NONE, 10);
    world_fault(&w, OBJSTORE_GET, FAULT_UNAVAILABLE, 5);
    assert_int_equal(run(export_list, NULL, NULL), ERR_UNAVAILABLE);
    assert_null(op.infos);
    assert_int_equal(run(export_list, NULL, NULL), ERR_OK);
    assert_string_equal(op.infos->name, "disk0");
    end();
}

static void brief_asks_for_manifests_only(void **state)
{
    (void)state;
    world_init(&w);
    assert_int_equal(create("disk", GIB), ERR_OK);
    open_by("disk", other_id);
    memset(&op, 0, sizeof op);
    op.engine = &w.engine;
    op.name = "disk";
    op.brief = true;
    op.done = op_done;
    done = false;
    export_info(&op);
    world_run_until(&w, &done);
    assert_int_equal(op.err, ERR_OK);
    assert_int_equal(w.requests[OBJSTORE_GET], 1);
    assert_true(op.infos->held);
    assert_string_equal(op.infos->holder, "");
    end();
}

RUN_TESTS(cmocka_unit_test(names_and_parameters_are_checked),
          cmocka_unit_test(created_it_is_there_and_not_created_again),
          cmocka_unit_test(creating_survives_lost_answers),
          cmocka_unit_test(what_the_store_says_reaches_the_prompt),
          cmocka_unit_test(removed_it_is_gone_and_its_name_is_free),
          cmocka_unit_test(what_a_live_server_holds_is_not_removed),
          cmocka_unit_test(removing_looks_again_when_it_was_changed_meanwhile),
          cmocka_unit_test(thousands_are_listed_in_order_sixteen_at_once),
          cmocka_unit_test(a_list_that_cannot_be_had_is_an_error),
          cmocka_unit_test(brief_asks_for_manifests_only))
