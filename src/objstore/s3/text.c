#include "objstore/s3/text.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static void make_room(struct text *t, size_t more)
{
    size_t need = t->bytes + more + 1;
    if (need <= t->room)
        return;
    t->room = need < 128 ? 128 : need + need / 2;
    t->at = mem_realloc(t->at, t->room);
}

void text_add_bytes(struct text *t, const void *bytes, size_t n)
{
    make_room(t, n);
    if (n)
        memcpy(t->at + t->bytes, bytes, n);
    t->bytes += n;
    t->at[t->bytes] = '\0';
}

void text_add(struct text *t, const char *s)
{
    text_add_bytes(t, s, strlen(s));
}

void text_addf(struct text *t, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    make_room(t, (size_t)n);
    vsnprintf(t->at + t->bytes, (size_t)n + 1, fmt, again);
    va_end(again);
    t->bytes += (size_t)n;
}

void text_clear(struct text *t)
{
    t->bytes = 0;
    if (t->at)
        t->at[0] = '\0';
}

void text_finish(struct text *t)
{
    mem_free(t->at);
    memset(t, 0, sizeof *t);
}

const char *text_of(const struct text *t)
{
    return t->at ? t->at : "";
}
