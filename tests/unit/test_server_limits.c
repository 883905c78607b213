#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server_kit.h"

static uint8_t payload[BUFFER];

static void a_client_that_never_reads_is_bounded(void **state)
{
    (void)state;
    struct server_stats s;
    config.reply_bytes_max = 4 * MIB;
    start();
    int deaf = attach("disk"), other = attach("disk");
    requests(deaf, 1000, NBD_CMD_READ, 1 << 20);
    for (int slow = 0; slow < 2; slow++) { /* from memory, and submitted */
        ram_faults(engine)->slow_reads = slow;
        request(other, NBD_CMD_READ, 3, 0, 1000);
        listen_to(other, NBD_SIMPLE_REPLY_BYTES + 1000);
        server_stats(server, &s);
        assert_true(s.reply_bytes < 4 * MIB + (1 << 20));
    }
    close(deaf);
    close(other);
}

static void submitted_reads_are_bounded(void **state)
{
    (void)state;
    struct server_stats s;
    ram_faults(engine)->hold = true;
    start();
    int deaf = attach("disk");
    requests(deaf, 100, NBD_CMD_READ, 1 << 20);
    run_until(after_a_while);
    server_stats(server, &s);
    assert_int_equal(s.reply_bytes, SERVER_REPLY_MAX);
    requests(deaf, 1000, NBD_CMD_FLUSH, 0);
    close(deaf);
    run_until(after_a_while);
    ram_faults(engine)->hold = false;
    ram_release(engine);
    run_until(no_connection);
}

static void requests_under_way_are_bounded(void **state)
{
    (void)state;
    struct server_stats s;
    ram_faults(engine)->hold = true;
    start();
    int fd = attach("disk");
    requests(fd, 1000, NBD_CMD_FLUSH, 0);
    run_until(after_a_while);
    server_stats(server, &s);
    assert_int_equal(s.requests, SERVER_REQUESTS_MAX);
    ram_faults(engine)->hold = false;
    ram_release(engine);
    listen_to(fd, 1000 * NBD_SIMPLE_REPLY_BYTES);
    close(fd);
}

static void payloads_wait_for_admission(void **state)
{
    (void)state;
    start();
    int a = attach("disk"), b = attach("disk"), c = attach("other");
    request(a, NBD_CMD_WRITE, 1, 0, BUFFER); /* takes all there is, and does not send it */
    request(b, NBD_CMD_FLUSH, 2, 0, 0);
    request(b, NBD_CMD_WRITE, 3, 0, 1000);
    tell(b, payload, 1000);
    replied(b, 2, 0); /* what came before is answered */
    request(c, NBD_CMD_READ, 4, 0, 1);
    listen_to(c, NBD_SIMPLE_REPLY_BYTES + 1); /* others go on */
    assert_int_equal(ram_payload_bytes(engine), BUFFER);
    close(c);
    c = attach("other");
    request(c, NBD_CMD_WRITE, 5, 0, 1000);
    close(c); /* waiting */
    close(a); /* in the middle of it */
    replied(b, 3, 0);
    close(b);
    run_until(no_connection);
    assert_int_equal(ram_payload_bytes(engine), 0);
}

static void silence_has_its_limits(void **state)
{
    (void)state;
    config.handshake_ns = 50 * NS_PER_MS;
    config.payload_idle_ns = 50 * NS_PER_MS;
    start();
    int mute = dial(), half = attach("disk"), idle = attach("disk"), short_of = attach("disk");
    request(half, NBD_CMD_WRITE, 1, 0, 1000);
    tell(short_of, "\x25\x60", 2);
    gone(mute);
    gone(half);
    gone(short_of);
    request(idle, NBD_CMD_FLUSH, 1, 0, 0);
    replied(idle, 1, 0);
    close(idle);
}

static void too_many_connections(void **state)
{
    (void)state;
    config.connections_max = 2;
    start();
    int a = attach("disk"), b = attach("disk");
    gone(dial());
    close(a);
    run_until(after_a_while);
    a = attach("disk");
    close(a);
    close(b);
}

static size_t expected;

static bool so_many_connections(void)
{
    struct server_stats s;
    server_stats(server, &s);
    return s.connections == expected;
}

