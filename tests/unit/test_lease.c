#include "world.h"

#include "volume/format/manifest.h"
#include "volume/membership/lease.h"

#define TTL  (30 * NS_PER_S)
#define BEAT (TTL / 3)

static struct world w;
static struct engine_step step;
static bool stepped;
static unsigned confirmed, died, revived;
static char id_when_dead[ID_HEX];

static void step_done(struct engine_step *s)
{
    assert_ptr_equal(s, &step);
    stepped = true;
}

static void on_confirmed(struct engine *e)
{
    assert_true(e->lease.joined);
    confirmed++;
}

static void on_died(struct engine *e)
{
    assert_false(lease_holds(&e->lease, e->loop->now_ns));
    memcpy(id_when_dead, e->server_id, sizeof id_when_dead);
    died++;
}

static void on_revived(struct engine *e)
{
    assert_true(lease_holds(&e->lease, e->loop->now_ns));
    revived++;
}

static void begin(void)
{
    world_init(&w);
    confirmed = died = revived = 0;
    w.engine.lease.confirmed = on_confirmed;
    w.engine.lease.died = on_died;
    w.engine.lease.revived = on_revived;
}

static enum err join(void)
{
    memset(&step, 0, sizeof step);
    step.done = step_done;
    stepped = false;
    lease_join(&w.engine.lease, &step);
    assert_false(stepped);
    world_run_until(&w, &stepped);
    return step.err;
}

static enum err leave(void)
{
    memset(&step, 0, sizeof step);
    step.done = step_done;
    stepped = false;
    lease_leave(&w.engine.lease, &step);
    assert_false(stepped);
    world_run_until(&w, &stepped);
    return step.err;
}

static void end(void)
{
    leave();
    world_finish(&w);
}

static bool holds(void)
{
    return lease_holds(&w.engine.lease, w.loop.now_ns);
}

static void server_key(struct key *key)
{
    key_server(key, w.engine.server_id);
}

static bool beat_there(struct heartbeat *beat)
{
    struct key key;
    struct buf *b = NULL;
    server_key(&key);
    bool there = world_get(&w, key.text, &b, NULL) == ERR_OK;
    if (there)
        assert_int_equal(heartbeat_parse(b->data, b->bytes, beat, NULL), ERR_OK);
    buf_unref(b);
    return there;
}

/* When what is there was stored. */
static uint64_t stored_ns(void)
{
    struct key key;
    server_key(&key);
    return (uint64_t)(world_modified_ms(&w, key.text) - world_wall_ms(&w.loop)) * NS_PER_MS + w.loop.now_ns;
}

static void it_beats_every_third_of_the_lease_time_with_one_request(void **state)
{
    (void)state;
    struct heartbeat beat;
    begin();
    assert_false(holds());
    assert_int_equal(join(), ERR_OK);
    assert_true(holds());
    assert_true(beat_there(&beat));
    assert_int_equal(beat.serial, 1);
    assert_int_equal(beat.process.pid, 17);
    assert_int_equal(beat.lease_ttl_ms, 30000);
    assert_string_equal(beat.addresses, "127.0.0.1:10809");
    world_run_for(&w, 100 * BEAT + NS_PER_S);
    assert_true(holds());
    assert_int_equal(w.requests[OBJSTORE_PUT], 101);
    assert_int_equal(w.requests[OBJSTORE_GET], 0);
    assert_int_equal(confirmed, 100);
    assert_true(beat_there(&beat));
    assert_int_equal(beat.serial, 101);
    assert_int_equal(leave(), ERR_OK);
    assert_false(holds());
    assert_false(beat_there(&beat));
    assert_int_equal(leave(), ERR_OK); /* not joined any more: done at once */
    world_finish(&w);
}

static void it_counts_from_sending(void **state)
{
    (void)state;
    begin();
    w.slow_ns = 4 * NS_PER_S;
    world_fault(&w, OBJSTORE_PUT, FAULT_SLOW, 1);
    uint64_t sent_ns = w.loop.now_ns;
    assert_int_equal(join(), ERR_OK);
    assert_int_equal(w.loop.now_ns, sent_ns + 4 * NS_PER_S);
    assert_int_equal(w.engine.lease.confirmed_ns, sent_ns);
    assert_true(lease_holds(&w.engine.lease, sent_ns + TTL - 1));
    assert_false(lease_holds(&w.engine.lease, sent_ns + TTL));
    end();
}

