#include "loop/loop.h"

#include <assert.h>
#include <string.h>

#include "base/mem.h"

void loop_init(struct loop *l, const struct loop_ops *ops, uint64_t now_ns)
{
    memset(l, 0, sizeof *l);
    l->ops = ops;
    l->now_ns = now_ns;
    list_init(&l->tasks);
}

void loop_finish(struct loop *l)
{
    mem_free(l->timers);
    l->timers = NULL;
    l->timer_count = l->timer_room = 0;
}

uint64_t loop_now_ns(const struct loop *l)
{
    return l->resting ? loop_fresh_ns(l) : l->now_ns;
}

uint64_t loop_fresh_ns(const struct loop *l)
{
    return l->ops->fresh_ns(l);
}

int64_t loop_wall_ms(struct loop *l)
{
    return l->ops->wall_ms(l);
}

void loop_random(struct loop *l, void *to, size_t bytes)
{
    l->ops->random(l, to, bytes);
}

void loop_post(struct loop *l, struct task *t)
{
    if (link_in_list(&t->link))
        return;
    bool first = list_empty(&l->tasks);
    list_push(&l->tasks, &t->link);
    if (first)
        l->ops->wake(l);
}

void task_cancel(struct task *t)
{
    list_remove(&t->link);
}

/* The heap counts places from 1, so that a zeroed timer is a stopped one. */

static bool before(const struct timer *a, const struct timer *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void put(struct loop *l, size_t place, struct timer *t)
{
    l->timers[place - 1] = t;
    t->place = place;
}

static void sift_up(struct loop *l, struct timer *t, size_t place)
{
    for (; place > 1 && before(t, l->timers[place / 2 - 1]); place /= 2)
        put(l, place, l->timers[place / 2 - 1]);
    put(l, place, t);
}

static void sift_down(struct loop *l, struct timer *t, size_t place)
{
    for (size_t child; (child = place * 2) <= l->timer_count; place = child) {
        if (child < l->timer_count && before(l->timers[child], l->timers[child - 1]))
            child++;
        if (!before(l->timers[child - 1], t))
            break;
        put(l, place, l->timers[child - 1]);
    }
    put(l, place, t);
}

void timer_start(struct loop *l, struct timer *t, uint64_t delay_ns)
{
    timer_stop(t);
    if (l->timer_count == l->timer_room) {
        l->timer_room = l->timer_room ? 2 * l->timer_room : 16;
        l->timers = mem_realloc(l->timers, l->timer_room * sizeof(struct timer *));
    }
    t->loop = l;
    uint64_t now = loop_now_ns(l);
    t->due_ns = delay_ns > UINT64_MAX - now ? UINT64_MAX : now + delay_ns;
    t->order = l->timer_order++;
    sift_up(l, t, ++l->timer_count);
    if (t->place == 1)
        l->ops->wake(l);
}

void timer_stop(struct timer *t)
{
    if (!t->place)
        return;
    struct loop *l = t->loop;
    struct timer *last = l->timers[--l->timer_count];
    size_t place = t->place;
    t->place = 0;
    if (last == t)
        return;
    if (place > 1 && before(last, l->timers[place / 2 - 1]))
        sift_up(l, last, place);
    else
        sift_down(l, last, place);
}

void job_start(struct loop *l, struct job *j)
{
    l->ops->job_start(l, j);
}

void watch_set(struct loop *l, struct watch *w, int fd, unsigned events)
{
    l->ops->watch_set(l, w, fd, events);
}

void signal_watch_start(struct loop *l, struct signal_watch *s, int signum)
{
    l->ops->signal_start(l, s, signum);
}

static void run_tasks(struct loop *l)
{
    struct list round;
    struct link *k;
    list_init(&round);
    list_move_all(&round, &l->tasks);
    while ((k = list_pop(&round))) {
        struct task *t = CONTAINER_OF(k, struct task, link);
        t->run(t);
    }
}

void loop_run_ready(struct loop *l, uint64_t now_ns)
{
    assert(now_ns >= l->now_ns);
    l->now_ns = now_ns;
    uint64_t started_before = l->timer_order;
    while (l->timer_count && l->timers[0]->due_ns <= now_ns && l->timers[0]->order < started_before) {
        struct timer *t = l->timers[0];
        timer_stop(t);
        t->fire(t);
    }
    run_tasks(l);
}

bool loop_next_due(const struct loop *l, uint64_t *due_ns)
{
    if (!list_empty(&l->tasks)) {
        *due_ns = l->now_ns;
        return true;
    }
    if (!l->timer_count)
        return false;
    *due_ns = l->timers[0]->due_ns;
    return true;
}