static void who_leaves_while_waiting_is_noticed(void **state)
{
    (void)state;
    start();
    int a = attach("disk"), b = attach("disk"), c = attach("disk"), d = attach("disk");
    request(a, NBD_CMD_WRITE, 1, 0, BUFFER); /* takes all there is */
    request(b, NBD_CMD_WRITE, 2, 0, 1000);
    request(c, NBD_CMD_WRITE, 3, 0, 1000);
    tell(c, payload, 999);
    request(d, NBD_CMD_WRITE, 4, 0, 1000);
    tell(d, payload, 1000);
    run_until(after_a_while);
    close(b);
    shutdown(c, SHUT_WR); /* in the middle of its payload */
    shutdown(d, SHUT_WR); /* after it: this one still waits for its answer */
    expected = 2;
    run_until(so_many_connections);
    run_until(after_a_while);
    assert_true(so_many_connections());
    close(a);
    replied(d, 4, 0);
    close(c);
    close(d);
    run_until(no_connection);
}

static void who_leaves_with_requests_unanswered_is_noticed(void **state)
{
    (void)state;
    ram_faults(engine)->hold = true;
    start();
    int fd = attach("disk");
    requests(fd, 1000, NBD_CMD_FLUSH, 0);
    run_until(after_a_while);
    close(fd);
    expected = 1; /* until what is under way is answered */
    run_until(so_many_connections);
    ram_faults(engine)->hold = false;
    ram_release(engine);
    run_until(no_connection);
}

static void a_payload_that_stalls_gives_way(void **state)
{
    (void)state;
    config.stall_ns = 50 * NS_PER_MS;
    start();
    int a = attach("disk"), b = attach("disk");
    request(a, NBD_CMD_WRITE, 1, 0, BUFFER);
    tell(a, payload, 1000);
    run_until(after_a_while);
    run_until(after_a_while);
    run_until(after_a_while); /* nobody waits for it, so it may take its time */
    request(b, NBD_CMD_WRITE, 2, 0, 1000);
    tell(b, payload, 1000);
    gone(a);
    replied(b, 2, 0);
    close(b);
}

static void replies_that_nobody_fetches_give_way(void **state)
{
    (void)state;
    config.stall_ns = 20 * NS_PER_MS;
    config.reply_bytes_max = 2 * MIB;
    start();
    int deaf = attach("disk"), other = attach("disk");
    requests(deaf, 8, NBD_CMD_READ, MIB);
    for (int i = 0; i < 3; i++)
        run_until(after_a_while);
    request(other, NBD_CMD_READ, 1, 0, 1000); /* a small one does not wait */
    listen_to(other, NBD_SIMPLE_REPLY_BYTES + 1000);
    expected = 2;
    assert_true(so_many_connections());
    request(other, NBD_CMD_READ, 2, 0, MIB);
    expected = 1;
    run_until(so_many_connections);
    listen_to(other, sizeof heard);
    close(deaf);
    close(other);
}

enum { CROWD = 200 };

static void small_replies_of_many_are_bounded(void **state)
{
    (void)state;
    struct server_stats s;
    int crowd[CROWD];
    config.reply_bytes_max = 2 * MIB;
    config.stall_ns = 3600 * NS_PER_S;
    ram_faults(engine)->hold = true;
    start();
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = attach("disk");
        requests(crowd[i], 5, NBD_CMD_READ, 12000);
    }
    run_until(after_a_while);
    server_stats(server, &s);
    assert_true(s.reply_bytes > 8 * MIB - 12000);
    assert_true(s.reply_bytes <= 8 * MIB);
    ram_faults(engine)->hold = false;
    ram_release(engine);
    for (size_t i = 0; i < CROWD; i++) {
        listen_to(crowd[i], 5 * (NBD_SIMPLE_REPLY_BYTES + 12000)); /* everybody's turn comes */
        close(crowd[i]);
    }
}

static void requests_of_many_are_bounded(void **state)
{
    (void)state;
    struct server_stats s;
    int crowd[CROWD];
    ram_faults(engine)->hold = true;
    start();
    for (size_t i = 0; i < CROWD; i++) {
        crowd[i] = attach("disk");
        requests(crowd[i], 200, NBD_CMD_FLUSH, 0);
    }
    run_until(after_a_while);
    server_stats(server, &s);
    assert_true(s.requests >= 8192);
    assert_true(s.requests <= 8192 + CROWD * 4);
    ram_faults(engine)->hold = false;
    ram_release(engine);
    for (size_t i = 0; i < CROWD; i++) {
        listen_to(crowd[i], 200 * NBD_SIMPLE_REPLY_BYTES);
        close(crowd[i]);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(a_client_that_never_reads_is_bounded), T(submitted_reads_are_bounded),
          T(requests_under_way_are_bounded), T(payloads_wait_for_admission), T(silence_has_its_limits),
          T(too_many_connections), T(who_leaves_while_waiting_is_noticed),
          T(who_leaves_with_requests_unanswered_is_noticed), T(a_payload_that_stalls_gives_way),
          T(replies_that_nobody_fetches_give_way), T(small_replies_of_many_are_bounded),
          T(requests_of_many_are_bounded))
