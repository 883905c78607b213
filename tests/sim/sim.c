#include "sim.h"

#include <assert.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "bucket.h"
#include "coverage.h"

#define TICK_NS 1000 /* what a round of a server's loop takes */

static struct sim *the_sim;
static char repeat_command[300] = "(not repeatable)";
static bool tail = true;

/* ------------------------------------------------------------------ the trace */

void sim_trace(struct sim *s, const char *fmt, ...)
{
    char *line = s->lines[s->line_count++ % SIM_TRACE_LINES];
    int n = snprintf(line, sizeof s->lines[0], "%12.6f ", (double)sim_now_ns(s) / 1e9);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line + n, sizeof s->lines[0] - (size_t)n, fmt, ap);
    va_end(ap);
    for (const char *c = line; *c; c++)
        s->hash = (s->hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    if (s->trace)
        printf("%s\n", line);
}

void sim_set_tail(bool yes)
{
    tail = yes;
}

void sim_set_repeat(const char *command)
{
    snprintf(repeat_command, sizeof repeat_command, "%s", command);
}

_Noreturn void sim_fail(struct sim *s, const char *fmt, ...)
{
    char reason[2000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    fflush(stdout);
    if (!s->trace && tail) {
        uint64_t first = s->line_count > SIM_TRACE_LINES ? s->line_count - SIM_TRACE_LINES : 0;
        for (uint64_t i = first; i < s->line_count; i++)
            fprintf(stderr, "    %s\n", s->lines[i % SIM_TRACE_LINES]);
    }
    fprintf(stderr, "FAILED at %.6f s: %s\n  repeat with: %s\n", (double)sim_now_ns(s) / 1e9, reason,
            repeat_command);
    fflush(stderr);
    _Exit(1);
}

static int64_t log_clock(void *ctx)
{
    return (int64_t)(sim_now_ns(ctx) / NS_PER_MS);
}

static void log_to_trace(void *ctx, const char *line)
{
    sim_trace(ctx, "log %s", strlen(line) > 25 ? line + 25 : line);
}

/* ------------------------------------------------------------------- the world */

static void mark_passed(const char *name)
{
    struct sim *s = the_sim;
    coverage_hit(name);
    if (!s || !s->crash_mark || strcmp(s->crash_mark, name) != 0)
        return;
    for (size_t i = 0; i < s->server_count; i++) {
        struct server *v = s->servers[i];
        if (v->alive && v->entered && !v->doomed && --s->crash_mark_left == 0) {
            s->crash_mark = NULL;
            sim_trace(s, "s%zu dies at %s", v->number, name);
            v->doomed = true;
        }
    }
}

static void world_wake(struct loop *l)
{
    (void)l;
}

static const struct loop_ops world_ops = {.wake = world_wake};

struct sim *sim_create(uint64_t seed, const struct faults *f)
{
    assert(!the_sim);
    struct sim *s = calloc(1, sizeof *s);
    assert(s);
    s->seed = seed;
    s->faults = *f;
    s->hash = UINT64_C(0xcbf29ce484222325);
    prng_seed(&s->rng, seed);
    loop_init(&s->world, &world_ops, NS_PER_S);
    s->bucket = bucket_create(s);
    the_sim = s;
    json_set_alloc_funcs(mem_alloc, mem_free);
    json_object_seed(1);
    log_set_clock(log_clock, s);
    log_set_sink(log_to_trace, s);
    mark_hook = mark_passed;
    return s;
}

void sim_destroy(struct sim *s)
{
    for (size_t i = 0; i < s->server_count; i++)
        if (s->servers[i]->alive)
            server_crash(s->servers[i]);
    bucket_destroy(s->bucket);
    for (size_t i = 0; i < s->server_count; i++)
        free(s->servers[i]);
    loop_finish(&s->world);
    log_set_sink(NULL, NULL);
    log_set_clock(NULL, NULL);
    the_sim = NULL;
    free(s);
}

uint64_t sim_now_ns(const struct sim *s)
{
    return s->world.now_ns;
}

uint64_t sim_below(struct sim *s, uint64_t n)
{
    return prng_below(&s->rng, n);
}

bool sim_chance(struct sim *s, unsigned per_mille)
{
    return per_mille && prng_below(&s->rng, 1000) < per_mille;
}

uint64_t sim_spread(struct sim *s, uint64_t low, uint64_t high)
{
    low = MAX(low, 1);
    if (high <= low)
        return low;
    unsigned orders = 0;
    while (high >> orders > low)
        orders++;
    uint64_t top = MIN(low << sim_below(s, orders + 1), high);
    return MAX(low, top / 2 + sim_below(s, top - top / 2 + 1));
}

void sim_at(struct sim *s, struct timer *t, uint64_t delay_ns)
{
    struct arena *before = arena_enter(NULL);
    timer_start(&s->world, t, delay_ns);
    arena_enter(before);
}

/* ------------------------------------------------------------------------ steps */

static bool server_due(const struct sim *s, const struct server *v, uint64_t *due_ns)
{
    uint64_t due;
    if (!v->alive || v->asleep || !loop_next_due(&v->loop, &due))
        return false;
    due = due > v->boot_ns ? due - v->boot_ns : 0;
    *due_ns = MAX(due, s->world.now_ns);
    return true;
}

static struct server *earliest_server(struct sim *s, uint64_t *due_ns)
{
    struct server *first = NULL;
    unsigned ties = 1;
    for (size_t i = 0; i < s->server_count; i++) {
        uint64_t due;
        if (!server_due(s, s->servers[i], &due))
            continue;
        ties = first && due == *due_ns ? ties + 1 : 1;
        if (!first || due < *due_ns || (due == *due_ns && sim_below(s, ties) == 0)) {
            first = s->servers[i];
            *due_ns = due;
        }
    }
    return first;
}

bool sim_step(struct sim *s)
{
    uint64_t server_ns = 0, world_ns = 0;
    struct server *v = earliest_server(s, &server_ns);
    bool world = loop_next_due(&s->world, &world_ns);
    if (!v && !world)
        return false;
    s->steps++;
    if (world && (!v || world_ns <= server_ns)) {
        loop_run_ready(&s->world, MAX(world_ns, s->world.now_ns));
        return true;
    }
    s->world.now_ns = server_ns;
    server_enter(v);
    loop_run_ready(&v->loop, server_ns + v->boot_ns);
    server_leave(v);
    s->world.now_ns += TICK_NS;
    return true;
}

static void nothing(struct timer *t)
{
    (void)t;
}

/* Looks again every second, even when nothing happens. */
bool sim_run_until(struct sim *s, bool (*is_so)(void *), void *ctx, uint64_t ns)
{
    uint64_t end = s->world.now_ns + ns;
    struct timer tick = {.fire = nothing};
    while (!is_so(ctx) && s->world.now_ns < end) {
        if (!timer_started(&tick))
            sim_at(s, &tick, MIN(end - s->world.now_ns, NS_PER_S));
        sim_step(s);
    }
    timer_stop(&tick);
    return is_so(ctx);
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

void sim_run_for(struct sim *s, uint64_t ns)
{
    sim_run_until(s, never, NULL, ns);
}

void sim_heal(struct sim *s)
{
    sim_trace(s, "healed");
    faults_none(&s->faults);
    s->crash_mark = NULL;
    bucket_heal(s->bucket);
    for (size_t i = 0; i < s->server_count; i++)
        if (s->servers[i]->alive)
            server_wake(s->servers[i]);
}
