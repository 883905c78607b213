#include "server_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

struct loop *loop;
struct engine *engine;
struct server *server;
struct server_config config;
char path[64], where[80];
bool stopped, clean;
static struct export_params params;
static char folder[] = "/tmp/ashlar-server-XXXXXX";

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

void run_until(bool (*so)(void))
{
    condition = so;
    ticks_left = 20000;
    tick.fire = check_condition;
    timer_start(loop, &tick, 0);
    uv_loop_run(loop);
    timer_stop(&tick);
    assert_true(so());
}

bool after_a_while(void)
{
    return ticks_left < 20000 - 30;
}

/* -------------------------------------------------------------------- server */

static void quiet(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
}

void start(void)
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

int setup(void **state)
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

void is_stopped(void *ctx, bool how)
{
    (void)ctx;
    stopped = true;
    clean = how;
}

bool over(void)
{
    return stopped;
}

void stop(void)
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

int teardown(void **state)
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
uint8_t heard[64 << 10];
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

int dial(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(a.sun_path, path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

void tell(int fd, const void *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n, MSG_NOSIGNAL), n);
}

/* From now on `fd` is heard; waits for so many bytes. */
void listen_to(int fd, size_t bytes)
{
    client_fd = fd;
    heard_bytes = 0;
    wanted_bytes = bytes;
    run_until(heard_enough);
    assert_int_equal(heard_bytes, bytes);
}

void tell_option(int fd, uint32_t option, const char *data)
{
    uint8_t head[20] = {0, 0, 0, 3};
    put_be64(head + 4, NBD_IHAVEOPT);
    put_be32(head + 12, option);
    put_be32(head + 16, (uint32_t)strlen(data));
    tell(fd, head, sizeof head);
    tell(fd, data, strlen(data));
}

int attach(const char *name)
{
    int fd = dial();
    tell_option(fd, NBD_OPT_EXPORT_NAME, name);
    listen_to(fd, 18 + 10);
    assert_int_equal(get_be64(heard + 18), GIB);
    return fd;
}

void request(int fd, uint16_t cmd, uint64_t cookie, uint64_t offset, uint32_t length)
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
void requests(int fd, size_t count, uint16_t cmd, uint32_t length)
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

void replied(int fd, uint64_t cookie, uint32_t error)
{
    listen_to(fd, NBD_SIMPLE_REPLY_BYTES);
    assert_int_equal(get_be32(heard + 4), error);
    assert_int_equal(get_be64(heard + 8), cookie);
}

void gone(int fd)
{
    client_fd = fd;
    run_until(is_closed);
    close(fd);
}

bool no_connection(void)
{
    struct server_stats s;
    server_stats(server, &s);
    return s.connections == 0 && s.exports_open == 0;
}

bool export_opened(void)
{
    return ram_open_volumes(engine) > 0;
}
