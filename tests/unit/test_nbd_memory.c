#include "nbd_script.h"

enum { CROWD = NBD_RECEIVE_KEPT + 40, PAYLOAD = 40000 };

static struct script in;
static struct nbd_pool shared;
static struct peer *crowd;
static uint8_t content[PAYLOAD];

static int setup(void **state)
{
    (void)state;
    crowd = mem_alloc(CROWD * sizeof *crowd);
    for (size_t i = 0; i < CROWD; i++) {
        peer_init(&crowd[i]);
        crowd[i].nbd.pool = &shared;
    }
    for (size_t i = 0; i < PAYLOAD; i++)
        content[i] = (uint8_t)(i * 7 + i / 251);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < CROWD; i++)
        peer_finish(&crowd[i]);
    mem_free(crowd);
    assert_int_equal(shared.kept, 0);
    nbd_pool_finish(&shared);
    script_free(&in);
    return 0;
}

static size_t buffers_held(void)
{
    size_t held = 0;
    for (size_t i = 0; i < CROWD; i++)
        held += crowd[i].nbd.whole;
    return held;
}

static void writes_that_wait_keep_few_buffers(void **state)
{
    (void)state;
    size_t taken[CROWD], handshake;
    say32(&in, 3);
    struct script name = {0};
    say(&name, "demo", 4);
    say_option(&in, NBD_OPT_EXPORT_NAME, &name);
    script_free(&name);
    handshake = in.n;
    say_request(&in, 0, NBD_CMD_WRITE, 1, 0, PAYLOAD);
    say(&in, content, PAYLOAD);
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i].admit_later = true;
        taken[i] = peer_feed(&crowd[i], in.bytes, handshake, SIZE_MAX);
        taken[i] += peer_feed(&crowd[i], in.bytes + handshake, in.n - handshake, SIZE_MAX);
        assert_int_equal(taken[i] + nbd_payload_missing(&crowd[i].nbd), in.n);
    }
    assert_int_equal(buffers_held(), NBD_RECEIVE_KEPT);
    for (size_t i = 0; i < CROWD; i++) {
        peer_admit(&crowd[i], NBD_OK);
        peer_feed(&crowd[i], in.bytes + taken[i], in.n - taken[i], 777);
        assert_int_equal(crowd[i].written_bytes, PAYLOAD);
        assert_memory_equal(crowd[i].written, content, PAYLOAD);
    }
    assert_int_equal(buffers_held(), 0);
}

static void options_keep_their_own_size(void **state)
{
    (void)state;
    static char name[4000];
    memset(name, 'x', sizeof name - 1);
    say32(&in, 3);
    say(&in, "IHAVEOPT", 8);
    say32(&in, NBD_OPT_LIST_META_CONTEXT);
    say32(&in, NBD_OPTION_MAX);
    say(&in, name, sizeof name);
    for (size_t i = 0; i < CROWD; i++)
        assert_int_equal(peer_feed(&crowd[i], in.bytes, in.n, SIZE_MAX), in.n);
    assert_int_equal(buffers_held(), NBD_RECEIVE_KEPT);
    for (size_t i = 0; i < CROWD; i++) {
        for (size_t left = NBD_OPTION_MAX - sizeof name; left; left -= MIN(left, sizeof name))
            assert_int_equal(peer_feed(&crowd[i], name, MIN(left, sizeof name), 1000),
                             MIN(left, sizeof name));
        assert_int_equal(nbd_end(&crowd[i].nbd), NBD_ALIVE);
        assert_null(crowd[i].nbd.receive);
    }
    assert_int_equal(buffers_held(), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(writes_that_wait_keep_few_buffers), T(options_keep_their_own_size))
