#include "run.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "bucket.h"
#include "collecting.h"
#include "copying.h"
#include "coverage.h"
#include "process.h"
#include "seal.h"
#include "workload.h"

#define MACHINES_MAX 3
#define EXPORTS_MAX  3
#define COPIES_MAX   12 /* of one export */

bool run_small;

struct run {
    struct sim *sim;
    struct prng rng; /* what people do */
    struct workload workload;
    struct model_export *exports[EXPORTS_MAX];
    size_t export_count;
    struct process *processes[MACHINES_MAX]; /* the present process of each machine; NULL: none */
    size_t machine_count;
    unsigned boots[MACHINES_MAX];
    struct process *past[SIM_SERVERS_MAX];
    size_t past_count;
    unsigned busy;     /* per mille of steps at which somebody submits */
    unsigned restless; /* per million of steps: closing, opening elsewhere, stopping */
    unsigned copies;   /* per million of steps: somebody takes a snapshot, forks, removes one, grows it */
    unsigned collects; /* per million of steps: somebody begins to collect */
    uint64_t goal;     /* requests */
    bool settling;     /* nothing new is begun */
};

static bool chance(struct run *r, unsigned per_million)
{
    return prng_below(&r->rng, 1000000) < per_million;
}

static struct model_export *export_random(struct run *r, size_t i)
{
    static const char *const names[EXPORTS_MAX] = {"alpha", "beta/b c", "gamma"};
    static const uint32_t blocks[] = {4096, 4096, 8192, 32768};
    struct export_params p = {0};
    p.block_size = blocks[prng_below(&r->rng, COUNT_OF(blocks))];
    p.object_size = p.block_size * (uint32_t)(1 + prng_below(&r->rng, 8));
    p.durable_writes = prng_below(&r->rng, 6) == 0;
    bool sparse = prng_below(&r->rng, 4) == 0 && !run_small;
    p.size = 1 + prng_below(&r->rng, 96 * KIB);
    if (prng_below(&r->rng, 3) == 0)
        p.size = 600 * KIB + prng_below(&r->rng, MIB);
    if (sparse)
        p.size = GIB << prng_below(&r->rng, 13);
    return model_export_create(r->sim, names[i], &p, sparse);
}

static void run_init(struct run *r, uint64_t seed)
{
    memset(r, 0, sizeof *r);
    struct faults f;
    faults_swarm(&f, seed);
    prng_seed(&r->rng, seed ^ UINT64_C(0x72756e));
    if (prng_below(&r->rng, 10) == 0)
        faults_none(&f);
    r->sim = sim_create(seed, &f);
    workload_init(&r->workload, r->sim, seed);
    r->export_count = 1 + prng_below(&r->rng, EXPORTS_MAX);
    r->machine_count = 1 + prng_below(&r->rng, MACHINES_MAX);
    for (size_t i = 0; i < r->export_count; i++)
        r->exports[i] = export_random(r, i);
    r->busy = 20 + (unsigned)prng_below(&r->rng, 600);
    r->restless = prng_below(&r->rng, 3) ? (unsigned)prng_below(&r->rng, 2000) : 0;
    r->goal = 100 + prng_below(&r->rng, 500);
    r->copies = !run_small && prng_below(&r->rng, 2) ? (unsigned)prng_below(&r->rng, 4000) : 0;
    if (!run_small && prng_below(&r->rng, 4)) {
        r->collects = 200 + (unsigned)prng_below(&r->rng, 8000);
        r->workload.recurring = (unsigned)prng_below(&r->rng, 700);
    }
}

/* ----------------------------------------------------------------------- people */

static void start_process(struct run *r, size_t m)
{
    struct engine_config c;
    if (r->sim->server_count + MACHINES_MAX + 1 > SIM_SERVERS_MAX)
        return;
    process_config_random(r->sim, &c);
    if (prng_below(&r->rng, 4) == 0)
        r->boots[m]++;
    r->processes[m] = process_start(r->sim, (unsigned)m, r->boots[m], &c);
}

static void retire(struct run *r, size_t m)
{
    r->past[r->past_count++] = r->processes[m];
    r->processes[m] = NULL;
}

