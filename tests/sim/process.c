#include "process.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "bucket.h"
#include "copying.h"
#include "survey.h"

static void *must(void *p)
{
    assert(p);
    return p;
}

void process_config_plain(struct engine_config *c)
{
    engine_config_defaults(c);
    c->addresses = "sim";
    c->cache_bytes = MIB;
    c->write_buffer_bytes = MIB;
    c->inline_bytes = MIB;
    c->dedup_bytes = 256 * KIB;
}

void process_config_random(struct sim *s, struct engine_config *c)
{
    process_config_plain(c);
    c->cache_bytes = (size_t)sim_spread(s, 16 * KIB, MIB);
    c->write_buffer_bytes = (size_t)sim_spread(s, 32 * KIB, MIB);
    c->inline_bytes = (size_t)sim_spread(s, 16 * KIB, MIB);
    c->limits = (struct engine_limits){.record_bytes = (size_t)sim_spread(s, 2 * KIB, 128 * KIB),
                                       .checkpoint_log_bytes = sim_spread(s, 64 * KIB, 4 * MIB),
                                       .checkpoint_log_records = sim_spread(s, 16, 4096),
                                       .segments_max = (size_t)sim_spread(s, 2, 64)};
    c->limits.inline_batch_bytes = c->limits.record_bytes * 2 / 3;
    c->limits.log_bytes_max = c->limits.checkpoint_log_bytes * 2;
    c->limits.log_records_max = c->limits.checkpoint_log_records * 2;
    c->dedup_bytes = (size_t)sim_spread(s, 4 * KIB, 256 * KIB);
    c->flush_interval_ns = sim_spread(s, 50 * NS_PER_MS, 20 * NS_PER_S);
    c->checkpoint_interval_ns = sim_spread(s, 200 * NS_PER_MS, 100 * NS_PER_S);
    c->lease_ttl_ns = sim_spread(s, 3 * NS_PER_S, 30 * NS_PER_S);
}

/* --------------------------------------------------------------------------- death */

static void client_end(struct client *c, enum err err)
{
    c->state = CLIENT_ENDED;
    c->err = err;
    if (c->survey)
        survey_destroy(c);
    if (c->session && !c->session->verified)
        session_destroy(c->session);
    c->session = NULL;
    c->volume = NULL;
    list_remove(&c->link);
    list_push(&c->process->ended, &c->link);
}

static void died(struct server *v)
{
    struct process *d = v->ctx;
    LIST_EACH(&d->clients, k)
    {
        struct client *c = CONTAINER_OF(k, struct client, link);
        if (c->state == CLIENT_OPENING) {
            c->export->opening--;
            c->export->open_died = true;
        }
        client_forget_ops(c);
        client_copy_forget(c);
        c->died = true;
        client_end(c, ERR_CANCELED);
    }
    d->engine = NULL;
    d->state = PROCESS_DOWN;
    d->collecting = d->removing = false;
}

/* --------------------------------------------------------------------- join and leave */

static void joined(struct engine_step *e)
{
    struct process *d = CONTAINER_OF(e, struct process, step);
    if (d->server->doomed)
        return;
    sim_trace(d->server->sim, "s%zu joined: %s", d->server->number, err_text(e->err));
    if (e->err != ERR_OK && e->err != ERR_UNAVAILABLE && e->err != ERR_DENIED && e->err != ERR_NOSPACE)
        sim_fail(d->server->sim, "s%zu cannot join: %s (%s)", d->server->number, err_text(e->err),
                 e->complaint.text);
    d->err = e->err;
    d->state = e->err == ERR_OK ? PROCESS_UP : PROCESS_REFUSED;
}

struct process *process_start(struct sim *s, unsigned machine, unsigned boot,
                              const struct engine_config *config)
{
    struct process *d = must(calloc(1, sizeof *d));
    struct engine_config c = *config;
    list_init(&d->clients);
    list_init(&d->ended);
    d->server = server_start(s, machine, boot);
    d->server->ctx = d;
    d->server->died = died;
    d->step.done = joined;
    c.host = &d->server->host;
    server_enter(d->server);
    d->engine = engine_create(&d->server->loop, &d->server->store, &c);
    d->server->engine = d->engine;
    engine_join(d->engine, &d->step);
    server_leave(d->server);
    return d;
}

static void end_process(struct process *d)
{
    server_enter(d->server);
    engine_destroy(d->engine);
    server_leave(d->server);
    if (!d->server->alive)
        return;
    d->engine = NULL;
    d->state = PROCESS_DOWN;
    server_exit(d->server);
}

static void ended(struct timer *t)
{
    end_process(((struct server *)CONTAINER_OF(t, struct server, exit_timer))->ctx);
}

static void left(struct engine_step *e)
{
    struct process *d = CONTAINER_OF(e, struct process, step);
    if (d->server->doomed)
        return;
    sim_trace(d->server->sim, "s%zu left: %s", d->server->number, err_text(e->err));
    d->server->exit_timer.fire = ended; /* not from inside */
    sim_at(d->server->sim, &d->server->exit_timer, 1);
}

