#include "world.h"

#include "volume/format/manifest.h"
#include "volume/format/page.h"
#include "volume/swap.h"

static struct world w;
static struct manifest first, next;
static struct swap swap;
static bool done;

static void swapped(struct swap *s)
{
    assert_ptr_equal(s, &swap);
    assert_false(done);
    done = true;
}

static void manifest_make(struct manifest *m)
{
    memset(m, 0, sizeof *m);
    m->params = (struct export_params){.size = GIB, .block_size = 128 * KIB, .object_size = 4 * MIB};
    m->state = MANIFEST_CLOSED;
    m->root.level = page_root_level(m->params.block_size, m->params.size);
    random_id(&w.loop, m->id);
    manifest_renew(m, &w.loop);
}

static void store_manifest(const struct manifest *m)
{
    struct buf *b = manifest_encode(m);
    world_put(&w, "exports/disk/manifest", b->data, b->bytes);
    buf_unref(b);
}

/* The nonce of what is there now; "" when nothing is. */
static const char *nonce_there(void)
{
    static char nonce[ID_HEX];
    struct buf *b = NULL;
    struct manifest m = {0};
    nonce[0] = '\0';
    if (world_get(&w, "exports/disk/manifest", &b, NULL) == ERR_OK) {
        assert_int_equal(manifest_parse(b->data, b->bytes, &m, NULL), ERR_OK);
        memcpy(nonce, m.nonce, sizeof nonce);
        manifest_finish(&m);
    }
    buf_unref(b);
    return nonce;
}

/* A manifest is there, and another one wants its place; or, with create, none is there. */
static void begin(bool create)
{
    world_init(&w);
    manifest_make(&first);
    manifest_copy(&next, &first);
    manifest_renew(&next, &w.loop);
    memset(&swap, 0, sizeof swap);
    swap.engine = &w.engine;
    swap.name = "disk";
    swap.next = &next;
    swap.create = create;
    swap.done = swapped;
    if (!create) {
        store_manifest(&first);
        world_get(&w, "exports/disk/manifest", NULL, swap.etag);
        memcpy(swap.former_nonce, first.nonce, sizeof first.nonce);
    }
    done = false;
}

static void finish(void)
{
    manifest_finish(&swap.found);
    manifest_finish(&first);
    manifest_finish(&next);
    world_finish(&w);
}

static void run(void)
{
    swap_start(&swap);
    assert_false(done);
    world_run_until(&w, &done);
}

static void assert_swapped(void)
{
    char etag[OBJSTORE_ETAG_MAX];
    assert_int_equal(swap.err, ERR_OK);
    assert_string_equal(nonce_there(), next.nonce);
    world_get(&w, "exports/disk/manifest", NULL, etag);
    assert_string_equal(swap.etag, etag);
}

static void it_replaces_what_was_there_with_one_request(void **state)
{
    (void)state;
    for (int create = 0; create < 2; create++) {
        begin(create);
        run();
        assert_swapped();
        assert_int_equal(w.requests[OBJSTORE_PUT], 1);
        assert_int_equal(w.requests[OBJSTORE_GET], 0);
        finish();
    }
}

/* Any three of these one after the other, then a store that is well. */
static void it_gets_there_through_every_combination_of_faults(void **state)
{
    (void)state;
    static const enum fault kinds[] = {
        FAULT_NONE,    FAULT_LOST_APPLIED, FAULT_LOST,  FAULT_LATE, FAULT_CONFLICT_APPLIED,
        FAULT_NOSPACE, FAULT_UNAVAILABLE,  FAULT_DENIED};
    const size_t n = COUNT_OF(kinds);
    for (size_t i = 0; i < 2 * n * n * n; i++) {
        begin(i % 2);
        w.late_ns = i % 3 ? 50 * NS_PER_MS : 30 * NS_PER_S;
        world_fault(&w, OBJSTORE_PUT, kinds[i / 2 % n], 1);
        world_fault(&w, OBJSTORE_PUT, kinds[i / 2 / n % n], 1);
        world_fault(&w, OBJSTORE_PUT, kinds[i / 2 / n / n], 1);
        run();
        assert_swapped();
        while (world_step(&w)) /* what comes late changes nothing */
            ;
        assert_swapped();
        finish();
    }
}