static struct client *client_of(const struct process *d, const struct model_export *e)
{
    LIST_EACH(&d->clients, k)
    {
        struct client *c = CONTAINER_OF(k, struct client, link);
        if (c->export == e)
            return c;
    }
    return NULL;
}

static bool is_idle(const struct client *c)
{
    return c->state == CLIENT_OPEN && !c->in_flight;
}

/* Lost ones are closed when their requests are answered. */
static void close_lost(struct process *d)
{
    LIST_EACH(&d->clients, k)
    {
        struct client *c = CONTAINER_OF(k, struct client, link);
        if (is_idle(c) && (c->lost || !c->session->verified)) {
            client_close(c);
            return;
        }
    }
}

static void restless_process(struct run *r, struct process *d)
{
    struct model_export *e = r->exports[prng_below(&r->rng, r->export_count)];
    struct client *c = client_of(d, e);
    if (c && c->state == CLIENT_OPENING && prng_below(&r->rng, 4) == 0)
        client_abandon(c);
    else if (c && c->state == CLIENT_CLOSING && prng_below(&r->rng, 4) == 0)
        client_abandon(c);
    else if (c && is_idle(c))
        client_close(c);
    else if (!c)
        process_open(d, e);
}

static bool owned_by_anybody(const struct run *r, const struct model_export *e)
{
    for (size_t m = 0; m < r->machine_count; m++)
        if (r->processes[m] && r->processes[m]->server->alive && !r->processes[m]->server->asleep &&
            client_of(r->processes[m], e))
            return true;
    return false;
}

static void copy_something(struct run *r, struct process *d)
{
    struct client *c = client_of(d, r->exports[prng_below(&r->rng, r->export_count)]);
    if (c && c->state == CLIENT_OPEN && !c->lost && c->session->verified && !c->copying &&
        c->export->copy_count < COPIES_MAX)
        client_copy(c, (enum copying_verb)prng_below(&r->rng, COPYING_VERBS));
}

static void people(struct run *r)
{
    size_t m = prng_below(&r->rng, r->machine_count);
    struct process *d = r->processes[m];
    if (d && d->state == PROCESS_DOWN)
        retire(r, m);
    if (!r->processes[m]) {
        if (!r->settling && chance(r, 20000))
            start_process(r, m);
        return;
    }
    if (d->state == PROCESS_REFUSED)
        process_stop(d);
    if (d->state != PROCESS_UP)
        return;
    close_lost(d);
    if (!d->server->alive || r->settling)
        return;
    if (chance(r, r->restless))
        restless_process(r, d);
    for (size_t i = 0; i < r->export_count && d->server->alive; i++)
        if (chance(r, 20000) && !owned_by_anybody(r, r->exports[i]) && !client_of(d, r->exports[i]))
            process_open(d, r->exports[i]);
    if (d->server->alive && chance(r, r->copies))
        copy_something(r, d);
    if (r->collects && d->server->alive && !d->collecting && chance(r, r->collects))
        process_collect(d, prng_below(&r->rng, 3) == 0, sim_spread(r->sim, 5 * NS_PER_S, 600 * NS_PER_S));
    if (d->server->alive && d->collecting && chance(r, r->restless))
        process_collect_stop(d);
    if (d->server->alive && list_empty(&d->clients) && !d->collecting && chance(r, r->restless))
        process_stop(d);
}

static void submit_somewhere(struct run *r)
{
    struct process *d = r->processes[prng_below(&r->rng, r->machine_count)];
    if (!d || !d->server->alive)
        return;
    unsigned n = 1 + (unsigned)prng_below(&r->rng, r->workload.depth);
    struct client *c = client_of(d, r->exports[prng_below(&r->rng, r->export_count)]);
    while (n-- && c && c->state == CLIENT_OPEN)
        workload_submit(&r->workload, c);
}

/* ----------------------------------------------------------------------- misfortune */

