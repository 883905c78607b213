#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "base/mem.h"
#include "bucket.h"
#include "sim.h"

static struct server *of_loop(struct loop *l)
{
    return CONTAINER_OF(l, struct server, loop);
}

/* ------------------------------------------------------------------- its loop */

static uint64_t fresh_ns(const struct loop *l)
{
    const struct server *v = (const struct server *)((const char *)l - offsetof(struct server, loop));
    return sim_now_ns(v->sim) + v->boot_ns;
}

static int64_t wall_ms(struct loop *l)
{
    struct server *v = of_loop(l);
    return bucket_now_ms(v->sim->bucket) + v->skew_ms;
}

static void random_bytes(struct loop *l, void *to, size_t bytes)
{
    prng_fill(&of_loop(l)->rng, to, bytes);
}

static void wake(struct loop *l)
{
    (void)l;
}

struct sim_job {
    struct task task;
    struct job *job;
    struct timer timer; /* the world's, so it is kept outside of the arena's life by cancel_jobs */
    struct link link;
    struct server *server;
    bool worked;
};

static struct list jobs; /* of all servers */

static void job_finish(struct task *t)
{
    struct sim_job *sj = CONTAINER_OF(t, struct sim_job, task);
    struct job *j = sj->job;
    if (!sj->worked)
        j->work(j);
    j->impl = NULL;
    list_remove(&sj->link);
    free(sj);
    j->done(j);
}

static void job_due(struct timer *t)
{
    struct sim_job *sj = CONTAINER_OF(t, struct sim_job, timer);
    sj->task.run = job_finish;
    loop_post(&sj->server->loop, &sj->task);
}

/* The work is done at once or at the last moment: both may happen, and nobody may notice. */
static void start_job(struct loop *l, struct job *j)
{
    struct server *v = of_loop(l);
    struct sim_job *sj = calloc(1, sizeof *sj);
    assert(sj && !j->impl);
    sj->job = j;
    sj->server = v;
    sj->timer.fire = job_due;
    if (!jobs.head.next)
        list_init(&jobs);
    list_push(&jobs, &sj->link);
    j->impl = sj;
    if (sim_below(v->sim, 2)) {
        sj->worked = true;
        j->work(j);
    }
    sim_at(v->sim, &sj->timer, sim_spread(v->sim, 1000, v->sim->faults.job_delay_max_ns));
}

static void drop_jobs(struct server *v)
{
    if (!jobs.head.next)
        return;
    LIST_EACH(&jobs, k)
    {
        struct sim_job *sj = CONTAINER_OF(k, struct sim_job, link);
        if (sj->server != v)
            continue;
        timer_stop(&sj->timer);
        list_remove(k);
        free(sj);
    }
}

static const struct loop_ops ops = {
    .fresh_ns = fresh_ns, .wall_ms = wall_ms, .random = random_bytes, .wake = wake, .job_start = start_job};

/* ------------------------------------------------------------ its machine and life */

static bool is_gone(const struct host *h, const struct process_id *p)
{
    const struct server *v = (const struct server *)((const char *)h - offsetof(struct server, host));
    if (strcmp(p->boot_id, v->id.boot_id) != 0 || p->pid_ns != v->id.pid_ns)
        return false;
    for (size_t i = 0; i < v->sim->server_count; i++) {
        const struct server *other = v->sim->servers[i];
        if (other->alive && other->id.pid == p->pid && other->id.start_time == p->start_time &&
            strcmp(other->id.boot_id, p->boot_id) == 0)
            return false;
    }
    mark_hit("sim.process_gone");
    return true;
}

static void identify(struct server *v, unsigned boot)
{
    snprintf(v->id.host, sizeof v->id.host, "machine%u", v->machine);
    snprintf(v->id.boot_id, sizeof v->id.boot_id, "%08x-0000-4000-8000-%012x", boot, v->machine);
    v->id.pid_ns = 4026531836;
    v->id.pid = 100 + (int64_t)sim_below(v->sim, 5); /* numbers come back, start times do not */
    v->id.start_time = 1000 + v->number;
}

struct server *server_start(struct sim *s, unsigned machine, unsigned boot)
{
    if (s->server_count == SIM_SERVERS_MAX)
        sim_fail(s, "more than %d servers in one run", SIM_SERVERS_MAX);
    struct server *v = calloc(1, sizeof *v);
    assert(v);
    v->sim = s;
    v->number = s->server_count;
    s->servers[s->server_count++] = v;
    v->machine = machine;
    identify(v, boot);
    v->host = (struct host){.self = v->id, .is_gone = is_gone};
    v->alive = true;
    v->boot_ns = sim_below(s, 1000) * NS_PER_S;
    v->skew_ms = s->faults.skew_max_ms
                     ? (int64_t)sim_below(s, 2 * s->faults.skew_max_ms) - (int64_t)s->faults.skew_max_ms
                     : 0;
    prng_seed(&v->rng, prng_next(&s->rng));
    arena_init(&v->arena);
    list_init(&v->requests);
    loop_init(&v->loop, &ops, sim_now_ns(s) + v->boot_ns);
    bucket_store_init(s->bucket, v);
    sim_trace(s, "s%zu starts on machine %u", v->number, machine);
    return v;
}

void server_enter(struct server *v)
{
    assert(v->alive);
    if (v->entered++ == 0)
        v->outer = arena_enter(&v->arena);
}

void server_leave(struct server *v)
{
    assert(v->entered);
    if (--v->entered)
        return;
    arena_enter(v->outer);
    if (v->doomed)
        server_crash(v);
}

static void end(struct server *v)
{
    v->alive = false;
    timer_stop(&v->exit_timer);
    timer_stop(&v->waker);
    bucket_orphan(v->sim->bucket, v);
    drop_jobs(v);
}

void server_crash(struct server *v)
{
    assert(v->alive && !v->entered);
    sim_trace(v->sim, "s%zu crashes", v->number);
    end(v);
    if (v->died)
        v->died(v);
    arena_drop(&v->arena);
    v->engine = NULL;
}

void server_exit(struct server *v)
{
    assert(v->alive && !v->entered);
    server_enter(v);
    loop_finish(&v->loop);
    server_leave(v);
    sim_trace(v->sim, "s%zu exits", v->number);
    if (!list_empty(&v->loop.tasks))
        sim_fail(v->sim, "s%zu exits with a task posted", v->number);
    if (!list_empty(&v->requests))
        sim_fail(v->sim, "s%zu exits with a request under way", v->number);
    if (v->arena.count)
        sim_fail(v->sim, "s%zu exits and leaks %zu blocks, %zu bytes", v->number, v->arena.count,
                 v->arena.bytes);
    end(v);
}

static void slept(struct timer *t)
{
    server_wake(CONTAINER_OF(t, struct server, waker));
}

void server_sleep(struct server *v, uint64_t ns)
{
    if (!v->alive || v->asleep)
        return;
    mark_hit("sim.sleep");
    sim_trace(v->sim, "s%zu sleeps for %.3f s", v->number, (double)ns / 1e9);
    v->asleep = true;
    v->waker.fire = slept;
    sim_at(v->sim, &v->waker, ns);
}

void server_wake(struct server *v)
{
    if (!v->asleep)
        return;
    sim_trace(v->sim, "s%zu wakes", v->number);
    v->asleep = false;
    timer_stop(&v->waker);
}
