#include "world.h"

#include "volume/pinned.h"

static struct world w;
static struct pinned pinned;
static struct engine_step step;
static bool done, stepped;
static unsigned deaths;
static struct manifest manifest;

static void on_done(struct pinned *p)
{
    assert_ptr_equal(p, &pinned);
    assert_false(done);
    done = true;
}

static void on_died(struct pinned *p)
{
    assert_ptr_equal(p, &pinned);
    deaths++;
}

static void step_done(struct engine_step *s)
{
    (void)s;
    stepped = true;
}

static struct map_root root_of(uint8_t number)
{
    struct map_root root = {.level = 0,
                            .tree = {.kind = SUBTREE_PAGE, .page = {.offset = number, .bytes = 300}}};
    memset(root.tree.page.object.hash.bytes, number, 32);
    memset(root.tree.page.hash.bytes, number + 100, 32);
    return root;
}

/* The export "disk" with snapshot "s" of that root; 0: without it. */
static void put_manifest(uint8_t number)
{
    manifest_finish(&manifest);
    manifest = (struct manifest){.serial = 1,
                                 .nonce = "000102030405060708090a0b0c0d0e0f",
                                 .id = "00112233445566778899aabbccddeeff",
                                 .state = MANIFEST_OPEN,
                                 .params = {.size = 20000, .block_size = 4096, .object_size = 8192},
                                 .epoch = 1,
                                 .owner = "ffeeddccbbaa99887766554433221100",
                                 .folder = "0123456789abcdef",
                                 .breaks = 4,
                                 .root = root_of(9)};
    if (number) {
        manifest.snapshots = MEM_ARRAY(struct manifest_snapshot, 1);
        manifest.snapshot_count = 1;
        manifest.snapshots[0] = (struct manifest_snapshot){
            .name = mem_strdup("s"), .size = 10000, .created_ms = 77, .root = root_of(number)};
    }
    struct buf *b = manifest_encode(&manifest);
    world_put(&w, "exports/disk/manifest", b->data, b->bytes);
    buf_unref(b);
}

static void begin(void)
{
    world_init(&w);
    deaths = 0;
    w.engine.lease.confirmed = w.engine.lease.revived = pins_confirmed;
    w.engine.lease.died = pins_died;
    memset(&step, 0, sizeof step);
    step.done = step_done;
    stepped = false;
    lease_join(&w.engine.lease, &step);
    world_run_until(&w, &stepped);
    assert_int_equal(step.err, ERR_OK);
}

static void end(void)
{
    pinned_drop(&pinned);
    memset(&step, 0, sizeof step);
    step.done = step_done;
    stepped = false;
    lease_leave(&w.engine.lease, &step);
    world_run_until(&w, &stepped);
    manifest_finish(&manifest);
    assert_int_equal(w.engine.pin_count, 0);
    world_finish(&w);
}

static void start(const char *name)
{
    memset(&pinned, 0, sizeof pinned);
    done = false;
    pinned.engine = &w.engine;
    pinned.name = name;
    pinned.done = on_done;
    pinned.died = on_died;
    pinned_start(&pinned);
    assert_false(done);
}

static enum err pin(const char *name)
{
    start(name);
    world_run_until(&w, &done);
    return pinned.err;
}

/* The numbers of the roots that this server's heartbeat pins. */
static unsigned stored_pins(uint8_t *first)
{
    struct key key;
    struct buf *b = NULL;
    struct heartbeat_pin *pins = NULL;
    size_t count = 0;
    key_server(&key, w.engine.server_id);
    assert_int_equal(world_get(&w, key.text, &b, NULL), ERR_OK);
    assert_int_equal(heartbeat_pins(b->data, b->bytes, &pins, &count, NULL), ERR_OK);
    if (count)
        *first = pins[0].root.tree.page.object.hash.bytes[0];
    mem_free(pins);
    buf_unref(b);
    return (unsigned)count;
}

static void a_root_is_pinned_and_then_looked_for_again(void **state)
{
    (void)state;
    uint8_t number = 0;
    begin();
    put_manifest(5);
    assert_int_equal(pin("disk@s"), ERR_OK);
    assert_int_equal(pinned.size, 10000);
    assert_int_equal(pinned.created_ms, 77);
    assert_int_equal(pinned.params.block_size, 4096);
    assert_int_equal(pinned.breaks, 4);
    assert_false(pinned.behind);
    assert_int_equal(stored_pins(&number), 1);
    assert_int_equal(number, 5);
    assert_int_equal(w.requests[OBJSTORE_GET], 2);
    assert_int_equal(w.requests[OBJSTORE_PUT], 2);
    pinned_drop(&pinned);
    assert_int_equal(pin("disk"), ERR_OK); /* the export itself, as of its last checkpoint */
    assert_int_equal(pinned.size, 20000);
    assert_true(pinned.behind);
    assert_int_equal(stored_pins(&number), 1);
    assert_int_equal(number, 9);
    pinned_drop(&pinned);
    world_run_for(&w, 11 * NS_PER_S);
    assert_int_equal(stored_pins(&number), 0);
    end();
}

static void what_is_not_there_is_said(void **state)
{
    (void)state;
    begin();
    put_manifest(5);
    assert_int_equal(pin("disk@t"), ERR_NOTFOUND);
    assert_string_equal(pinned.complaint.text, "export disk has no snapshot t");
    assert_int_equal(pin("other@s"), ERR_NOTFOUND);
    assert_int_equal(pin("disk@"), ERR_INVALID);
    assert_int_equal(pin("@s"), ERR_INVALID);
    assert_int_equal(pin("disk@s@t"), ERR_INVALID);
    assert_true(pinned.complaint.text[0]);
    end();
}

