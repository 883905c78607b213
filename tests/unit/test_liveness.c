#include "world.h"

#include "volume/format/manifest.h"
#include "volume/membership/lease.h"
#include "volume/membership/liveness.h"

#define TTL  (30 * NS_PER_S)
#define BEAT (TTL / 3)

static struct world w;
static struct engine other; /* on another machine: only its lease is there */
static struct host other_host;
static struct engine_step step;
static struct liveness look;
static bool done, stepped;

static void looked(struct liveness *l)
{
    assert_ptr_equal(l, &look);
    assert_false(done);
    done = true;
}

static void step_done(struct engine_step *s)
{
    (void)s;
    stepped = true;
}

static void join(struct engine *e)
{
    step = (struct engine_step){.done = step_done};
    stepped = false;
    lease_join(&e->lease, &step);
    world_run_until(&w, &stepped);
    assert_int_equal(step.err, ERR_OK);
}

/* Its process is killed: it beats no more. */
static void other_dies(void)
{
    timer_stop(&other.lease.timer);
    other.lease.state = LEASE_IDLE;
}

static void begin(void)
{
    world_init(&w);
    memset(&other, 0, sizeof other);
    other_host = w.host;
    snprintf(other_host.self.host, sizeof other_host.self.host, "elsewhere");
    other_host.self.pid = 99;
    other.loop = &w.loop;
    other.store = w.bucket;
    other.config = w.engine.config;
    other.config.host = &other_host;
    snprintf(other.addresses, sizeof other.addresses, "10.0.0.2:10809");
    memset(other.server_id, 'c', ID_HEX - 1);
    list_init(&other.pins);
    lease_init(&other.lease, &other);
    other.lease.confirmed = other.lease.died = other.lease.revived = world_ignore;
    memset(&look, 0, sizeof look);
    look.engine = &w.engine;
    memcpy(look.server_id, other.server_id, sizeof look.server_id);
    look.done = looked;
    done = false;
}

static void end(void)
{
    other_dies();
    lease_finish(&other.lease);
    if (w.engine.lease.joined) {
        step = (struct engine_step){.done = step_done};
        stepped = false;
        lease_leave(&w.engine.lease, &step);
        world_run_until(&w, &stepped);
    }
    world_finish(&w);
}

static void start(void)
{
    done = false;
    liveness_start(&look);
    assert_false(done);
}

static bool is_dead(void)
{
    start();
    world_run_until(&w, &done);
    assert_int_equal(look.err, ERR_OK);
    return look.dead;
}

static void who_beats_is_alive(void **state)
{
    (void)state;
    begin();
    join(&other);
    world_run_for(&w, 4 * NS_PER_S);
    assert_false(is_dead());
    assert_string_equal(look.who, "elsewhere, pid 99, 10.0.0.2:10809, last heard of 4 s ago");
    assert_string_equal(look.beat.process.host, "elsewhere");
    assert_int_equal(w.requests[OBJSTORE_GET], 1);
    end();
}

static void nobody_and_who_has_no_heartbeat_is_dead(void **state)
{
    (void)state;
    begin();
    assert_true(is_dead());
    look.server_id[0] = '\0';
    assert_true(is_dead());
    assert_int_equal(w.requests[OBJSTORE_GET], 1);
    end();
}

static void a_process_that_is_gone_is_dead_at_once(void **state)
{
    (void)state;
    begin();
    join(&other);
    other_dies();
    w.process_gone = true;
    uint64_t began_ns = w.loop.now_ns;
    assert_true(is_dead());
    assert_int_equal(w.loop.now_ns, began_ns);
    end();
}

static void the_overdue_is_watched_for_a_beat(void **state)
{
    (void)state;
    begin();
    join(&other);
    other_dies();
    world_run_for(&w, TTL);
    assert_false(is_dead()); /* as old as the lease time is not older */
    world_run_for(&w, NS_PER_S);
    uint64_t began_ns = w.loop.now_ns;
    assert_true(is_dead());
    assert_int_equal(w.loop.now_ns - began_ns, BEAT);
    look.no_wait = true;
    assert_false(is_dead());
    end();
}

/* Back from an outage of its own it beats within a beat: it was never dead. */
static void who_comes_back_is_alive(void **state)
{
    (void)state;
    begin();
    other.store = &w.store;
    join(&other);
    w.always[OBJSTORE_PUT] = FAULT_UNAVAILABLE;
    world_run_for(&w, 3 * TTL);
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    start();
    world_run_until(&w, &done);
    assert_int_equal(look.err, ERR_OK);
    assert_false(look.dead);
    end();
}

/* An outage for all: its end is the beginning of the observation, however long the first look took. */
static void after_an_outage_nobody_is_dead_at_once(void **state)
{
    (void)state;
    begin();
    other.store = &w.store;
    join(&other);
    w.always[OBJSTORE_PUT] = FAULT_UNAVAILABLE;
    world_fault(&w, OBJSTORE_GET, FAULT_STUCK, 1);
    start();
    world_run_for(&w, 10 * TTL);
    assert_false(done);
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    world_unstick(&w);
    world_run_until(&w, &done);
    assert_false(look.dead);
    end();
}

/* The outage begins in the middle of the observation: a second look that took long is only a first one. */
static void a_slow_second_look_does_not_count(void **state)
{
    (void)state;
    begin();
    join(&other);
    other_dies();
    world_run_for(&w, TTL + NS_PER_S);
    world_fault(&w, OBJSTORE_GET, FAULT_NONE, 1);
    world_fault(&w, OBJSTORE_GET, FAULT_SLOW, 1);
    w.slow_ns = 2 * BEAT;
    uint64_t began_ns = w.loop.now_ns;
    assert_true(is_dead());
    assert_int_equal(w.requests[OBJSTORE_GET], 3);
    assert_int_equal(w.loop.now_ns - began_ns, 4 * BEAT);
    end();
}

