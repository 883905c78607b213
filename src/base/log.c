#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic(enum log_level) level = LOG_INFO;
static int64_t (*clock_fn)(void *);
static void *clock_ctx;
static void (*sink_fn)(void *, const char *);
static void *sink_ctx;

void log_set_level(enum log_level l)
{
    level = l;
}

bool log_level_parse(const char *text, enum log_level *l)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "off"};
    for (int i = 0; i <= LOG_OFF; i++)
        if (strcmp(text, names[i]) == 0) {
            *l = (enum log_level)i;
            return true;
        }
    return false;
}

void log_set_clock(int64_t (*wall_ms)(void *), void *ctx)
{
    clock_fn = wall_ms;
    clock_ctx = ctx;
}

void log_set_sink(void (*sink)(void *, const char *), void *ctx)
{
    sink_fn = sink;
    sink_ctx = ctx;
}

bool log_on(enum log_level l)
{
    return l >= level;
}

static int64_t now_ms(void)
{
    if (clock_fn)
        return clock_fn(clock_ctx);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static size_t escape(const char *from, char *to, size_t room)
{
    size_t n = 0;
    for (; *from && n + 5 < room; from++) {
        unsigned char c = (unsigned char)*from;
        if (c >= 0x20 && c != 0x7f)
            to[n++] = (char)c;
        else
            n += (size_t)snprintf(to + n, room - n, "\\x%02x", c);
    }
    return n;
}

void log_line(enum log_level l, const char *area, const char *fmt, ...)
{
    static const char *const names[] = {"DEBUG", "INFO", "WARN", "ERROR"};
    if (!log_on(l))
        return;
    int64_t ms = now_ms();
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    gmtime_r(&s, &tm);
    char line[1200], text[1000];
    size_t n = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    n += (size_t)snprintf(line + n, sizeof line - n, ".%03dZ %-5s %s: ", (int)(ms % 1000), names[l], area);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    n += escape(text, line + n, sizeof line - n - 1);
    line[n] = '\0';
    if (sink_fn) {
        sink_fn(sink_ctx, line);
        return;
    }
    line[n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, n);
    (void)ignored;
}