static void an_outage_ends_the_lease_until_it_is_over(void **state)
{
    (void)state;
    begin();
    assert_int_equal(join(), ERR_OK);
    uint64_t joined_ns = w.loop.now_ns;
    w.always[OBJSTORE_PUT] = w.always[OBJSTORE_GET] = FAULT_UNAVAILABLE;
    world_run_for(&w, TTL - NS_PER_MS);
    assert_true(holds());
    world_run_for(&w, 10 * TTL);
    assert_false(holds());
    assert_int_equal(w.engine.lease.confirmed_ns, joined_ns);
    assert_int_equal(confirmed, 0);
    w.always[OBJSTORE_PUT] = w.always[OBJSTORE_GET] = FAULT_NONE;
    world_run_for(&w, 2 * NS_PER_S);
    assert_true(holds());
    assert_int_equal(confirmed, 1);
    assert_int_equal(died, 0);
    end();
}

/* What the store did with a beat whose answer was lost is found out, and no beat is counted that was not
 * stored. */
static void lost_answers_are_read_back(void **state)
{
    (void)state;
    static const enum fault kinds[] = {
        FAULT_NONE,        FAULT_LOST_APPLIED, FAULT_LOST,  FAULT_LATE, FAULT_CONFLICT_APPLIED,
        FAULT_UNAVAILABLE, FAULT_NOSPACE,      FAULT_DENIED};
    const size_t n = COUNT_OF(kinds);
    for (size_t i = 0; i < 2 * n * n * n; i++) {
        struct heartbeat beat;
        const enum fault first = kinds[i / 2 % n], second = kinds[i / 2 / n % n],
                         third = kinds[i / 2 / n / n];
        bool no_space = first == FAULT_NOSPACE || second == FAULT_NOSPACE || third == FAULT_NOSPACE;
        begin();
        w.late_ns = i % 2 ? 20 * NS_PER_MS : 15 * NS_PER_S;
        assert_int_equal(join(), ERR_OK);
        world_fault(&w, OBJSTORE_PUT, first, 1);
        world_fault(&w, OBJSTORE_PUT, second, 1);
        world_fault(&w, OBJSTORE_PUT, third, 1);
        for (int t = 0; t < 60; t++) {
            world_run_for(&w, NS_PER_S);
            if (!no_space)
                assert_true(w.engine.lease.confirmed_ns <=
                            stored_ns() + NS_PER_MS); /* it says milliseconds */
        }
        assert_true(holds());
        assert_int_equal(died, 0);
        assert_true(beat_there(&beat));
        assert_in_range(beat.serial, 4, 7);
        end();
    }
}

/* Found by reading back, it may be the one that was sent first: it counts from there. */
static void what_is_read_back_counts_from_the_first_sending(void **state)
{
    (void)state;
    begin();
    assert_int_equal(join(), ERR_OK);
    uint64_t due_ns = w.loop.now_ns + BEAT;
    world_fault(&w, OBJSTORE_PUT, FAULT_LATE, 1);
    world_fault(&w, OBJSTORE_PUT, FAULT_LOST, 3);
    w.late_ns = 1500 * NS_PER_MS;
    world_run_for(&w, BEAT + 4 * NS_PER_S);
    assert_int_equal(w.engine.lease.confirmed_ns, due_ns);
    assert_int_equal(confirmed, 1);
    end();
}

static void without_space_the_former_beat_counts(void **state)
{
    (void)state;
    struct heartbeat beat;
    begin();
    assert_int_equal(join(), ERR_OK);
    w.always[OBJSTORE_PUT] = FAULT_NOSPACE;
    world_run_for(&w, 100 * BEAT);
    assert_true(holds());
    assert_in_range(confirmed, 99, 101);
    assert_true(beat_there(&beat));
    assert_int_equal(beat.serial, 1);
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    world_run_for(&w, BEAT + NS_PER_S);
    assert_true(beat_there(&beat));
    assert_int_equal(beat.serial, 2);
    assert_int_equal(died, 0);

    struct key key; /* but not when it is gone: then it was declared dead meanwhile */
    server_key(&key);
    w.always[OBJSTORE_PUT] = FAULT_NOSPACE;
    world_delete(&w, key.text);
    world_run_for(&w, 2 * BEAT);
    assert_int_equal(died, 1);
    assert_false(holds());
    w.always[OBJSTORE_PUT] = FAULT_NONE;
    world_run_for(&w, 2 * BEAT);
    assert_int_equal(revived, 1);
    end();
}

