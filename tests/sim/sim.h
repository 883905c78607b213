/* sim.h - a world with one clock, one bucket and a few servers that run the real engine. Same seed, same run.
 *
 * The world is driven from outside the servers: sim_step makes the earliest thing happen, be it a request
 * that reaches the bucket, an answer that comes back, or a server's loop that has something to do. A server's
 * code runs only inside server_enter .. server_leave; memory it allocates belongs to its arena.
 *
 * A violation ends the process (sim_fail): with the reason, the last lines of the trace and the command that
 * repeats the run.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "base/err.h"
#include "base/prng.h"
#include "faults.h"
#include "loop/loop.h"
#include "objstore/objstore.h"
#include "volume/engine.h"

#define SIM_SERVERS_MAX 64 /* incarnations in one run */
#define SIM_TRACE_LINES 60

struct bucket;
struct server;

struct sim {
    uint64_t seed;
    struct faults faults;
    struct prng rng;   /* the world's: latencies, faults, schedules */
    struct loop world; /* the world's clock and what is going to happen in it */
    struct bucket *bucket;
    struct server *servers[SIM_SERVERS_MAX];
    size_t server_count;
    uint64_t steps;
    bool collectors; /* there are, or were: they may take exports from the silent */

    const char *crash_mark; /* the server that passes it for the crash_mark_left-th time dies there */
    unsigned crash_mark_left;

    bool trace;
    uint64_t hash;
    char lines[SIM_TRACE_LINES][240];
    uint64_t line_count;
};

struct sim *sim_create(uint64_t seed, const struct faults *);
void sim_destroy(struct sim *);

uint64_t sim_now_ns(const struct sim *);
uint64_t sim_below(struct sim *, uint64_t n); /* 0 .. n - 1 */
bool sim_chance(struct sim *, unsigned per_mille);
/* From low to high, every order of magnitude equally likely. */
uint64_t sim_spread(struct sim *, uint64_t low, uint64_t high);

/* Makes the earliest thing happen. False when nothing is ever going to. */
bool sim_step(struct sim *);
void sim_run_for(struct sim *, uint64_t ns);
/* False when it did not become true in that time. */
bool sim_run_until(struct sim *, bool (*)(void *ctx), void *ctx, uint64_t ns);
/* Faults off, outages over, sleepers awake; what is still under way arrives soon. */
void sim_heal(struct sim *);

/* The world's timers: `t` is outside of any server. */
void sim_at(struct sim *, struct timer *t, uint64_t delay_ns);

PRINTF(2, 3) void sim_trace(struct sim *, const char *fmt, ...);
_Noreturn PRINTF(2, 3) void sim_fail(struct sim *, const char *fmt, ...);
#define sim_expect(s, cond)                                                                                  \
    do {                                                                                                     \
        if (!(cond))                                                                                         \
            sim_fail((s), "%s:%d: expected %s", __FILE__, __LINE__, #cond);                                  \
    } while (0)
/* What repeats this run; printed by sim_fail. */
void sim_set_repeat(const char *command);
/* Whether sim_fail prints the last lines of the trace: yes unless this says no. */
void sim_set_tail(bool);

/* ------------------------------------------------------------------- servers */

/* One process on one machine. */
struct server {
    struct sim *sim;
    size_t number; /* of the incarnation, from 0 */
    unsigned machine;
    struct process_id id;
    bool alive, asleep;
    bool doomed; /* dies as soon as its code returns; nothing it does from here on has an effect */
    struct timer waker, exit_timer;
    uint64_t boot_ns; /* its clock at the world's zero */
    int64_t skew_ms;  /* of its wall clock */
    struct prng rng;
    struct arena arena;
    struct arena *outer; /* of whoever entered it */
    unsigned entered;
    struct loop loop;
    struct objstore store;
    struct host host;
    struct engine *engine; /* for whoever runs one in it; the world does not touch it */
    void *ctx;             /* likewise */
    void (*died)(struct server
                     *); /* when set: called after a crash, memory still there, nothing of it may be called */
    struct list requests; /* struct bucket_op.link: not answered yet */
};

/* A new process on that machine; boots of a machine are counted apart: another one is another kernel. */
struct server *server_start(struct sim *, unsigned machine, unsigned boot);
void server_enter(struct server *);
void server_leave(struct server *);
/* Drops everything it held; its requests may still be applied. Not from inside. */
void server_crash(struct server *);
/* Its process ends in order: the arena must be empty. */
void server_exit(struct server *);
/* Its loop stands still for so long, while clocks go on. */
void server_sleep(struct server *, uint64_t ns);
void server_wake(struct server *);

#endif
