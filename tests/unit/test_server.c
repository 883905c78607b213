#include "server/server.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "loop/uv_loop.h"
#include "nbd/proto.h"
#include "ram_volume.h"
#include "unit.h"

#define BUFFER MIB

static struct loop *loop;
static struct engine *engine;
static struct server *server;
static struct server_config config;
static struct export_params params;
static char folder[] = "/tmp/ashlar-server-XXXXXX", path[64], where[80];
static bool stopped, clean;

/* ------------------------------------------------- running until something is so */

static bool (*condition)(void);
static struct timer tick;
static int ticks_left;

static void check_condition(struct timer *t)
{
    if (condition() || --ticks_left == 0)
        uv_loop_stop(loop);
    else
        timer_start(loop, t, NS_PER_MS);
}

static void run_until(bool (*so)(void))
{
    condition = so;
    ticks_left = 20000;
    tick.fire = check_condition;
    timer_start(loop, &tick, 0);
    uv_loop_run(loop);
    timer_stop(&tick);
    assert_true(so());
}

static bool after_a_while(void)
{
    return ticks_left < 20000 - 30;
}

/* -------------------------------------------------------------------- server */

static void quiet(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
}

static void start(void)
{
    struct complaint why;
    const char *listen[] = {where};
    config.engine = engine;
    config.listen = listen;
    config.listen_count = 1;
    server = server_create(loop, &config, &why);
    assert_non_null(server);
    server_start(server);
}

static int setup(void **state)
{
    (void)state;
    log_set_sink(quiet, NULL);
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/socket", folder);
    snprintf(where, sizeof where, "unix:%s", path);
    loop = uv_loop_create();
    engine = ram_engine_create(loop, BUFFER);
    server_config_defaults(&config);
    params = (struct export_params){.size = GIB};
    assert_int_equal(export_params_check(&params, NULL), ERR_OK);
    config.auto_create = &params;
    return 0;
}

static void is_stopped(void *ctx, bool how)
{
    (void)ctx;
    stopped = true;
    clean = how;
}

static bool over(void)
{
    return stopped;
}

static void stop(void)
{
    stopped = false;
    server_stop(server, is_stopped, NULL);
    run_until(over);
    assert_true(clean);
    assert_int_equal(ram_open_volumes(engine), 0);
    assert_int_equal(ram_payload_bytes(engine), 0);
    server_destroy(server);
    server = NULL;
}

static int teardown(void **state)
{
    (void)state;
    if (server)
        stop();
    unlink(path);
    assert_int_equal(rmdir(folder), 0);
    ram_engine_destroy(engine);
    uv_loop_destroy(loop);
    log_set_sink(NULL, NULL);
    return 0;
}

/* -------------------------------------------------------------------- client */

static int client_fd;
static uint8_t heard[64 << 10];
static size_t heard_bytes, wanted_bytes;
static bool closed;

static void hear(void)
{
    ssize_t n;
    while (heard_bytes < sizeof heard &&
           (n = recv(client_fd, heard + heard_bytes, sizeof heard - heard_bytes, MSG_DONTWAIT)) > 0)
        heard_bytes += (size_t)n;
    closed = heard_bytes < sizeof heard && recv(client_fd, heard, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

static bool heard_enough(void)
{
    hear();
    return heard_bytes >= wanted_bytes;
}

static bool is_closed(void)
{
    hear();
    return closed;
}

static int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(a.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void tell(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

/* From now on `fd` is heard; waits for so many bytes. */
static void listen_to(int fd, size_t bytes)
{
    client_fd = fd;
    heard_bytes = 0;
    wanted_bytes = bytes;
    run_until(heard_enough);
    assert_int_equal(heard_bytes, bytes);
}

static void tell_option(int fd, uint32_t option, const char *data)
{
    uint8_t head[20] = {0, 0, 0, 3};
    put_be64(head + 4, NBD_IHAVEOPT);
    put_be32(head + 12, option);
    put_be32(head + 16, (uint32_t)strlen(data));
    tell(fd, head, sizeof head);
    tell(fd, data, strlen(data));
}

static int attach(const char *name)
{
    int fd = dial();
    tell_option(fd, NBD_OPT_EXPORT_NAME, name);
    listen_to(fd, 18 + 10);
    assert_int_equal(get_be64(heard + 18), GIB);
    return fd;
}

static void request(int fd, uint16_t cmd, uint64_t cookie, uint64_t offset, uint32_t length)
{
    uint8_t head[NBD_REQUEST_BYTES] = {0};
    put_be32(head, NBD_REQUEST_MAGIC);
    put_be16(head + 6, cmd);
    put_be64(head + 8, cookie);
    put_be64(head + 16, offset);
    put_be32(head + 24, length);
    tell(fd, head, sizeof head);
}

/* In one go, with cookies from 0 on. */
static void requests(int fd, size_t count, uint16_t cmd, uint32_t length)
{
    static uint8_t heads[1000][NBD_REQUEST_BYTES];
    memset(heads, 0, sizeof heads);
    for (size_t i = 0; i < count; i++) {
        put_be32(heads[i], NBD_REQUEST_MAGIC);
        put_be16(heads[i] + 6, cmd);
        put_be64(heads[i] + 8, i);
        put_be32(heads[i] + 24, length);
    }
    tell(fd, heads, count * NBD_REQUEST_BYTES);
}

static void replied(int fd, uint64_t cookie, uint32_t error)
{
    listen_to(fd, NBD_SIMPLE_REPLY_BYTES);
    assert_int_equal(get_be32(heard + 4), error);
    assert_int_equal(get_be64(heard + 8), cookie);
}

static void gone(int fd)
{
    client_fd = fd;
    run_until(is_closed);
    close(fd);
}

static bool no_connection(void)
{
    struct server_stats s;
    server_stats(server, &s);
    return s.connections == 0 && s.exports_open == 0;
}

static bool export_opened(void)
{
    return ram_open_volumes(engine) > 0;
}

/* --------------------------------------------------------------------- tests */

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

static uint8_t payload[BUFFER];

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
          T(a_client_that_never_reads_is_bounded), T(submitted_reads_are_bounded),
          T(requests_under_way_are_bounded), T(payloads_wait_for_admission), T(a_full_store_refuses_payloads),
          T(damage_is_an_error_of_its_blocks), T(a_lost_export_ends_its_connections),
          T(stopping_answers_what_is_under_way), T(abandoning_waits_for_nothing), T(silence_has_its_limits),
          T(too_many_connections), T(refusals_of_go), T(one_of_two_who_wait_leaves),
          T(sockets_of_the_dead_are_replaced), T(addresses), T(inherited_sockets))