void process_stop(struct process *d)
{
    assert(list_empty(&d->clients));
    if (d->state == PROCESS_REFUSED) {
        end_process(d);
        return;
    }
    assert(d->state == PROCESS_UP);
    d->state = PROCESS_LEAVING;
    d->step.done = left;
    server_enter(d->server);
    engine_leave(d->engine, &d->step);
    server_leave(d->server);
}

void process_destroy(struct process *d)
{
    if (d->server->alive)
        server_crash(d->server);
    struct link *k;
    while ((k = list_pop(&d->ended)))
        free(CONTAINER_OF(k, struct client, link));
    free(d);
}

/* --------------------------------------------------------------------- open and close */

static void lost(struct volume *volume, void *ctx, enum err why)
{
    struct client *c = ctx;
    (void)volume;
    if (c->process->server->doomed)
        return;
    sim_trace(c->export->sim, "s%zu %s is lost: %s", c->process->server->number, c->export->name,
              err_text(why));
    if (c->lost)
        sim_fail(c->export->sim, "%s: lost is called twice", c->export->name);
    if (c->session && !session_may_be_fenced(c->session))
        sim_fail(c->export->sim, "%s: s%zu lost it to nobody (%s)", c->export->name, c->session->server,
                 err_text(why));
    mark_hit("sim.volume_lost");
    c->lost = true;
}

static bool open_may_fail_with(const struct client *c, enum err err)
{
    const struct bucket *b = c->export->sim->bucket;
    switch (err) {
    case ERR_HELD:
    case ERR_CANCELED:
    case ERR_UNAVAILABLE:
    case ERR_DENIED:
        return true;
    case ERR_NOSPACE:
        return b->nospace_seen;
    case ERR_CORRUPT:
        return b->damaged || c->export->trouble;
    default:
        return false;
    }
}

static void opened(struct volume_open *o)
{
    struct client *c = CONTAINER_OF(o, struct client, open);
    struct model_export *e = c->export;
    struct volume_info info;
    if (c->process->server->doomed)
        return;
    sim_trace(e->sim, "s%zu opened %s: %s %s", c->process->server->number, e->name, err_text(o->err),
              o->err == ERR_OK ? "" : o->complaint.text);
    e->opening--;
    if (o->err != ERR_OK) {
        if (!open_may_fail_with(c, o->err))
            sim_fail(e->sim, "%s: s%zu cannot open it: %s (%s)", e->name, c->process->server->number,
                     err_text(o->err), o->complaint.text);
        client_end(c, o->err);
        return;
    }
    c->volume = o->volume;
    c->session = session_create(e, c->process->server->number);
    volume_info(c->volume, &info);
    c->session->epoch = info.epoch;
    c->session->breaks = info.breaks;
    c->session->open_number = c->open_number;
    c->session->rivals = c->rivals || e->opening;
    if (info.size < MAX(e->params.size, e->grown) || info.size > MAX(e->params.size, e->growing) ||
        info.block_size != e->params.block_size)
        sim_fail(e->sim, "%s is not what was created", e->name);
    c->state = CLIENT_READING;
    survey_start(c);
}

struct client *process_open(struct process *d, struct model_export *e)
{
    assert(d->state == PROCESS_UP);
    struct client *c = must(calloc(1, sizeof *c));
    c->process = d;
    c->export = e;
    list_init(&c->ops);
    list_push(&d->clients, &c->link);
    c->rivals = e->opening;
    e->opening++;
    c->open_number = ++e->opens;
    c->open = (struct volume_open){
        .engine = d->engine, .name = e->name, .create = &e->params, .lost = lost, .ctx = c, .done = opened};
    server_enter(d->server);
    volume_open(&c->open);
    server_leave(d->server);
    return c;
}

static void closed(struct volume_close *q)
{
    struct client *c = CONTAINER_OF(q, struct client, close);
    struct session *n = c->session;
    if (c->process->server->doomed)
        return;
    sim_trace(c->export->sim, "s%zu closed %s: %s", c->process->server->number, c->export->name,
              err_text(q->err));
    if (q->err == ERR_OK && n->verified) {
        session_durable(n, n->change_count);
        n->closed = true;
        mark_hit("sim.closed");
    }
    bool may = q->err == ERR_OK || (q->err == ERR_CANCELED && c->abandoned) ||
               (q->err == ERR_FENCED && session_may_be_fenced(n));
    if (!may)
        sim_fail(c->export->sim, "%s: s%zu closes it with \"%s\" for no reason", c->export->name, n->server,
                 err_text(q->err));
    client_end(c, q->err);
}

void client_close(struct client *c)
{
    assert(c->state == CLIENT_OPEN && !c->in_flight);
    struct server *v = c->process->server;
    c->state = CLIENT_CLOSING;
    c->close = (struct volume_close){.volume = c->volume, .done = closed};
    sim_trace(c->export->sim, "s%zu closes %s", v->number, c->export->name);
    server_enter(v);
    volume_close(&c->close);
    server_leave(v);
}

void client_abandon(struct client *c)
{
    struct server *v = c->process->server;
    c->abandoned = true;
    server_enter(v);
    if (c->state == CLIENT_OPENING)
        volume_open_cancel(&c->open);
    else if (c->state == CLIENT_CLOSING)
        volume_close_abandon(&c->close);
    server_leave(v);
}
