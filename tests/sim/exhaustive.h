/* exhaustive.h - short scripts run again and again, with a crash at every change that reaches the bucket:
 * before it is applied, and after it was but before anybody knows; then at pairs of them, the second while
 * recovering. */
#ifndef SIM_EXHAUSTIVE_H
#define SIM_EXHAUSTIVE_H

#include <stdint.h>

/* That many scripts; what main returns. */
int exhaustive_run(uint64_t start, uint64_t scripts, unsigned jobs);

#endif