static void who_was_faster_is_found(void **state)
{
    (void)state;
    static const enum fault kinds[] = {FAULT_NONE, FAULT_LOST, FAULT_LATE, FAULT_LOST_APPLIED,
                                       FAULT_UNAVAILABLE};
    for (size_t i = 0; i < 2 * COUNT_OF(kinds); i++) {
        struct manifest other;
        char etag[OBJSTORE_ETAG_MAX];
        begin(i % 2);
        manifest_copy(&other, &first);
        manifest_renew(&other, &w.loop);
        other.serial = 77;
        store_manifest(&other);
        world_fault(&w, OBJSTORE_PUT, kinds[i / 2], 1);
        run();
        assert_int_equal(swap.err, ERR_CONFLICT);
        assert_int_equal(swap.found.serial, 77);
        assert_string_equal(swap.found.nonce, other.nonce);
        world_get(&w, "exports/disk/manifest", NULL, etag);
        assert_string_equal(swap.etag, etag);
        manifest_finish(&other);
        finish();
    }
}

static void a_missing_manifest_is_a_conflict_with_nothing_found(void **state)
{
    (void)state;
    begin(false);
    world_delete(&w, "exports/disk/manifest");
    run();
    assert_int_equal(swap.err, ERR_CONFLICT);
    assert_int_equal(swap.found.serial, 0);
    finish();
}

static void a_damaged_manifest_is_reported_and_left(void **state)
{
    (void)state;
    begin(false);
    world_put(&w, "exports/disk/manifest", "{}", 2);
    run();
    assert_int_equal(swap.err, ERR_CORRUPT);
    assert_int_equal(w.errors_logged, 1);
    finish();
}

/* The bytes sent again are the same, so the one that was late and the one that was sent again are one
 * version. */
static void a_late_request_between_read_back_and_resend_is_ours(void **state)
{
    (void)state;
    begin(false);
    world_fault(&w, OBJSTORE_PUT, FAULT_LATE, 1);
    w.late_ns = 20 * NS_PER_MS; /* the pause is at least 50 ms */
    run();
    assert_swapped();
    assert_int_equal(w.requests[OBJSTORE_PUT], 2);
    assert_int_equal(w.requests[OBJSTORE_GET], 2);
    finish();
}

static void without_patience_it_waits_for_space_for_ever(void **state)
{
    (void)state;
    begin(false);
    w.always[OBJSTORE_PUT] = FAULT_NOSPACE;
    swap_start(&swap);
    world_run_for(&w, 3600 * NS_PER_S);
    assert_false(done);
    assert_in_range(w.requests[OBJSTORE_PUT], 3000, 3700);
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    world_run_until(&w, &done);
    assert_swapped();
    finish();
}

static void patience_ends_with_what_is_known(void **state)
{
    (void)state;
    static const struct {
        enum fault fault;
        enum err err;
    } cases[] = {
        {FAULT_NOSPACE, ERR_NOSPACE}, {FAULT_UNAVAILABLE, ERR_UNAVAILABLE},
        {FAULT_DENIED, ERR_DENIED},   {FAULT_LOST, ERR_UNKNOWN},
        {FAULT_LATE, ERR_UNKNOWN},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        begin(i % 2);
        swap.patience_ns = 5 * NS_PER_S;
        w.late_ns = 60 * NS_PER_S;
        w.always[OBJSTORE_PUT] = cases[i].fault;
        uint64_t began_ns = w.loop.now_ns;
        run();
        assert_int_equal(swap.err, cases[i].err);
        assert_in_range(w.loop.now_ns - began_ns, 0, 11 * NS_PER_S);
        finish();
    }
}

