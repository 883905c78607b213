#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const texts[] = {
#define X(name, text) [ERR_##name] = text,
    ERR_LIST(X)
#undef X
};

const char *err_text(enum err e)
{
    return (unsigned)e < ERR_COUNT ? texts[e] : "unknown error";
}

static const char *const names[] = {
#define X(name, text) [ERR_##name] = #name,
    ERR_LIST(X)
#undef X
};

const char *err_name(enum err e)
{
    return (unsigned)e < ERR_COUNT ? names[e] : "UNKNOWN";
}

enum err complain(struct complaint *c, enum err e, const char *fmt, ...)
{
    if (c) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(c->text, sizeof c->text, fmt, ap);
        va_end(ap);
    }
    return e;
}
