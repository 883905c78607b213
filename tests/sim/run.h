/* run.h - a whole random run: servers that come and go, exports that change hands, and everything that can
 * fail. */
#ifndef SIM_RUN_H
#define SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

/* Small exports only: for an engine that holds them whole. */
extern bool run_small;

/* Ends the process on a violation. Returns the hash of its trace. */
uint64_t run_seed(uint64_t seed, bool trace);

#endif
