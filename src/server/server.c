#include "server/server.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/private.h"

void server_config_defaults(struct server_config *config)
{
    *config = (struct server_config){
        .connections_max = 1024,
        .handshake_ns = 10 * NS_PER_S,
        .payload_idle_ns = 60 * NS_PER_S,
        .reply_bytes_max = 32 * MIB,
        .stall_ns = 5 * NS_PER_S,
    };
}

static void emptied(struct exports *x)
{
    server_check_stopped(CONTAINER_OF(x, struct server, exports));
}

static void bases_emptied(struct bases *b)
{
    server_check_stopped(CONTAINER_OF(b, struct server, bases));
}

static void copy_config(struct server *s, const struct server_config *config)
{
    s->config = *config;
    s->config.listen = NULL;
    s->config.inherited = NULL;
    s->config.control = NULL;
    if (config->auto_create) {
        s->auto_create = *config->auto_create;
        s->config.auto_create = &s->auto_create;
    }
    if (config->default_export)
        s->config.default_export = s->default_export = mem_strdup(config->default_export);
}

struct server *server_create(struct loop *l, const struct server_config *config, struct complaint *why)
{
    struct server *s = MEM_NEW(struct server);
    enum err err = ERR_OK;
    s->loop = l;
    s->stopped_task.run = server_stopped_task;
    copy_config(s, config);
    list_init(&s->connections);
    list_init(&s->spare_requests);
    list_init(&s->reply_waiters);
    s->reply_task.run = server_replies_fit;
    s->look_timer.fire = server_look;
    exports_init(&s->exports, l, config->engine, s->config.auto_create, emptied);
    bases_init(&s->bases, config->engine, bases_emptied);
    for (size_t i = 0; i < config->inherited_count && !err; i++)
        err = listener_inherit(s, config->inherited[i], why);
    for (size_t i = 0; i < config->listen_count && !err; i++)
        err = listener_open(s, config->listen[i], why);
    struct complaint no_control;
    if (!err && config->control && control_open(s, config->control, &s->control, &no_control))
        log_warn("control", "%s: commands on exports that are open will be refused", no_control.text);
    if (!err)
        return s;
    server_destroy(s);
    return NULL;
}

void server_start(struct server *s)
{
    s->started = true;
    listeners_start(s);
    if (s->control)
        control_start(s->control);
    for (size_t i = 0; i < s->listener_count; i++)
        log_info("server", "listening on %s", s->listeners[i]->address);
}

size_t server_address_count(const struct server *s)
{
    return s->listener_count;
}

const char *server_address(const struct server *s, size_t i)
{
    assert(i < s->listener_count);
    return s->listeners[i]->address;
}

void server_destroy(struct server *s)
{
    assert(s->connection_count == 0 && s->exports.count == 0 && list_empty(&s->bases.all));
    struct link *k;
    listeners_close(s);
    control_destroy(s->control);
    for (size_t i = 0; i < s->listener_count; i++) {
        mem_free(s->listeners[i]->address);
        mem_free(s->listeners[i]->unix_path);
        mem_free(s->listeners[i]);
    }
    mem_free(s->listeners);
    while ((k = list_pop(&s->spare_requests)))
        mem_free(CONTAINER_OF(k, struct request, link));
    nbd_pool_finish(&s->nbd_pool);
    task_cancel(&s->stopped_task);
    task_cancel(&s->reply_task);
    timer_stop(&s->look_timer);
    mem_free(s->default_export);
    mem_free(s);
}

void server_stats(const struct server *s, struct server_stats *stats)
{
    *stats = s->stats;
    stats->connections = s->connection_count;
    stats->exports_open = s->exports.count;
    stats->reply_bytes = s->reply_bytes;
    LIST_EACH(&s->connections, k)
    {
        const struct connection *c = CONTAINER_OF(k, struct connection, link);
        if (c->fd < 0)
            continue;
        stats->requests += c->requests;
        stats->received_bytes += c->received_bytes;
        stats->sent_bytes += c->sent_bytes;
    }
}
