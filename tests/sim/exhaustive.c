#include "exhaustive.h"

#include <stdio.h>

#include "base/bytes.h"
#include "script.h"
#include "seeds.h"
#include "workload.h"

#define OPERATIONS 20
#define SECONDS    60

/* Where the first and second crash happen: counted in changes that arrive at the bucket; 0: not at all. */
struct crashes {
    uint64_t script, first, second;
    bool first_after, second_after;
};

static bool settled(void *ctx)
{
    const struct client *c = ctx;
    return c->state == CLIENT_ENDED || (c->state == CLIENT_OPEN && !c->in_flight);
}

static struct process *any_server(struct script *t)
{
    struct process *d = t->process_count ? t->processes[t->process_count - 1] : NULL;
    while (!d || !d->server->alive || d->state != PROCESS_UP) {
        d = script_server_begin(t, 0);
        sim_run_for(t->sim, 5 * NS_PER_S);
    }
    return d;
}

/* Whatever crashes it, it is opened in the end. */
static struct client *open_somehow(struct script *t, struct model_export *e)
{
    for (int tries = 0; tries < 10; tries++) {
        struct client *c = process_open(any_server(t), e);
        sim_run_until(t->sim, settled, c, 600 * NS_PER_S);
        if (c->state == CLIENT_OPEN)
            return c;
        expect(t, c->died || c->err == ERR_HELD);
    }
    sim_fail(t->sim, "it cannot be opened any more");
}

static void operate(struct script *t, struct workload *w, struct client *c, unsigned operations)
{
    for (unsigned i = 0; i < operations && c->state == CLIENT_OPEN; i++) {
        workload_submit(w, c);
        if (c->state == CLIENT_OPEN && i % 3 == 0)
            sim_run_until(t->sim, settled, c, 600 * NS_PER_S);
        if (c->state == CLIENT_OPEN && i % 7 == 6)
            sim_run_for(t->sim, 3 * NS_PER_S); /* long enough for a checkpoint */
    }
    sim_run_until(t->sim, settled, c, 600 * NS_PER_S);
}

/* Returns how many changes arrived. */
static uint64_t play(const struct crashes *x)
{
    struct script t;
    struct workload w;
    char repeat[160];
    snprintf(repeat, sizeof repeat, "sim --exhaustive --start %llu --seeds 1 (crash %llu%s, then %llu%s)",
             (unsigned long long)x->script, (unsigned long long)x->first,
             x->first_after ? " after" : " before", (unsigned long long)x->second,
             x->second_after ? " after" : " before");
    sim_set_repeat(repeat);
    script_init(&t, x->script, NULL);
    t.config.checkpoint_interval_ns = 2 * NS_PER_S;
    t.config.flush_interval_ns = NS_PER_S;
    t.sim->faults.orphan_lost = 1000;
    workload_init(&w, t.sim, x->script);
    w.depth = 4;
    w.weights[VOLUME_FLUSH] = 20;
    struct model_export *e = script_export(&t, "disk", NULL);
    t.bucket->crash_at_mutation = x->first;
    t.bucket->crash_after = x->first_after;
    struct client *c = open_somehow(&t, e);
    operate(&t, &w, c, OPERATIONS);
    bool crashed = !t.bucket->crash_at_mutation;
    if (x->second && crashed) {
        t.bucket->crash_at_mutation = x->second;
        t.bucket->crash_after = x->second_after;
    }
    for (int round = 0; round < 3; round++) {
        if (c->state != CLIENT_OPEN)
            c = open_somehow(&t, e);
        operate(&t, &w, c, 4);
        if (c->state == CLIENT_OPEN)
            script_close(&t, c);
    }
    uint64_t arrived = t.bucket->mutations;
    workload_finish(&w);
    script_finish(&t);
    return arrived;
}

static void job(void *ctx)
{
    play(ctx);
}

struct tally {
    uint64_t passed, failed;
};

static void try_one(struct tally *n, struct crashes x)
{
    if (seeds_isolated(job, &x, SECONDS, false))
        n->passed++;
    else
        n->failed++;
}

/* Every place alone; then pairs, the second a few changes into recovery. */
static void exhaust(struct tally *n, uint64_t script)
{
    struct crashes none = {.script = script};
    uint64_t changes = play(&none);
    for (uint64_t first = 1; first <= changes; first++)
        for (int after = 0; after < 2; after++) {
            struct crashes x = {.script = script, .first = first, .first_after = after};
            try_one(n, x);
            x.second = 1 + (first * 7 + (uint64_t)after * 3) % 13;
            x.second_after = first % 2;
            try_one(n, x);
        }
    printf("script %llu: %llu changes of the bucket\n", (unsigned long long)script,
           (unsigned long long)changes);
}

int exhaustive_run(uint64_t start, uint64_t scripts, unsigned jobs)
{
    struct tally n = {0};
    (void)jobs;
    sim_set_tail(false);
    for (uint64_t i = 0; i < scripts; i++)
        exhaust(&n, start + i);
    printf("%llu passed, %llu failed\n", (unsigned long long)n.passed, (unsigned long long)n.failed);
    return n.failed != 0;
}