/* Once it may have been applied, a later "no space" does not say that it was not. */
static void unknown_stays_unknown(void **state)
{
    (void)state;
    begin(false);
    swap.patience_ns = 60 * NS_PER_S;
    w.late_ns = 30 * NS_PER_S;
    world_fault(&w, OBJSTORE_PUT, FAULT_LATE, 1);
    w.always[OBJSTORE_PUT] = FAULT_NOSPACE;
    run();
    assert_int_equal(swap.err, ERR_UNKNOWN);
    while (world_step(&w))
        ;
    assert_string_equal(nonce_there(), next.nonce);
    finish();
}

static void canceled_it_ends_soon_and_says_what_is_known(void **state)
{
    (void)state;
    begin(false); /* while the PUT is under way */
    w.always[OBJSTORE_PUT] = FAULT_STUCK;
    swap_start(&swap);
    world_run_for(&w, NS_PER_S);
    swap_cancel(&swap);
    swap_cancel(&swap);
    assert_false(done);
    world_run_until(&w, &done);
    assert_int_equal(swap.err, ERR_UNKNOWN);
    finish();

    begin(false); /* while it waits to send again what was certainly not applied */
    w.always[OBJSTORE_PUT] = FAULT_NOSPACE;
    swap_start(&swap);
    world_run_for(&w, 10 * NS_PER_S);
    swap_cancel(&swap);
    assert_false(done);
    world_run_until(&w, &done);
    assert_int_equal(swap.err, ERR_CANCELED);
    finish();

    begin(false); /* while it reads back */
    w.always[OBJSTORE_PUT] = FAULT_LOST;
    w.always[OBJSTORE_GET] = FAULT_STUCK;
    swap_start(&swap);
    world_run_for(&w, 10 * NS_PER_S);
    swap_cancel(&swap);
    world_run_until(&w, &done);
    assert_int_equal(swap.err, ERR_UNKNOWN);
    finish();
}

/* ------------------------------------------------------------------- manifest_get */

static void got(struct manifest_get *g)
{
    (void)g;
    done = true;
}

static enum err get(struct manifest_get *g)
{
    done = false;
    *g = (struct manifest_get){.engine = &w.engine, .name = "disk", .done = got};
    manifest_get_start(g);
    assert_false(done);
    world_run_until(&w, &done);
    return g->err;
}

static void a_manifest_is_read_and_what_is_none_is_refused(void **state)
{
    (void)state;
    struct manifest_get g;
    begin(false);
    assert_int_equal(get(&g), ERR_OK);
    assert_string_equal(g.manifest.nonce, first.nonce);
    assert_string_equal(g.etag, swap.etag);
    manifest_finish(&g.manifest);
    world_fault(&w, OBJSTORE_GET, FAULT_DAMAGE, 1);
    assert_int_equal(get(&g), ERR_CORRUPT);
    assert_int_equal(w.errors_logged, 1);
    assert_true(g.complaint.text[0]);
    uint8_t *large = mem_calloc(1, MANIFEST_BYTES_MAX + 1);
    world_put(&w, "exports/disk/manifest", large, MANIFEST_BYTES_MAX + 1);
    mem_free(large);
    assert_int_equal(get(&g), ERR_CORRUPT);
    world_delete(&w, "exports/disk/manifest");
    assert_int_equal(get(&g), ERR_NOTFOUND);
    finish();
}

RUN_TESTS(cmocka_unit_test(it_replaces_what_was_there_with_one_request),
          cmocka_unit_test(it_gets_there_through_every_combination_of_faults),
          cmocka_unit_test(who_was_faster_is_found),
          cmocka_unit_test(a_missing_manifest_is_a_conflict_with_nothing_found),
          cmocka_unit_test(a_damaged_manifest_is_reported_and_left),
          cmocka_unit_test(a_late_request_between_read_back_and_resend_is_ours),
          cmocka_unit_test(without_patience_it_waits_for_space_for_ever),
          cmocka_unit_test(patience_ends_with_what_is_known), cmocka_unit_test(unknown_stays_unknown),
          cmocka_unit_test(canceled_it_ends_soon_and_says_what_is_known),
          cmocka_unit_test(a_manifest_is_read_and_what_is_none_is_refused))
