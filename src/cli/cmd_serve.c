#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/export_run.h"
#include "cli/serve.h"
#include "cli/serve_gc.h"
#include "server/address.h"

#define DEMO "demo" /* what the lines that attach show when no other name offers itself */

#define AT(field) offsetof(struct serve_options, field)
/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "listen", .value = "ADDRESS", .kind = OPTION_LIST, .at = AT(listen),
     .help = "HOST:PORT, [IPv6]:PORT or unix:PATH; port 0: any free one; repeatable [127.0.0.1:10809]"},
    {.name = "auto-create", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(auto_create),
     .min = 1, .max = INT64_MAX,
     .help = "create an export of that size when a client asks for one that does not exist"},
    {.name = "default-export", .value = "NAME", .kind = OPTION_TEXT, .at = AT(default_export),
     .help = "the export that a client gets who names none"},
    {.name = "read-only", .kind = OPTION_SWITCH, .at = AT(read_only),
     .help = "refuse every change"},
    {.name = "cache-size", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(cache_size),
     .fallback = "256M", .min = 4 * MIB, .max = 16 * TIB,
     .help = "memory for what was read"},
    {.name = "write-buffer", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(write_buffer),
     .fallback = "64M", .min = 4 * MIB, .max = 16 * TIB,
     .help = "memory for what was written and is not stored yet"},
    {.name = "inline-buffer", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(inline_buffer),
     .fallback = "64M", .min = 1 * MIB, .max = 16 * TIB,
     .help = "memory for small writes that are logged and not packed yet"},
    {.name = "flush-interval", .value = "TIME", .kind = OPTION_DURATION, .at = AT(flush_interval),
     .fallback = "5s", .min = 100 * NS_PER_MS, .max = 3600 * NS_PER_S,
     .help = "what was written is stored after that at the latest"},
    {.name = "lease-ttl", .value = "TIME", .kind = OPTION_DURATION, .at = AT(lease_ttl),
     .fallback = "30s", .min = 3 * NS_PER_S, .max = 3600 * NS_PER_S,
     .help = "a server that was silent for so long counts as dead to the others"},
    {.name = "gc-interval", .value = "TIME", .kind = OPTION_DURATION, .at = AT(gc_interval),
     .fallback = "24h", .max = UINT64_C(365) * 24 * 3600 * NS_PER_S,
     .help = "collect garbage when nobody has for so long; 0: never"},
    {.name = "pid-file", .value = "FILE", .kind = OPTION_TEXT, .at = AT(pid_file),
     .help = "holds the process id while the server runs"},
    {.name = "ready-fd", .value = "N", .kind = OPTION_NUMBER, .at = AT(ready_fd),
     .min = 1, .max = 1 << 20,
     .help = "gets one NBD URI a line once clients are served, and is closed then"},
};
/* clang-format on */

struct serve {
    struct serve_options *options;
    struct runtime runtime;
    struct server *server;
    struct serve_gc gc;
    struct export_params auto_create;
    int inherited[SERVE_INHERITED_MAX];
    size_t inherited_count;
    char control[SERVE_CONTROL_MAX];
    bool clean;
};

/* ----------------------------------------------------------------- shutdown */

static void stopped(void *ctx, bool clean)
{
    struct serve *s = ctx;
    s->clean = clean;
    runtime_wake(&s->runtime);
}

static void interrupted(struct runtime *r, int count)
{
    struct serve *s = r->interrupted_ctx;
    if (count == 1) {
        log_info("serve",
                 "stopping: what is under way is finished and stored; a second signal gives that up");
        server_stop(s->server, stopped, s);
    } else if (count == 2)
        server_abandon(s->server);
}

static void log_totals(const struct serve *s)
{
    const struct objstore_counters *c = &s->runtime.store->counters;
    struct engine_stats e;
    struct server_stats v;
    engine_stats(s->runtime.engine, &e);
    server_stats(s->server, &v);
    log_info("serve",
             "totals: connections=%" PRIu64 " requests=%" PRIu64 " received=%" PRIu64 " sent=%" PRIu64
             " store_get=%" PRIu64 " store_put=%" PRIu64 " store_head=%" PRIu64 " store_delete=%" PRIu64
             " store_list=%" PRIu64 " store_in=%" PRIu64 " store_out=%" PRIu64 " retries=%" PRIu64
             " throttled=%" PRIu64 " cache_hits=%" PRIu64 " cache_misses=%" PRIu64 " dedup_hits=%" PRIu64
             " blocks_stored=%" PRIu64,
             v.connections_total, v.requests, v.received_bytes, v.sent_bytes, c->requests[OBJSTORE_GET],
             c->requests[OBJSTORE_PUT], c->requests[OBJSTORE_HEAD], c->requests[OBJSTORE_DELETE],
             c->requests[OBJSTORE_LIST], c->bytes_in, c->bytes_out, c->retries, c->throttled, e.cache_hits,
             e.cache_misses, e.dedup_hits, e.blocks_stored);
}

/* -------------------------------------------------------------------- start */

static int check(struct serve *s)
{
    struct serve_options *o = s->options;
    struct complaint c = {.text = ""};
    if (serve_inherited(s->inherited, &s->inherited_count, &c))
        return fail_with(ERR_INVALID, &c);
    if (o->listen.count == 0 && s->inherited_count == 0)
        o->listen.items[o->listen.count++] = "127.0.0.1:10809";
    for (size_t i = 0; i < o->listen.count; i++) {
        struct address addresses[ADDRESSES_MAX];
        size_t count;
        if (address_parse(o->listen.items[i], addresses, &count, &c))
            return misuse("--listen: %s", c.text);
    }
    if (o->default_export && export_name_check(o->default_export, &c))
        return misuse("--default-export: %s", c.text);
    s->auto_create.size = o->auto_create;
    if (o->auto_create && export_params_check(&s->auto_create, &c))
        return misuse("--auto-create: %s", c.text);
    if (o->ready_fd && fcntl((int)o->ready_fd, F_GETFD) < 0)
        return misuse("--ready-fd is %" PRIu64 ", which is no open descriptor", o->ready_fd);
    if (o->ready_fd)
        fcntl((int)o->ready_fd, F_SETFD, FD_CLOEXEC);
    return STATUS_DONE;
}

