#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server_kit.h"

static uint8_t payload[50000];

static void an_export_is_shared_and_closed_by_the_last(void **state)
{
    (void)state;
    start();
    int a = attach("disk"), b = attach("disk"), c = attach("other");
    assert_int_equal(ram_open_volumes(engine), 2);
    close(c);
    close(a);
    request(b, NBD_CMD_FLUSH, 7, 0, 0);
    replied(b, 7, 0);
    request(b, NBD_CMD_DISC, 8, 0, 0);
    gone(b);
    a = attach("disk"); /* while it is being closed */
    assert_int_equal(ram_open_volumes(engine), 1);
    close(a);
    run_until(no_connection);
    assert_int_equal(ram_open_volumes(engine), 0);
}

static void a_byte_at_a_time_beside_another(void **state)
{
    (void)state;
    start();
    int slow = attach("disk"), quick = attach("disk");
    uint8_t bytes[NBD_REQUEST_BYTES + 100] = {0x25, 0x60, 0x95, 0x13, 0, 0, 0, NBD_CMD_WRITE};
    put_be32(bytes + 24, 100);
    memset(bytes + NBD_REQUEST_BYTES, 'x', 100);
    for (size_t i = 0; i < sizeof bytes; i++) {
        tell(slow, bytes + i, 1);
        request(quick, NBD_CMD_READ, i, 0, 1);
        listen_to(quick, NBD_SIMPLE_REPLY_BYTES + 1);
    }
    replied(slow, 0, 0);
    request(quick, NBD_CMD_READ, 9, 99, 2);
    listen_to(quick, NBD_SIMPLE_REPLY_BYTES + 2);
    assert_int_equal(heard[16], 'x');
    assert_int_equal(heard[17], 0);
    close(slow);
    close(quick);
}

static void a_full_store_refuses_payloads(void **state)
{
    (void)state;
    start();
    int fd = attach("disk");
    ram_faults(engine)->full = true;
    request(fd, NBD_CMD_WRITE, 1, 0, 50000);
    tell(fd, payload, 50000);
    replied(fd, 1, NBD_ENOSPC);
    request(fd, NBD_CMD_WRITE_ZEROES, 2, 0, 5);
    replied(fd, 2, NBD_ENOSPC);
    ram_faults(engine)->full = false;
    request(fd, NBD_CMD_WRITE, 3, 0, 50000);
    tell(fd, payload, 50000);
    replied(fd, 3, 0);
    close(fd);
}

static void damage_is_an_error_of_its_blocks(void **state)
{
    (void)state;
    start();
    int fd = attach("disk");
    ram_faults(engine)->corrupt_below = 4096;
    request(fd, NBD_CMD_READ, 1, 0, 10);
    replied(fd, 1, NBD_EIO);
    request(fd, NBD_CMD_READ, 2, 4096, 10);
    listen_to(fd, NBD_SIMPLE_REPLY_BYTES + 10);
    close(fd);
}

static void a_lost_export_ends_its_connections(void **state)
{
    (void)state;
    start();
    int fd = attach("disk"), other = attach("other");
    ram_faults(engine)->hold = true;
    request(fd, NBD_CMD_FLUSH, 1, 0, 0);
    run_until(after_a_while);
    ram_fence(engine, "disk");
    request(fd, NBD_CMD_READ, 2, 0, 10);
    replied(fd, 2, NBD_ESHUTDOWN);
    ram_faults(engine)->hold = false;
    ram_release(engine);
    replied(fd, 1, NBD_ESHUTDOWN);
    gone(fd);
    request(other, NBD_CMD_FLUSH, 3, 0, 0);
    replied(other, 3, 0);
    fd = attach("disk"); /* and it can be taken again */
    close(fd);
    close(other);
}

static void stopping_answers_what_is_under_way(void **state)
{
    (void)state;
    start();
    int busy = attach("disk"), idle = attach("disk"), half = attach("disk"), greeted = dial();
    listen_to(greeted, NBD_GREETING_BYTES);
    request(half, NBD_CMD_WRITE, 1, 0, 1000);
    tell(half, payload, 10);
    ram_faults(engine)->hold = true;
    request(busy, NBD_CMD_FLUSH, 2, 0, 0);
    run_until(after_a_while);
    stopped = false;
    server_stop(server, is_stopped, NULL);
    gone(idle);
    gone(half);
    gone(greeted);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_false(stopped);
    ram_faults(engine)->hold = false;
    ram_release(engine);
    replied(busy, 2, 0);
    gone(busy);
    run_until(over);
    assert_true(clean);
    assert_int_equal(ram_open_volumes(engine), 0);
    server_destroy(server);
    server = NULL;
}