static void damage_something(struct run *r)
{
    struct bucket *b = r->sim->bucket;
    const char *prefix = sim_below(r->sim, 3) ? "blocks/" : "maps/";
    size_t n = bucket_count(b, prefix);
    if (!n)
        return;
    struct object *o = bucket_nth(b, prefix, sim_below(r->sim, n));
    b->damaged++;
    mark_hit("sim.damaged");
    sim_trace(r->sim, "damage to %s", o->key);
    if (sim_below(r->sim, 2) || !o->bytes)
        bucket_delete(b, o->key);
    else
        o->body[sim_below(r->sim, o->bytes)] ^= 0x40;
}

/* As if somebody had declared it dead. */
static void take_heartbeat(struct run *r)
{
    struct bucket *b = r->sim->bucket;
    size_t n = bucket_count(b, "servers/");
    if (!n)
        return;
    const struct object *o = bucket_nth(b, "servers/", sim_below(r->sim, n));
    mark_hit("sim.declared_dead");
    sim_trace(r->sim, "%s is declared dead", o->key);
    bucket_delete(b, o->key);
}

static void arm_crash(struct run *r)
{
    r->sim->crash_mark = coverage_any(sim_below(r->sim, 1000));
    r->sim->crash_mark_left = 1 + (unsigned)sim_below(r->sim, 3);
    sim_trace(r->sim, "whoever passes %s dies", r->sim->crash_mark);
}

static void outage(struct run *r)
{
    static const char *const prefixes[] = {"", "", "", "blocks/", "exports/", "servers/", "maps/"};
    struct process *d = r->processes[prng_below(&r->rng, r->machine_count)];
    const struct server *from = d && prng_below(&r->rng, 2) ? d->server : NULL;
    bucket_outage(r->sim->bucket, from, prefixes[prng_below(&r->rng, COUNT_OF(prefixes))],
                  prng_below(&r->rng, 5) == 0,
                  sim_spread(r->sim, NS_PER_S / 10, r->sim->faults.outage_max_ns));
}

static void misfortune(struct run *r)
{
    struct sim *s = r->sim;
    const struct faults *f = &s->faults;
    struct process *d = r->processes[prng_below(&r->rng, r->machine_count)];
    bool alive = d && d->server->alive;
    if (alive && chance(r, f->crash))
        server_crash(d->server);
    else if (alive && chance(r, f->sleep))
        server_sleep(d->server, sim_spread(s, NS_PER_S / 100, f->sleep_max_ns));
    if (chance(r, f->crash_at_mark))
        arm_crash(r);
    if (chance(r, f->declared_dead))
        take_heartbeat(r);
    if (chance(r, f->sealed))
        seal_something(s, r->exports[sim_below(s, r->export_count)]->name);
    if (chance(r, f->outage))
        outage(r);
    if (chance(r, f->nospace))
        bucket_nospace(s->bucket, sim_spread(s, NS_PER_S / 100, f->nospace_max_ns));
    if (chance(r, f->damage))
        damage_something(r);
}

/* ---------------------------------------------------------------------------- the end */

static bool settled(void *ctx)
{
    struct run *r = ctx;
    people(r);
    for (size_t m = 0; m < r->machine_count; m++) {
        struct process *d = r->processes[m];
        if (!d || !d->server->alive)
            continue;
        if (d->state == PROCESS_JOINING || d->state == PROCESS_LEAVING || d->collecting)
            return false;
        LIST_EACH(&d->clients, k)
        {
            struct client *c = CONTAINER_OF(k, struct client, link);
            if (c->in_flight || c->state != CLIENT_OPEN || c->lost)
                return false;
        }
    }
    return true;
}

static void close_all(struct run *r)
{
    for (size_t m = 0; m < r->machine_count; m++) {
        struct process *d = r->processes[m];
        for (bool again = true; again && d && d->server->alive;) {
            again = false;
            LIST_EACH(&d->clients, k)
            {
                struct client *c = CONTAINER_OF(k, struct client, link);
                if (!is_idle(c))
                    continue;
                client_close(c);
                again = true;
                break;
            }
        }
    }
}

static bool all_closed(void *ctx)
{
    struct run *r = ctx;
    for (size_t m = 0; m < r->machine_count; m++)
        if (r->processes[m] && r->processes[m]->server->alive && !list_empty(&r->processes[m]->clients))
            return false;
    return true;
}

