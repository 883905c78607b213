/* seeds.h - many runs, each twice and in a process of its own. */
#ifndef SIM_SEEDS_H
#define SIM_SEEDS_H

#include <stdbool.h>
#include <stdint.h>

struct seeds {
    uint64_t start, count;
    unsigned jobs;    /* processes at once */
    unsigned seconds; /* one run may take */
    bool quiet;       /* failures print nothing */
};

/* Runs a child with the job; true when it returned without a violation and within that time. */
bool seeds_isolated(void (*job)(void *ctx), void *ctx, unsigned seconds, bool quiet);
/* Runs the seed twice; ends the process when the traces differ. tail: a failure shows what led to it. */
void seeds_run_twice(uint64_t seed, bool tail);
/* How many failed. */
uint64_t seeds_run(const struct seeds *);

#endif