static void abandoning_waits_for_nothing(void **state)
{
    (void)state;
    start();
    int fd = attach("disk");
    ram_faults(engine)->hold = true;
    request(fd, NBD_CMD_FLUSH, 2, 0, 0);
    run_until(after_a_while);
    stopped = false;
    server_stop(server, is_stopped, NULL);
    run_until(after_a_while);
    assert_false(stopped);
    server_abandon(server);
    run_until(over);
    assert_false(clean);
    ram_faults(engine)->hold = false; /* only a test may go on after that */
    ram_release(engine);
    replied(fd, 2, 0);
    close(fd);
    run_until(no_connection);
    server_destroy(server);
    server = NULL;
}

static void refusals_of_go(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t rep;
        const char *text;
    } refused[] = {
        {"nothing", NBD_REP_ERR_UNKNOWN, "there is no export \"nothing\""},
        {"a@b", NBD_REP_ERR_UNKNOWN, "\"a@b\" cannot be an export's name"},
        {"", NBD_REP_ERR_UNKNOWN, "there is no default export; name one"},
        {"held", NBD_REP_ERR_POLICY, "export \"held\" is held by quarry, pid 17, 127.0.0.1:10809"},
    };
    ram_faults(engine)->held = "held";
    config.auto_create = NULL;
    start();
    int fd = dial();
    tell(fd, "\0\0\0\3", 4);
    listen_to(fd, NBD_GREETING_BYTES);
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        uint8_t option[64] = {0};
        uint32_t n = (uint32_t)strlen(refused[i].name);
        put_be64(option, NBD_IHAVEOPT);
        put_be32(option + 8, NBD_OPT_GO);
        put_be32(option + 12, 6 + n);
        put_be32(option + 16, n);
        memcpy(option + 20, refused[i].name, n);
        tell(fd, option, 22 + n);
        listen_to(fd, NBD_OPTION_REPLY_BYTES + strlen(refused[i].text));
        assert_int_equal(get_be32(heard + 12), refused[i].rep);
        assert_memory_equal(heard + NBD_OPTION_REPLY_BYTES, refused[i].text, strlen(refused[i].text));
    }
    close(fd);
    assert_false(export_opened());
}

static void one_of_two_who_wait_leaves(void **state)
{
    (void)state;
    start();
    int a = dial(), b = dial(), c = dial();
    tell_option(a, NBD_OPT_EXPORT_NAME, "disk");
    tell_option(b, NBD_OPT_EXPORT_NAME, "disk");
    tell_option(c, NBD_OPT_EXPORT_NAME, "other");
    close(a);
    close(c);
    listen_to(b, 28);
    run_until(export_opened);
    close(b);
    run_until(no_connection);
}

/* ------------------------------------------------------------------ listeners */

static void sockets_of_the_dead_are_replaced(void **state)
{
    (void)state;
    struct complaint why;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&a, sizeof a), 0);
    close(dead);
    start();
    close(attach("disk"));
    const char *listen[] = {where};
    config.listen = listen;
    assert_null(server_create(loop, &config, &why));
    assert_non_null(strstr(why.text, "in use"));
    assert_int_equal(access(path, F_OK), 0);
}

static void addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {"nonsense",  "127.0.0.1:",  "127.0.0.1:70000",
                                      "::1:80",    "[::1:80",     "unix:",
                                      "1.2.3.4:1", "127.0.0.1:x", "unix:/nonexistent/a/b"};
    struct complaint why;
    config.engine = engine;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        config.listen = &bad[i];
        config.listen_count = 1;
        why.text[0] = '\0';
        assert_null(server_create(loop, &config, &why));
        assert_true(strlen(why.text) > 10);
    }
    const char *good[] = {"127.0.0.1:0", where};
    config.listen = good;
    config.listen_count = 2;
    server = server_create(loop, &config, &why);
    assert_non_null(server);
    assert_int_equal(server_address_count(server), 2);
    assert_memory_equal(server_address(server, 0), "127.0.0.1:", 10);
    assert_string_not_equal(server_address(server, 0), "127.0.0.1:0");
    assert_string_equal(server_address(server, 1), where);
}

static void inherited_sockets(void **state)
{
    (void)state;
    struct complaint why;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fds[] = {socket(AF_UNIX, SOCK_STREAM, 0)};
    strcpy(a.sun_path, path);
    config.engine = engine;
    config.inherited = fds;
    config.inherited_count = 1;
    assert_null(server_create(loop, &config, &why));
    assert_int_equal(bind(fds[0], (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fds[0], 5), 0);
    server = server_create(loop, &config, &why);
    assert_non_null(server);
    server_start(server);
    close(attach("disk"));
    stop();
    assert_int_equal(access(path, F_OK), 0); /* whose it is, removes it */
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(an_export_is_shared_and_closed_by_the_last), T(a_byte_at_a_time_beside_another),
          T(a_full_store_refuses_payloads), T(damage_is_an_error_of_its_blocks),
          T(a_lost_export_ends_its_connections), T(stopping_answers_what_is_under_way),
          T(abandoning_waits_for_nothing), T(refusals_of_go), T(one_of_two_who_wait_leaves),
          T(sockets_of_the_dead_are_replaced), T(addresses), T(inherited_sockets))