static void add_address(char *addresses, size_t room, const char *address)
{
    size_t n = strlen(addresses);
    snprintf(addresses + n, room - n, "%s%s", n ? ", " : "", address);
}

/* Port 0 will be another one when it is bound. */
static bool is_known(const char *address)
{
    size_t n = strlen(address);
    return n < 2 || strcmp(address + n - 2, ":0") != 0;
}

static void configure(const struct serve *s, struct engine_config *e, char *addresses, size_t room)
{
    const struct serve_options *o = s->options;
    addresses[0] = '\0';
    for (size_t i = 0; i < o->listen.count; i++)
        if (is_known(o->listen.items[i]))
            add_address(addresses, room, o->listen.items[i]);
    engine_config_defaults(e);
    e->addresses = addresses;
    e->control = s->control;
    e->cache_bytes = o->cache_size;
    e->write_buffer_bytes = o->write_buffer;
    e->inline_bytes = o->inline_buffer;
    e->flush_interval_ns = o->flush_interval;
    e->lease_ttl_ns = o->lease_ttl;
}

static struct server *make_server(struct serve *s, struct complaint *c)
{
    const struct serve_options *o = s->options;
    struct server_config config;
    server_config_defaults(&config);
    config.engine = s->runtime.engine;
    config.listen = o->listen.items;
    config.listen_count = o->listen.count;
    config.inherited = s->inherited;
    config.inherited_count = s->inherited_count;
    config.auto_create = o->auto_create ? &s->auto_create : NULL;
    config.read_only = o->read_only;
    config.default_export = o->default_export;
    config.control = s->control[0] ? s->control : NULL;
    return server_create(s->runtime.loop, &config, c);
}

/* The export that the printed lines attach: one that a client would find. */
static const char *example_name(struct serve *s)
{
    if (s->options->default_export)
        return s->options->default_export;
    if (s->options->auto_create)
        return DEMO;
    struct export_run e = {.op = {.name = DEMO, .brief = true}};
    bool there = export_run(&s->runtime, export_info, &e) == ERR_OK;
    export_infos_free(e.op.infos);
    return there ? DEMO : SERVE_ANY;
}

/* What tells others that clients are served from now on. */
static int announce(struct serve *s, const char *example)
{
    const struct serve_options *o = s->options;
    if (o->pid_file && !serve_write_pid(o->pid_file))
        return fail("--pid-file %s cannot be written: %s", o->pid_file, strerror(errno));
    serve_print_lines(s->server, example);
    if (o->ready_fd && !serve_tell_ready((int)o->ready_fd, s->server))
        return fail("--ready-fd %" PRIu64 " cannot be written: %s", o->ready_fd, strerror(errno));
    log_info("serve", "serving %s as server %s", objstore_name(s->runtime.store),
             engine_server_id(s->runtime.engine));
    return STATUS_DONE;
}

static int serve(struct serve *s)
{
    struct complaint c = {.text = ""};
    const char *example = example_name(s);
    s->server = make_server(s, &c);
    if (!s->server)
        return fail("%s", c.text);
    s->runtime.interrupted = interrupted;
    s->runtime.interrupted_ctx = s;
    char addresses[512] = "";
    for (size_t i = 0; i < server_address_count(s->server); i++)
        add_address(addresses, sizeof addresses, server_address(s->server, i));
    engine_set_addresses(s->runtime.engine, addresses);
    server_start(s->server);
    serve_gc_start(&s->gc, &s->runtime, s->options->read_only ? 0 : s->options->gc_interval);
    int status = announce(s, example);
    if (status)
        server_stop(s->server, stopped, s);
    runtime_wait(&s->runtime);
    s->runtime.interrupted = NULL;
    if (s->clean)
        serve_gc_stop(&s->gc);
    log_totals(s);
    if (s->options->pid_file)
        unlink(s->options->pid_file);
    if (!s->clean) {
        serve_control_remove(s->control);
        fail("stopped without finishing: what was flushed is safe, what was written since is lost");
        _exit(STATUS_FAILED);
    }
    server_destroy(s->server);
    return status;
}

static int run(const struct invocation *v)
{
    struct serve *s = MEM_NEW(struct serve);
    struct engine_config config;
    char addresses[512];
    s->options = v->options;
    signal(SIGHUP, SIG_IGN);
    int status = check(s);
    if (!status) {
        serve_control_path(s->control);
        configure(s, &config, addresses, sizeof addresses);
        status = runtime_open(&s->runtime, v->store, RUNTIME_WRITE, &config);
    }
    if (!status)
        status = runtime_close(&s->runtime, serve(s));
    serve_control_remove(s->control);
    mem_free(s);
    return status;
}

const struct command serve_command = {
    .name = "serve",
    .summary = "serve the disks to NBD clients",
    .details =
        "Serves every export of the store, also those created while it runs. SIGINT or SIGTERM ends\n"
        "it: what is under way is finished and stored, and every export is closed cleanly; a second\n"
        "one gives that up, as a crash would (exit status 1; what clients flushed is safe). Listening\n"
        "sockets may be handed over by LISTEN_FDS.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct serve_options),
    .log_level = LOG_INFO,
    .run = run,
};
