#include "loop/uv_loop.h"

#include <unistd.h>

#include <string.h>

#include "base/prng.h"
#include "unit.h"

static struct loop *loop;
static char seen[64];

static void note(char c)
{
    size_t n = strlen(seen);
    assert_true(n + 1 < sizeof seen);
    seen[n] = c;
}

static int setup(void **state)
{
    (void)state;
    loop = uv_loop_create();
    memset(seen, 0, sizeof seen);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    uv_loop_destroy(loop);
    return 0;
}

static struct task again;
static void run_again(struct task *t)
{
    (void)t;
    note('2');
}
static void run_first(struct task *t)
{
    (void)t;
    note('1');
    again.run = run_again;
    loop_post(loop, &again);
}

static void tasks_come_from_the_loop_in_order(void **state)
{
    (void)state;
    struct task a = {.run = run_first}, b = {.run = run_first}, gone = {.run = run_again};
    loop_post(loop, &a);
    loop_post(loop, &gone);
    loop_post(loop, &b);
    loop_post(loop, &a);
    task_cancel(&gone);
    assert_string_equal(seen, "");
    uv_loop_run(loop);
    assert_string_equal(seen, "112");
}

static void fire_a(struct timer *t)
{
    (void)t;
    note('a');
}
static void fire_b(struct timer *t)
{
    (void)t;
    note('b');
}
static void fire_c(struct timer *t)
{
    (void)t;
    note('c');
}

static void timers_fire_in_order_and_not_early(void **state)
{
    (void)state;
    struct timer a = {.fire = fire_a}, b = {.fire = fire_b}, c = {.fire = fire_c}, stopped = {.fire = fire_c};
    uint64_t start = loop_fresh_ns(loop);
    timer_start(loop, &c, 20 * NS_PER_MS);
    timer_start(loop, &stopped, NS_PER_MS);
    timer_start(loop, &a, 5 * NS_PER_MS);
    timer_start(loop, &b, 5 * NS_PER_MS);
    timer_stop(&stopped);
    uv_loop_run(loop);
    assert_string_equal(seen, "abc");
    assert_true(loop_fresh_ns(loop) - start >= 20 * NS_PER_MS);
}

static size_t fired;
static uint64_t last_due;
static void fire_ordered(struct timer *t)
{
    assert_true(t->due_ns >= last_due);
    last_due = t->due_ns;
    fired++;
}

static void many_timers_started_and_stopped(void **state)
{
    (void)state;
    static struct timer timers[1000];
    struct prng p;
    prng_seed(&p, 7);
    memset(timers, 0, sizeof timers);
    fired = last_due = 0;
    for (size_t i = 0; i < 1000; i++) {
        timers[i].fire = fire_ordered;
        timer_start(loop, &timers[i], prng_below(&p, 20) * NS_PER_MS);
        timer_stop(&timers[prng_below(&p, i + 1)]);
    }
    size_t left = loop->timer_count;
    uv_loop_run(loop);
    assert_int_equal(fired, left);
    assert_int_equal(loop->timer_count, 0);
}

static void work(struct job *j)
{
    (void)j;
    usleep(1000);
}
static void job_done(struct job *j)
{
    (void)j;
    note('j');
}

static void jobs_come_back(void **state)
{
    (void)state;
    struct job a = {.work = work, .done = job_done}, b = {.work = work, .done = job_done};
    job_start(loop, &a);
    job_start(loop, &b);
    uv_loop_run(loop);
    assert_string_equal(seen, "jj");
}

static int fds[2];
static void readable(struct watch *w, unsigned events)
{
    char c;
    assert_true(events & WATCH_READ);
    assert_int_equal(read(fds[0], &c, 1), 1);
    note(c);
    if (c == 'y')
        watch_stop(w);
}

static void watches(void **state)
{
    (void)state;
    struct watch w = {.ready = readable};
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], "xy", 2), 2);
    watch_set(loop, &w, fds[0], WATCH_READ);
    uv_loop_run(loop);
    assert_string_equal(seen, "xy");
    close(fds[0]);
    close(fds[1]);
}

static uint64_t woken_ns, late_ns;
static struct timer late;
static void fire_late(struct timer *t)
{
    (void)t;
    late_ns = loop_fresh_ns(loop);
}
static void wake_and_time(struct watch *w, unsigned events)
{
    (void)events;
    woken_ns = loop_fresh_ns(loop);
    late.fire = fire_late;
    timer_start(loop, &late, 20 * NS_PER_MS);
    watch_stop(w);
}
static void write_later(struct job *j)
{
    (void)j;
    usleep(50000);
    assert_int_equal(write(fds[1], "x", 1), 1);
}
static void job_over(struct job *j)
{
    (void)j;
}

static void timers_started_after_a_sleep_do_not_count_it(void **state)
{
    (void)state;
    struct watch w = {.ready = wake_and_time};
    struct job j = {.work = write_later, .done = job_over};
    assert_int_equal(pipe(fds), 0);
    watch_set(loop, &w, fds[0], WATCH_READ);
    job_start(loop, &j);
    uv_loop_run(loop);
    assert_true(late_ns - woken_ns >= 19 * NS_PER_MS);
    close(fds[0]);
    close(fds[1]);
}

static void timers_started_outside_the_loop_count_from_then(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) { /* before the first run, and between two */
        usleep(50000);
        uint64_t start = loop_fresh_ns(loop);
        assert_true(loop_now_ns(loop) >= start);
        late.fire = fire_late;
        timer_start(loop, &late, 20 * NS_PER_MS);
        uv_loop_run(loop);
        assert_true(late_ns - start >= 20 * NS_PER_MS);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(tasks_come_from_the_loop_in_order), T(timers_fire_in_order_and_not_early),
          T(many_timers_started_and_stopped), T(jobs_come_back), T(watches),
          T(timers_started_after_a_sleep_do_not_count_it), T(timers_started_outside_the_loop_count_from_then))