static void declared_dead_it_takes_a_new_id(void **state)
{
    (void)state;
    for (int how = 0; how < 3; how++) {
        struct heartbeat beat;
        struct key key;
        char former[ID_HEX];
        begin();
        assert_int_equal(join(), ERR_OK);
        memcpy(former, w.engine.server_id, sizeof former);
        server_key(&key);
        assert_true(beat_there(&beat));
        memset(beat.nonce, 'b', ID_HEX - 1);
        struct buf *foreign = heartbeat_encode(&beat);
        if (how == 0)
            world_delete(&w, key.text);
        else if (how == 1)
            world_put(&w, key.text, foreign->data, foreign->bytes);
        else
            world_put(&w, key.text, "x", 1);
        world_fault(&w, OBJSTORE_PUT, how ? FAULT_LOST : FAULT_NONE, 1);
        world_run_for(&w, BEAT + 5 * NS_PER_S);
        assert_int_equal(died, 1);
        assert_string_equal(id_when_dead, former);
        assert_int_equal(revived, 1);
        assert_string_not_equal(w.engine.server_id, former);
        assert_int_equal(strlen(w.engine.server_id), ID_HEX - 1);
        assert_true(holds());
        assert_true(beat_there(&beat));
        assert_int_equal(beat.serial, 1);
        if (how == 1) { /* the verdict is left as it was */
            struct buf *there = NULL;
            assert_int_equal(world_get(&w, key.text, &there, NULL), ERR_OK);
            assert_memory_equal(there->data, foreign->data, foreign->bytes);
            buf_unref(there);
        }
        buf_unref(foreign);
        world_run_for(&w, 5 * BEAT);
        assert_true(holds());
        assert_int_equal(died, 1);
        end();
    }
}

static void joining_survives_lost_answers_and_ends_with_the_patience(void **state)
{
    (void)state;
    static const enum fault kinds[] = {FAULT_LOST_APPLIED, FAULT_LOST, FAULT_LATE, FAULT_UNAVAILABLE,
                                       FAULT_NOSPACE};
    static const enum err ends[] = {0, 0, 0, ERR_UNAVAILABLE, ERR_NOSPACE};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct heartbeat beat;
        begin();
        world_fault(&w, OBJSTORE_PUT, kinds[i], 3);
        w.late_ns = NS_PER_S;
        assert_int_equal(join(), ERR_OK);
        assert_true(beat_there(&beat));
        world_run_for(&w, 10 * BEAT);
        assert_true(holds());
        end();
        if (!ends[i])
            continue;
        begin();
        w.engine.config.patience_ns = 7 * NS_PER_S;
        w.always[OBJSTORE_PUT] = kinds[i];
        uint64_t began_ns = w.loop.now_ns;
        assert_int_equal(join(), ends[i]);
        assert_true(step.complaint.text[0]);
        assert_in_range(w.loop.now_ns - began_ns, 6 * NS_PER_S, 9 * NS_PER_S);
        assert_false(holds());
        world_finish(&w);
    }
}

static void leaving_waits_for_no_answer_but_its_own(void **state)
{
    (void)state;
    struct heartbeat beat;
    begin();
    assert_int_equal(join(), ERR_OK);
    w.always[OBJSTORE_PUT] = FAULT_STUCK;
    world_run_for(&w, BEAT + NS_PER_S);
    assert_int_equal(leave(), ERR_OK);
    assert_int_equal(w.canceled, 1);
    assert_false(beat_there(&beat));
    world_finish(&w);

    begin();
    assert_int_equal(join(), ERR_OK);
    w.always[OBJSTORE_DELETE] = FAULT_UNAVAILABLE;
    assert_int_equal(leave(), ERR_UNAVAILABLE);
    world_finish(&w);
}

RUN_TESTS(cmocka_unit_test(it_beats_every_third_of_the_lease_time_with_one_request),
          cmocka_unit_test(it_counts_from_sending),
          cmocka_unit_test(an_outage_ends_the_lease_until_it_is_over),
          cmocka_unit_test(lost_answers_are_read_back),
          cmocka_unit_test(what_is_read_back_counts_from_the_first_sending),
          cmocka_unit_test(without_space_the_former_beat_counts),
          cmocka_unit_test(declared_dead_it_takes_a_new_id),
          cmocka_unit_test(joining_survives_lost_answers_and_ends_with_the_patience),
          cmocka_unit_test(leaving_waits_for_no_answer_but_its_own))