static bool all_down(void *ctx)
{
    struct run *r = ctx;
    for (size_t m = 0; m < r->machine_count; m++)
        if (r->processes[m] && r->processes[m]->server->alive)
            return false;
    return true;
}

static bool process_ready(void *ctx)
{
    struct process *d = ctx;
    return d->state != PROCESS_JOINING;
}

static bool client_ready(void *ctx)
{
    struct client *c = ctx;
    return c->state == CLIENT_OPEN || c->state == CLIENT_ENDED;
}

/* What does not end, for whoever reads the failure. */
static void describe_open_ends(const struct run *r)
{
    static const char *const states[] = {"opening", "being read", "open", "closing", "ended"};
    for (size_t m = 0; m < r->machine_count; m++) {
        const struct process *d = r->processes[m];
        struct engine_stats e;
        if (!d || !d->server->alive)
            continue;
        engine_stats(d->engine, &e);
        sim_trace(r->sim, "s%zu: process state %d, write buffer %zu, inline %zu, lease %s", d->server->number,
                  d->state, e.write_buffer_used, e.inline_used, e.lease_held ? "held" : "not held");
        LIST_EACH(&d->clients, k)
        {
            const struct client *c = CONTAINER_OF(k, struct client, link);
            struct volume_stats v = {0};
            if (c->volume)
                volume_stats(c->volume, &v);
            sim_trace(r->sim, "s%zu %s is %s%s, %zu in flight; dirty %llu, logged %llu, %llu records",
                      d->server->number, c->export->name, states[c->state], c->lost ? " and lost" : "",
                      c->in_flight, (unsigned long long)v.dirty_bytes, (unsigned long long)v.logged_bytes,
                      (unsigned long long)v.log_records);
        }
    }
}

static void must_end(struct run *r, bool (*is_so)(void *), void *ctx, const char *what)
{
    if (sim_run_until(r->sim, is_so, ctx, 3600 * NS_PER_S))
        return;
    describe_open_ends(r);
    sim_fail(r->sim, "an hour after all faults ended: %s", what);
}

/* A last server reads everything once more. */
static void open_again(struct run *r, struct process *d, struct model_export *e)
{
    for (int tries = 0; tries < 100; tries++) {
        struct client *c = process_open(d, e);
        must_end(r, client_ready, c, "an export is still being opened");
        if (c->state == CLIENT_OPEN && c->session->verified) {
            client_close(c);
            must_end(r, all_closed, r, "an export is still being closed");
            return;
        }
        if (c->state == CLIENT_OPEN)
            client_close(c);
        sim_run_for(r->sim, 10 * NS_PER_S);
    }
    sim_fail(r->sim, "%s: cannot be opened although nobody is left who could hold it", e->name);
}

static bool collector_rests(void *ctx)
{
    const struct process *d = ctx;
    return !d->collecting;
}

static bool remover_rests(void *ctx)
{
    const struct process *d = ctx;
    return !d->removing;
}

/* Every snapshot is forked; then every fork is opened, and holds what it must. */
static void check_copies(struct run *r, struct process *d, struct model_export *e)
{
    LIST_EACH(&e->copies, k)
    {
        const struct model_copy *copy = CONTAINER_OF(k, struct model_copy, link);
        if (copy->removing)
            continue;
        process_fork(d, e, copy);
        must_end(r, remover_rests, d, "a snapshot is still being forked");
        if (d->remove.err)
            sim_fail(r->sim, "%s: its snapshot %s cannot be forked: %s (%s)", e->name, copy->name,
                     err_text(d->remove.err), d->remove.complaint.text);
        mark_hit("sim.snapshot_forked");
    }
    LIST_EACH(&e->children, k)
    open_again(r, d, CONTAINER_OF(k, struct model_export, link));
}

