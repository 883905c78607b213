#include "cli/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/bytes.h"

enum { BAR_MAX = 40, EVERY_MS = 200, AROUND_BAR = 58 };

static int bar_width(void)
{
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || w.ws_col == 0)
        w.ws_col = 80;
    return MAX(0, MIN(BAR_MAX, (int)w.ws_col - AROUND_BAR));
}

static void draw(struct progress *p)
{
    char bar[BAR_MAX + 1], done[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], rate[SIZE_TEXT_MAX];
    int width = bar_width();
    double part = p->total ? (double)p->done / (double)p->total : 1;
    int full = (int)(part * width);
    memset(bar, '-', (size_t)width);
    memset(bar, '#', (size_t)full);
    bar[width] = '\0';
    double seconds = (double)progress_elapsed_ns(p) / (double)NS_PER_S;
    size_format(seconds > 0 ? (uint64_t)((double)p->done / seconds) : 0, rate);
    fprintf(stderr, "\r%s %3d%% %s%s%s%s of %s, %s/s\033[K", p->verb, (int)(part * 100), width ? "[" : "",
            bar, width ? "] " : "", size_format(p->done, done), size_format(p->total, total), rate);
    (void)fflush(stderr);
}

static void tick(struct timer *t)
{
    struct progress *p = CONTAINER_OF(t, struct progress, timer);
    draw(p);
    timer_start(p->loop, t, EVERY_MS * NS_PER_MS);
}

void progress_start(struct progress *p, struct loop *l, const char *verb, uint64_t total)
{
    *p = (struct progress){.loop = l, .verb = verb, .total = total, .started_ns = loop_fresh_ns(l)};
    p->shown = isatty(STDERR_FILENO);
    p->timer.fire = tick;
    if (p->shown)
        timer_start(l, &p->timer, EVERY_MS * NS_PER_MS);
}

void progress_add(struct progress *p, uint64_t bytes)
{
    p->done += bytes;
}

void progress_stop(struct progress *p)
{
    if (!p->shown)
        return;
    timer_stop(&p->timer);
    p->shown = false;
    fputs("\r\033[K", stderr);
    (void)fflush(stderr);
}

uint64_t progress_elapsed_ns(const struct progress *p)
{
    return loop_fresh_ns(p->loop) - p->started_ns;
}