/* Removed, or rewritten, between the first look and the pin: what was seen first may be gone. */
static void a_root_that_changed_meanwhile_is_not_read(void **state)
{
    (void)state;
    uint8_t number = 0;
    for (int removed = 0; removed < 2; removed++) {
        begin();
        put_manifest(5);
        world_fault(&w, OBJSTORE_PUT, FAULT_STUCK, 1);
        start("disk@s");
        world_run_for(&w, NS_PER_S / 10);
        assert_false(done);
        put_manifest(removed ? 0 : 6);
        world_unstick(&w);
        world_run_until(&w, &done);
        assert_int_equal(pinned.err, removed ? ERR_NOTFOUND : ERR_OK);
        if (!removed) {
            assert_int_equal(pinned.root.tree.page.object.hash.bytes[0], 6);
            assert_int_equal(stored_pins(&number), 1);
            assert_int_equal(number, 6);
        }
        end();
    }
}

/* The lease then holds, but the pin is not there. */
static void a_heartbeat_without_room_confirms_no_pin(void **state)
{
    (void)state;
    uint8_t number = 0;
    begin();
    put_manifest(5);
    world_fault(&w, OBJSTORE_PUT, FAULT_NOSPACE, 3);
    start("disk@s");
    world_run_for(&w, 25 * NS_PER_S);
    assert_false(done);
    assert_true(lease_holds(&w.engine.lease, w.loop.now_ns));
    assert_int_equal(stored_pins(&number), 0);
    world_run_until(&w, &done);
    assert_int_equal(pinned.err, ERR_OK);
    assert_int_equal(stored_pins(&number), 1);
    end();
}

static void lost_answers_are_looked_into(void **state)
{
    (void)state;
    uint8_t number = 0;
    for (enum fault f = FAULT_LOST_APPLIED; f <= FAULT_LATE; f++) {
        begin();
        put_manifest(5);
        world_fault(&w, OBJSTORE_PUT, f, 1);
        assert_int_equal(pin("disk@s"), ERR_OK);
        assert_int_equal(stored_pins(&number), 1);
        end();
    }
}

static void declare_dead(void)
{
    struct key key;
    key_server(&key, w.engine.server_id);
    world_delete(&w, key.text);
}

static void whoever_was_declared_dead_is_told(void **state)
{
    (void)state;
    uint8_t number = 0;
    begin();
    put_manifest(5);
    assert_int_equal(pin("disk@s"), ERR_OK);
    declare_dead();
    world_run_for(&w, 11 * NS_PER_S);
    assert_int_equal(deaths, 1);
    world_run_for(&w, 11 * NS_PER_S);
    assert_int_equal(deaths, 1);
    pinned_drop(&pinned);
    world_fault(&w, OBJSTORE_PUT, FAULT_STUCK, 1); /* while it waits for its heartbeat: another id will do */
    start("disk@s");
    world_run_for(&w, NS_PER_S / 10);
    declare_dead();
    world_unstick(&w);
    world_run_until(&w, &done);
    assert_int_equal(pinned.err, ERR_OK);
    assert_int_equal(deaths, 1);
    assert_int_equal(stored_pins(&number), 1);
    end();
}

static void canceled_it_ends(void **state)
{
    (void)state;
    begin();
    put_manifest(5);
    start("disk@s");
    pinned_cancel(&pinned);
    world_run_until(&w, &done);
    assert_int_equal(pinned.err, ERR_CANCELED);
    for (int verb = 0; verb < 2; verb++) {
        world_fault(&w, verb ? OBJSTORE_PUT : OBJSTORE_GET, FAULT_STUCK, 1);
        start("disk@s");
        world_run_for(&w, NS_PER_S / 10);
        assert_false(done);
        pinned_cancel(&pinned);
        world_run_until(&w, &done);
        assert_int_equal(pinned.err, ERR_CANCELED);
        world_unstick(&w);
    }
    pinned_cancel(&pinned);
    end();
}

static void there_is_an_end_to_pins(void **state)
{
    (void)state;
    static struct pinned many[HEARTBEAT_PINS_MAX];
    uint8_t number = 0;
    begin();
    put_manifest(5);
    memset(many, 0, sizeof many);
    for (size_t i = 0; i < COUNT_OF(many); i++) {
        struct pin *p = &many[i].pin;
        p->engine = &w.engine;
        p->content = (struct heartbeat_pin){.block_size = 4096, .root = root_of(1)};
        memset(p->content.name, '"', sizeof p->content.name - 1);
        p->confirmed = true;
        list_push(&w.engine.pins, &p->link);
        w.engine.pin_count++;
    }
    assert_int_equal(pin("disk@s"), ERR_INVALID);
    assert_true(pinned.complaint.text[0]);
    pin_drop(&many[7].pin);
    assert_int_equal(pin("disk@s"), ERR_OK);
    assert_int_equal(stored_pins(&number), HEARTBEAT_PINS_MAX);
    for (size_t i = 0; i < COUNT_OF(many); i++)
        pin_drop(&many[i].pin);
    end();
}

RUN_TESTS(cmocka_unit_test(a_root_is_pinned_and_then_looked_for_again),
          cmocka_unit_test(what_is_not_there_is_said),
          cmocka_unit_test(a_root_that_changed_meanwhile_is_not_read),
          cmocka_unit_test(a_heartbeat_without_room_confirms_no_pin),
          cmocka_unit_test(lost_answers_are_looked_into), cmocka_unit_test(whoever_was_declared_dead_is_told),
          cmocka_unit_test(canceled_it_ends), cmocka_unit_test(there_is_an_end_to_pins))
