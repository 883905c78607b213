#include "seeds.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "run.h"
#include "sim.h"

static void be_quiet(void)
{
    int null = open("/dev/null", O_WRONLY);
    dup2(null, STDERR_FILENO);
    dup2(null, STDOUT_FILENO);
}

static pid_t begin(void (*job)(void *), void *ctx, unsigned seconds, bool quiet)
{
    fflush(NULL);
    pid_t child = fork();
    if (child)
        return child;
    if (quiet)
        be_quiet();
    alarm(seconds);
    job(ctx);
    fflush(NULL);
    _Exit(0);
}

static bool ended_well(int status)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        fprintf(stderr, "FAILED: it took too long, or ran in circles\n");
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

bool seeds_isolated(void (*job)(void *ctx), void *ctx, unsigned seconds, bool quiet)
{
    int status = 1;
    pid_t child = begin(job, ctx, seconds, quiet);
    waitpid(child, &status, 0);
    return ended_well(status);
}

void seeds_run_twice(uint64_t seed, bool tail)
{
    char command[100];
    sim_set_tail(tail);
    snprintf(command, sizeof command, "make sim SEED=%llu", (unsigned long long)seed);
    sim_set_repeat(command);
    uint64_t first = run_seed(seed, false), second = run_seed(seed, false);
    if (first == second)
        return;
    fprintf(stderr, "FAILED: the same seed runs differently the second time\n  repeat with: %s\n", command);
    _Exit(1);
}

static void job(void *ctx)
{
    seeds_run_twice(*(const uint64_t *)ctx, false);
}

#define JOBS_MAX 64

struct slot {
    pid_t child;
    uint64_t seed;
};

static bool reap(struct slot *slots, unsigned n, bool quiet)
{
    int status = 1;
    pid_t child = wait(&status);
    for (unsigned i = 0; i < n; i++) {
        if (slots[i].child != child)
            continue;
        slots[i].child = 0;
        bool well = ended_well(status);
        if (!well && !quiet)
            fprintf(stderr, "seed %llu failed: make sim SEED=%llu\n", (unsigned long long)slots[i].seed,
                    (unsigned long long)slots[i].seed);
        return well;
    }
    return true;
}

uint64_t seeds_run(const struct seeds *s)
{
    struct slot slots[JOBS_MAX] = {{0}};
    unsigned n = s->jobs < 1 ? 1 : s->jobs > JOBS_MAX ? JOBS_MAX : s->jobs, busy = 0;
    uint64_t failed = 0;
    for (uint64_t i = 0; i < s->count || busy;) {
        if (i == s->count || busy == n) {
            failed += !reap(slots, n, s->quiet);
            busy--;
            continue;
        }
        struct slot *free_slot = slots;
        while (free_slot->child)
            free_slot++;
        free_slot->seed = s->start + i++;
        free_slot->child = begin(job, &free_slot->seed, s->seconds, s->quiet);
        busy++;
    }
    return failed;
}