static void without_a_lease_of_its_own_nobody_is_declared_dead(void **state)
{
    (void)state;
    begin();
    join(&other);
    join(&w.engine);
    other_dies();
    w.always[OBJSTORE_PUT] = FAULT_UNAVAILABLE;
    world_run_for(&w, 2 * TTL);
    assert_false(lease_holds(&w.engine.lease, w.loop.now_ns));
    start();
    world_run_for(&w, 10 * TTL);
    assert_false(done);
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    world_run_until(&w, &done);
    assert_int_equal(look.err, ERR_OK);
    assert_true(look.dead);

    w.engine.config.patience_ns = 60 * NS_PER_S; /* with patience it ends */
    w.always[OBJSTORE_PUT] = FAULT_UNAVAILABLE;
    world_run_for(&w, 2 * TTL);
    start();
    world_run_until(&w, &done);
    assert_int_equal(look.err, ERR_UNAVAILABLE);
    assert_false(look.dead);
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    world_run_for(&w, BEAT);
    end();
}

/* The lease held at one end of the observation only: at the first look, or at the second. */
static void half_a_lease_does_not_count(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        begin();
        join(&other);
        other_dies();
        world_run_for(&w, 2 * TTL);
        join(&w.engine);
        w.always[OBJSTORE_PUT] = FAULT_UNAVAILABLE;
        world_run_for(&w, first ? TTL - NS_PER_S : TTL + NS_PER_S);
        assert_int_equal(lease_holds(&w.engine.lease, w.loop.now_ns), first);
        start();
        world_run_for(&w, NS_PER_S / 2);
        if (!first)
            w.always[OBJSTORE_PUT] = FAULT_NONE;
        world_run_for(&w, BEAT);
        assert_int_equal(lease_holds(&w.engine.lease, w.loop.now_ns), !first);
        assert_int_equal(w.requests[OBJSTORE_GET], 2);
        assert_false(done);
        w.always[OBJSTORE_PUT] = FAULT_NONE;
        world_run_until(&w, &done);
        assert_true(look.dead);
        end();
    }
}

static void a_store_without_a_clock_needs_longer(void **state)
{
    (void)state;
    for (int alive = 0; alive < 2; alive++) {
        begin();
        join(&other);
        world_run_for(&w, NS_PER_S);
        if (!alive)
            other_dies();
        w.always[OBJSTORE_GET] = FAULT_NO_DATE;
        uint64_t began_ns = w.loop.now_ns;
        assert_int_equal(is_dead(), !alive);
        assert_int_equal(w.loop.now_ns - began_ns, TTL + BEAT);
        assert_null(strstr(look.who, "last heard"));
        end();
    }
}

static void an_unreadable_heartbeat_is_judged_by_its_age(void **state)
{
    (void)state;
    struct key key;
    begin();
    key_server(&key, other.server_id);
    world_put(&w, key.text, "?", 1);
    assert_false(is_dead());
    assert_non_null(strstr(look.who, other.server_id));
    world_run_for(&w, TTL + NS_PER_S);
    assert_true(is_dead());
    end();
}

static void what_the_store_says_is_passed_on(void **state)
{
    (void)state;
    begin();
    join(&other);
    world_fault(&w, OBJSTORE_GET, FAULT_DENIED, 1);
    start();
    world_run_until(&w, &done);
    assert_int_equal(look.err, ERR_DENIED);
    assert_false(look.dead);
    end();
}

static void canceled_it_ends_soon(void **state)
{
    (void)state;
    begin();
    join(&other);
    other_dies();
    world_fault(&w, OBJSTORE_GET, FAULT_STUCK, 1);
    start();
    world_run_for(&w, TTL + NS_PER_S);
    liveness_cancel(&look);
    assert_false(done);
    world_run_until(&w, &done);
    assert_int_equal(look.err, ERR_CANCELED);

    start(); /* while it watches */
    world_run_for(&w, NS_PER_S);
    assert_false(done);
    uint64_t began_ns = w.loop.now_ns;
    liveness_cancel(&look);
    assert_false(done);
    world_run_until(&w, &done);
    assert_int_equal(look.err, ERR_CANCELED);
    assert_int_equal(w.loop.now_ns, began_ns);
    liveness_cancel(&look); /* harmless */
    world_run_for(&w, TTL);
    end();
}

RUN_TESTS(cmocka_unit_test(who_beats_is_alive), cmocka_unit_test(nobody_and_who_has_no_heartbeat_is_dead),
          cmocka_unit_test(a_process_that_is_gone_is_dead_at_once),
          cmocka_unit_test(the_overdue_is_watched_for_a_beat), cmocka_unit_test(who_comes_back_is_alive),
          cmocka_unit_test(after_an_outage_nobody_is_dead_at_once),
          cmocka_unit_test(a_slow_second_look_does_not_count),
          cmocka_unit_test(without_a_lease_of_its_own_nobody_is_declared_dead),
          cmocka_unit_test(half_a_lease_does_not_count),
          cmocka_unit_test(a_store_without_a_clock_needs_longer),
          cmocka_unit_test(an_unreadable_heartbeat_is_judged_by_its_age),
          cmocka_unit_test(what_the_store_says_is_passed_on), cmocka_unit_test(canceled_it_ends_soon))