static void remove_export(struct run *r, struct process *d, const char *name, bool must_be)
{
    for (int tries = 0; tries < 100; tries++) {
        process_remove(d, name);
        must_end(r, remover_rests, d, "an export is still being removed");
        if (d->remove.err == ERR_OK || (d->remove.err == ERR_NOTFOUND && !must_be))
            return;
        sim_run_for(r->sim, 10 * NS_PER_S);
    }
    sim_fail(r->sim, "%s: cannot be removed: %s (%s)", name, err_text(d->remove.err),
             d->remove.complaint.text);
}

/* With its forks, those that were not answered as well. */
static void remove_family(struct run *r, struct process *d, struct model_export *e)
{
    char name[COPY_NAME_MAX];
    remove_export(r, d, e->name, true);
    LIST_EACH(&e->children, k)
    remove_export(r, d, CONTAINER_OF(k, struct model_export, link)->name, true);
    for (unsigned i = 1; i <= e->copy_count; i++) {
        copy_name(e, i, name);
        remove_export(r, d, name, false);
    }
}

/* All exports removed: collected, nothing is left. */
static void empty_the_bucket(struct run *r, struct process *d)
{
    sim_run_for(r->sim, 120 * NS_PER_S); /* what the dead have sent arrives, or never does */
    for (size_t i = 0; i < r->export_count; i++)
        remove_family(r, d, r->exports[i]);
    for (int round = 0; round < 2; round++) {
        process_collect(d, false, 60 * NS_PER_S);
        must_end(r, collector_rests, d, "a collector is still at work");
        if (d->collect.err)
            sim_fail(r->sim, "the last collector ends with %s (%s)", err_text(d->collect.err),
                     d->collect.complaint.text);
    }
    const char *left = bucket_leftover(r->sim->bucket);
    if (left)
        sim_fail(r->sim, "%s is left over when everything was removed and collected", left);
    mark_hit("sim.emptied");
}

static void stop_all(struct run *r)
{
    for (size_t m = 0; m < r->machine_count; m++) {
        struct process *d = r->processes[m];
        if (d && d->server->alive && (d->state == PROCESS_UP || d->state == PROCESS_REFUSED))
            process_stop(d);
    }
    must_end(r, all_down, r, "a server is still leaving");
}

static void heal_and_check(struct run *r)
{
    sim_heal(r->sim);
    r->settling = true;
    must_end(r, settled, r, "requests are not answered, or something is not opened or closed");
    close_all(r);
    must_end(r, all_closed, r, "an export is still being closed");
    stop_all(r);
    for (size_t m = 0; m < r->machine_count; m++)
        if (r->processes[m])
            retire(r, m);
    struct engine_config c;
    process_config_random(r->sim, &c);
    struct process *d = r->processes[0] = process_start(r->sim, 0, r->boots[0], &c);
    must_end(r, process_ready, d, "the last server is still joining");
    if (d->state != PROCESS_UP)
        sim_fail(r->sim, "the last server cannot join");
    for (size_t i = 0; i < r->export_count; i++)
        open_again(r, d, r->exports[i]);
    for (size_t i = 0; i < r->export_count; i++)
        check_copies(r, d, r->exports[i]);
    if (r->collects)
        empty_the_bucket(r, d);
    stop_all(r);
}

static void run_finish(struct run *r)
{
    for (size_t m = 0; m < r->machine_count; m++)
        if (r->processes[m])
            retire(r, m);
    for (size_t i = 0; i < r->past_count; i++)
        process_destroy(r->past[i]);
    for (size_t i = 0; i < r->export_count; i++)
        model_export_destroy(r->exports[i]);
    workload_finish(&r->workload);
    sim_destroy(r->sim);
}

uint64_t run_seed(uint64_t seed, bool trace)
{
    struct run r;
    run_init(&r, seed);
    r.sim->trace = trace;
    for (size_t m = 0; m < r.machine_count; m++)
        start_process(&r, m);
    while (r.workload.submitted < r.goal && r.sim->steps < 300000) {
        if (prng_below(&r.rng, 1000) < r.busy)
            submit_somewhere(&r);
        misfortune(&r);
        people(&r);
        if (!sim_step(r.sim))
            sim_run_for(r.sim, NS_PER_S);
    }
    heal_and_check(&r);
    uint64_t hash = r.sim->hash;
    run_finish(&r);
    return hash;
}
