#include "loop/uv_loop.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <uv.h>

#include "base/mem.h"

struct uv_loop {
    struct loop base;
    uv_loop_t uv;
    uv_timer_t sleep;
    bool stopped;
    bool woken; /* a callback of libuv has run since the last wait */
};

static struct uv_loop *self(struct loop *l)
{
    return CONTAINER_OF(l, struct uv_loop, base);
}

static uint64_t boottime_ns(const struct loop *l)
{
    (void)l;
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The first callback after a wait brings the loop's clock forward: else a timer it starts would count the
 * time slept and fire early. */
static void woke(uv_loop_t *uv)
{
    struct uv_loop *u = CONTAINER_OF(uv, struct uv_loop, uv);
    if (!u->woken)
        u->base.now_ns = boottime_ns(&u->base);
    u->woken = true;
}

static int64_t wall_ms(struct loop *l)
{
    (void)l;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void random_bytes(struct loop *l, void *to, size_t bytes)
{
    (void)l;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = getrandom((char *)to + done, bytes - done, 0);
        if (n > 0)
            done += (size_t)n;
    }
}

static void wake(struct loop *l)
{
    (void)l; /* everything that wakes runs on the loop thread, and uv_loop_run looks again after each callback
                round */
}

/* ---------------------------------------------------------------------- jobs */

struct uv_job {
    uv_work_t uv;
    struct job *job;
};

static void job_work(uv_work_t *w)
{
    struct job *j = CONTAINER_OF(w, struct uv_job, uv)->job;
    j->work(j);
}

static void job_done(uv_work_t *w, int status)
{
    assert(status == 0);
    (void)status;
    struct uv_job *u = CONTAINER_OF(w, struct uv_job, uv);
    struct job *j = u->job;
    woke(w->loop);
    mem_free(u);
    j->impl = NULL;
    j->done(j);
}

static void start_job(struct loop *l, struct job *j)
{
    struct uv_job *u = MEM_NEW(struct uv_job);
    u->job = j;
    j->impl = u;
    int r = uv_queue_work(&self(l)->uv, &u->uv, job_work, job_done);
    assert(r == 0);
    (void)r;
}

/* ------------------------------------------------------------------- watches */

struct uv_watch {
    uv_poll_t uv;
    struct watch *watch; /* NULL once stopped */
    int fd;
    unsigned events;
};

static void free_watch(uv_handle_t *h)
{
    mem_free(CONTAINER_OF((uv_poll_t *)h, struct uv_watch, uv));
}

static void poll_ready(uv_poll_t *p, int status, int events)
{
    struct watch *w = CONTAINER_OF(p, struct uv_watch, uv)->watch;
    if (!w)
        return;
    woke(p->loop);
    unsigned e = 0, watched = CONTAINER_OF(p, struct uv_watch, uv)->events;
    if (status < 0)
        e = WATCH_READ | WATCH_WRITE | (watched & WATCH_HANGUP);
    if (events & UV_READABLE)
        e |= WATCH_READ;
    if (events & UV_WRITABLE)
        e |= WATCH_WRITE;
    if (events & UV_DISCONNECT)
        e |= WATCH_HANGUP;
    w->ready(w, e);
}

static void set_watch(struct loop *l, struct watch *w, int fd, unsigned events)
{
    struct uv_watch *u = w->impl;
    if (!u) {
        u = MEM_NEW(struct uv_watch);
        u->watch = w;
        u->fd = fd;
        int r = uv_poll_init(&self(l)->uv, &u->uv, fd);
        assert(r == 0);
        (void)r;
        w->impl = u;
    }
    assert(u->fd == fd);
    u->events = events;
    int uv_events = (events & WATCH_READ ? UV_READABLE : 0) | (events & WATCH_WRITE ? UV_WRITABLE : 0) |
                    (events & WATCH_HANGUP ? UV_DISCONNECT : 0);
    if (uv_events)
        uv_poll_start(&u->uv, uv_events, poll_ready);
    else
        uv_poll_stop(&u->uv);
}

static void stop_watch(struct watch *w)
{
    struct uv_watch *u = w->impl;
    w->impl = NULL;
    u->watch = NULL;
    uv_poll_stop(&u->uv);
    uv_close((uv_handle_t *)&u->uv, free_watch);
}

void watch_stop(struct watch *w)
{
    if (w->impl)
        stop_watch(w);
}

/* ------------------------------------------------------------------- signals */

struct uv_sig {
    uv_signal_t uv;
    struct signal_watch *watch;
};

static void free_signal(uv_handle_t *h)
{
    mem_free(CONTAINER_OF((uv_signal_t *)h, struct uv_sig, uv));
}

static void signal_caught(uv_signal_t *s, int signum)
{
    struct signal_watch *w = CONTAINER_OF(s, struct uv_sig, uv)->watch;
    woke(s->loop);
    if (w)
        w->caught(w, signum);
}

static void start_signal(struct loop *l, struct signal_watch *w, int signum)
{
    struct uv_sig *u = MEM_NEW(struct uv_sig);
    u->watch = w;
    w->impl = u;
    uv_signal_init(&self(l)->uv, &u->uv);
    uv_signal_start(&u->uv, signal_caught, signum);
    uv_unref((uv_handle_t *)&u->uv);
}

void signal_watch_stop(struct signal_watch *w)
{
    struct uv_sig *u = w->impl;
    if (!u)
        return;
    w->impl = NULL;
    u->watch = NULL;
    uv_close((uv_handle_t *)&u->uv, free_signal);
}

/* ---------------------------------------------------------------------- loop */

static const struct loop_ops uv_ops = {
    .fresh_ns = boottime_ns,
    .wall_ms = wall_ms,
    .random = random_bytes,
    .wake = wake,
    .job_start = start_job,
    .watch_set = set_watch,
    .signal_start = start_signal,
};

struct loop *uv_loop_create(void)
{
    struct uv_loop *u = MEM_NEW(struct uv_loop);
    int r = uv_loop_init(&u->uv);
    if (r) {
        fprintf(stderr, "ashlar: the event loop cannot be set up: %s\n", uv_strerror(r));
        abort();
    }
    uv_timer_init(&u->uv, &u->sleep);
    loop_init(&u->base, &uv_ops, boottime_ns(&u->base));
    u->base.resting = true;
    return &u->base;
}

static void slept(uv_timer_t *t)
{
    (void)t;
}

/* Lets libuv wait for as long as nothing of ours is due. Rounds up: a timer never fires early. */
static bool poll_once(struct uv_loop *u)
{
    uint64_t due;
    u->woken = false;
    if (!loop_next_due(&u->base, &due)) {
        uv_timer_stop(&u->sleep);
        return uv_run(&u->uv, UV_RUN_ONCE) != 0 || !list_empty(&u->base.tasks) || u->base.timer_count;
    }
    uint64_t now = boottime_ns(&u->base);
    if (due <= now) {
        uv_run(&u->uv, UV_RUN_NOWAIT);
        return true;
    }
    uv_update_time(&u->uv);
    /* It repeats because libuv runs timers before it waits: one that is due by then would leave nothing to
     * end the wait. */
    uv_timer_start(&u->sleep, slept, (due - now + NS_PER_MS - 1) / NS_PER_MS, 1);
    uv_run(&u->uv, UV_RUN_ONCE);
    return true;
}

void uv_loop_run(struct loop *l)
{
    struct uv_loop *u = self(l);
    u->stopped = false;
    l->resting = false;
    while (!u->stopped) {
        loop_run_ready(l, boottime_ns(l));
        if (u->stopped || !poll_once(u))
            break;
    }
    l->resting = true;
}

void uv_loop_stop(struct loop *l)
{
    self(l)->stopped = true;
}

void uv_loop_destroy(struct loop *l)
{
    struct uv_loop *u = self(l);
    uv_close((uv_handle_t *)&u->sleep, NULL);
    uv_run(&u->uv, UV_RUN_DEFAULT);
    int r = uv_loop_close(&u->uv);
    assert(r == 0);
    (void)r;
    loop_finish(l);
    mem_free(u);
}
