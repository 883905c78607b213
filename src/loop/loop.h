/* loop.h - SEAM 1: the only way to time, randomness, timers, sockets and worker threads.
 *
 * Behind it is libuv (uv_loop.h) or, in the simulator, a virtual clock. One thread runs a loop and
 * everything that belongs to it; only job_work callbacks run elsewhere.
 *
 * Guarantees
 *   1. No callback is ever called from inside the function that asked for it: all come from the loop.
 *   2. Tasks run in the order they were posted. Tasks posted by tasks run in the next round, after what has
 *      become ready meanwhile, so that a chain of tasks starves nobody.
 *   3. A timer never fires early; timers due at once fire in the order they were started.
 *   4. After timer_stop, task_cancel or watch_stop returned, that callback is not called.
 *
 * Structs are embedded in their owner, zeroed before first use, and must not move or be freed while active.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

struct loop;

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

/* ------------------------------------------------------------------ clocks */

/* Nanoseconds of CLOCK_BOOTTIME (time asleep counts), read once a round of the loop and then constant;
 * outside the loop, before it runs and between two runs, read each time. */
uint64_t loop_now_ns(const struct loop *);
/* The same clock read afresh: for deciding whether a lease still holds before a reply leaves. */
uint64_t loop_fresh_ns(const struct loop *);
/* Milliseconds since 1970 by this machine's clock: for logs and request signatures, never for decisions on
 * order. */
int64_t loop_wall_ms(struct loop *);

/* Unpredictable bytes: ids, nonces, jitter. */
void loop_random(struct loop *, void *, size_t bytes);

/* ------------------------------------------------------------------- tasks */

struct task {
    struct link link;
    void (*run)(struct task *);
};

/* Runs once, soon. Posting a task that is already posted does nothing. */
void loop_post(struct loop *, struct task *);
void task_cancel(struct task *); /* harmless when not posted */

/* ------------------------------------------------------------------ timers */

struct timer {
    uint64_t due_ns;
    uint64_t order;
    size_t place; /* in the heap, from 1; 0: not started */
    struct loop *loop;
    void (*fire)(struct timer *);
};

/* Fires once, that many nanoseconds after loop_now_ns. Starting a started timer starts it anew. */
void timer_start(struct loop *, struct timer *, uint64_t delay_ns);
void timer_stop(struct timer *); /* harmless when not started */
static inline bool timer_started(const struct timer *t)
{
    return t->place != 0;
}

/* ---------------------------------------------------------- jobs on threads */

struct job {
    void (*work)(struct job *); /* on a worker thread: may block and compute, touches nothing of the loop */
    void (*done)(struct job *); /* on the loop, after work returned */
    void *impl;
};

/* A started job always runs to its done. */
void job_start(struct loop *, struct job *);

/* ------------------------------------------------------- file descriptors */

/* HANGUP: the other side sends nothing more (half-closed or gone), whatever is still unread. Shows only where
 * it is asked for. */
enum { WATCH_READ = 1, WATCH_WRITE = 2, WATCH_HANGUP = 4 };

struct watch {
    void (*ready)(struct watch *, unsigned events); /* level-triggered; errors show as all of them */
    void *impl;
};

/* Watches a non-blocking descriptor for the events (0: none); called again it replaces them. */
void watch_set(struct loop *, struct watch *, int fd, unsigned events);
void watch_stop(struct watch *); /* before the descriptor is closed; harmless when not watching */

/* ----------------------------------------------------------------- signals */

struct signal_watch {
    void (*caught)(struct signal_watch *, int signum);
    void *impl;
};

void signal_watch_start(struct loop *, struct signal_watch *, int signum);
void signal_watch_stop(struct signal_watch *);

/* -------------------------------------------------------------- what it is */

struct loop_ops {
    uint64_t (*fresh_ns)(const struct loop *);
    int64_t (*wall_ms)(struct loop *);
    void (*random)(struct loop *, void *, size_t);
    void (*wake)(struct loop *); /* a task was posted or the earliest timer changed */
    void (*job_start)(struct loop *, struct job *);
    void (*watch_set)(struct loop *, struct watch *, int fd, unsigned events);
    void (*watch_stop)(struct watch *);
    void (*signal_start)(struct loop *, struct signal_watch *, int signum);
    void (*signal_stop)(struct signal_watch *);
};

struct loop {
    const struct loop_ops *ops;
    uint64_t now_ns;
    bool resting; /* it is not running, so that now_ns grows old */
    struct list tasks;
    struct timer **timers; /* a binary heap, earliest first */
    size_t timer_count, timer_room;
    uint64_t timer_order;
};

/* For implementations: the part of a loop that is the same behind every clock. */
void loop_init(struct loop *, const struct loop_ops *, uint64_t now_ns);
void loop_finish(struct loop *);
/* Runs what is posted and every timer due at now_ns. */
void loop_run_ready(struct loop *, uint64_t now_ns);
/* False when there is neither timer nor task; else when the next is due (now_ns for a task). */
bool loop_next_due(const struct loop *, uint64_t *due_ns);

#endif
