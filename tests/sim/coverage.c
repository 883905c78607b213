#include "coverage.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "sim.h"

#define MARKS_MAX 1024

static const char *names[MARKS_MAX];
static size_t name_count;
static atomic_uint_least64_t *counts;

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void coverage_init(void)
{
    for (const char *const *m = __start_marks; m < __stop_marks && name_count < MARKS_MAX; m++)
        names[name_count++] = *m;
    qsort(names, name_count, sizeof *names, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < name_count; i++)
        if (!kept || strcmp(names[i], names[kept - 1]) != 0)
            names[kept++] = names[i];
    name_count = kept;
    counts =
        mmap(NULL, MARKS_MAX * sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert(counts != MAP_FAILED);
}

static size_t find(const char *name)
{
    const char **found = bsearch(&name, names, name_count, sizeof *names, by_name);
    return found ? (size_t)(found - names) : MARKS_MAX;
}

void coverage_hit(const char *name)
{
    size_t i = counts ? find(name) : MARKS_MAX;
    if (i < MARKS_MAX)
        atomic_fetch_add_explicit(&counts[i], 1, memory_order_relaxed);
}

uint64_t coverage_count(const char *name)
{
    size_t i = counts ? find(name) : MARKS_MAX;
    return i < MARKS_MAX ? counts[i] : 0;
}

const char *coverage_any(uint64_t random)
{
    for (size_t i = 0; i < name_count; i++) {
        const char *name = names[(random + i) % name_count];
        if (strncmp(name, "sim.", 4) != 0)
            return name;
    }
    return "none";
}

unsigned coverage_report(bool print)
{
    unsigned missed = 0;
    for (size_t i = 0; i < name_count; i++)
        if (counts[i] && print)
            printf("  %10llu  %s\n", (unsigned long long)counts[i], names[i]);
    for (size_t i = 0; i < name_count; i++)
        if (!counts[i]) {
            missed++;
            if (print)
                printf("       never  %s\n", names[i]);
        }
    return missed;
}
