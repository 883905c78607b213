/* nbd_ram - the server on exports in memory.
 *
 *      nbd_ram [--size SIZE] [--block-size SIZE] [--buffer SIZE] [--default NAME] [--connections N]
 * [--read-only]
 *              [--fixed] [--corrupt-below SIZE] [--full] [--slow-reads] LISTEN...
 *
 * Any export exists on first use, with --fixed only "demo" does; "held" is held by another server. Prints its
 * addresses, one a line. SIGUSR1: every export is taken by another server. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "loop/uv_loop.h"
#include "ram_volume.h"
#include "server/server.h"

static struct loop *loop;
static struct engine *engine;
static struct server *server;
static bool signalled;

static void stopped(void *ctx, bool clean)
{
    (void)ctx;
    if (!clean)
        _Exit(1);
    server_destroy(server);
    server = NULL;
    uv_loop_stop(loop);
}

static void caught(struct signal_watch *w, int signum)
{
    (void)w;
    if (signum == SIGUSR1) {
        ram_fence(engine, "demo");
        return;
    }
    if (signalled && server)
        server_abandon(server);
    else if (server)
        server_stop(server, stopped, NULL);
    signalled = true;
}

static uint64_t size_option(const char *text)
{
    uint64_t bytes;
    if (size_parse(text, &bytes))
        return bytes;
    fprintf(stderr, "nbd_ram: \"%s\" is no size\n", text);
    exit(2);
}

static void created(struct export_op *op)
{
    (void)op;
}

static void make_demo(const struct export_params *params)
{
    static struct export_op op;
    op = (struct export_op){.engine = engine, .name = "demo", .params = params, .done = created};
    export_create(&op);
}

enum { SIZE, BLOCK_SIZE, BUFFER, DEFAULT, CONNECTIONS, READ_ONLY, FIXED, CORRUPT_BELOW, FULL, SLOW_READS };
static const struct option options[] = {
    {"size", required_argument, NULL, SIZE},
    {"block-size", required_argument, NULL, BLOCK_SIZE},
    {"buffer", required_argument, NULL, BUFFER},
    {"default", required_argument, NULL, DEFAULT},
    {"connections", required_argument, NULL, CONNECTIONS},
    {"read-only", no_argument, NULL, READ_ONLY},
    {"fixed", no_argument, NULL, FIXED},
    {"corrupt-below", required_argument, NULL, CORRUPT_BELOW},
    {"full", no_argument, NULL, FULL},
    {"slow-reads", no_argument, NULL, SLOW_READS},
    {0},
};

struct setup {
    struct server_config server;
    struct export_params params;
    struct ram_faults faults;
    size_t buffer;
    bool fixed;
};

static void take_option(struct setup *s, int option)
{
    switch (option) {
    case SIZE:
        s->params.size = size_option(optarg);
        break;
    case BLOCK_SIZE:
        s->params.block_size = (uint32_t)size_option(optarg);
        break;
    case BUFFER:
        s->buffer = size_option(optarg);
        break;
    case DEFAULT:
        s->server.default_export = optarg;
        break;
    case CONNECTIONS:
        s->server.connections_max = size_option(optarg);
        break;
    case READ_ONLY:
        s->server.read_only = true;
        break;
    case FIXED:
        s->fixed = true;
        break;
    case CORRUPT_BELOW:
        s->faults.corrupt_below = size_option(optarg);
        break;
    case FULL:
        s->faults.full = true;
        break;
    case SLOW_READS:
        s->faults.slow_reads = true;
        break;
    default:
        exit(2);
    }
}

static bool serve(struct setup *s)
{
    struct complaint why = {.text = ""};
    if (export_params_check(&s->params, &why)) {
        fprintf(stderr, "nbd_ram: %s\n", why.text);
        return false;
    }
    engine = ram_engine_create(loop, s->buffer);
    *ram_faults(engine) = s->faults;
    make_demo(&s->params);
    s->server.engine = engine;
    s->server.auto_create = s->fixed ? NULL : &s->params;
    server = server_create(loop, &s->server, &why);
    if (!server) {
        fprintf(stderr, "nbd_ram: %s\n", why.text);
        return false;
    }
    server_start(server);
    for (size_t i = 0; i < server_address_count(server); i++)
        printf("%s\n", server_address(server, i));
    fflush(stdout);
    return true;
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    struct signal_watch watches[COUNT_OF(signals)] = {0};
    struct setup s = {.params.size = GIB, .faults.held = "held", .buffer = 64 * MIB};
    server_config_defaults(&s.server);
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) >= 0;)
        take_option(&s, option);
    s.server.listen = (const char *const *)argv + optind;
    s.server.listen_count = (size_t)(argc - optind);
    loop = uv_loop_create();
    if (!serve(&s))
        return 1;
    for (size_t i = 0; i < COUNT_OF(signals); i++) {
        watches[i].caught = caught;
        signal_watch_start(loop, &watches[i], signals[i]);
    }
    uv_loop_run(loop);
    for (size_t i = 0; i < COUNT_OF(signals); i++)
        signal_watch_stop(&watches[i]);
    ram_engine_destroy(engine);
    uv_loop_destroy(loop);
    return 0;
}
