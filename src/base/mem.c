#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_end(void *p, size_t bytes)
{
    if (!p) {
        fprintf(stderr, "ashlar: out of memory (%zu bytes); what was flushed is safe\n", bytes);
        abort();
    }
    return p;
}

void *mem_alloc(size_t bytes)
{
    return or_end(malloc(bytes ? bytes : 1), bytes);
}

void *mem_calloc(size_t count, size_t bytes)
{
    return or_end(calloc(count ? count : 1, bytes ? bytes : 1), bytes);
}

void *mem_realloc(void *p, size_t bytes)
{
    return or_end(realloc(p, bytes ? bytes : 1), bytes);
}

void mem_free(void *p)
{
    free(p);
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

void *mem_dup(const void *p, size_t bytes)
{
    void *copy = mem_alloc(bytes);
    if (bytes)
        memcpy(copy, p, bytes);
    return copy;
}
