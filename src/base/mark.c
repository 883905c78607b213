#include "base/mark.h"

void (*mark_hook)(const char *name);

#ifdef ASHLAR_FAULTS

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static char crash_at[128];
static atomic_long passages_left;

static void count_down(const char *name)
{
    if (strcmp(name, crash_at) == 0 && atomic_fetch_sub(&passages_left, 1) == 1)
        raise(SIGKILL);
}

__attribute__((constructor)) static void read_environment(void)
{
    const char *text = getenv("ASHLAR_CRASH_AT");
    size_t bytes = text ? strlen(text) + 1 : 0;
    if (!text || bytes > sizeof crash_at)
        return;
    memcpy(crash_at, text, bytes);
    char *colon = strchr(crash_at, ':');
    long n = colon ? strtol(colon + 1, NULL, 10) : 1;
    if (colon)
        *colon = '\0';
    passages_left = n > 0 ? n : 1;
    mark_hook = count_down;
}

#endif
