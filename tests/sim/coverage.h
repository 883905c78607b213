/* coverage.h - which marks (base/mark.h, sim_mark) were reached how often, counted across the processes of a
 * run. */
#ifndef SIM_COVERAGE_H
#define SIM_COVERAGE_H

#include <stdbool.h>
#include <stdint.h>

/* Before any fork. */
void coverage_init(void);
void coverage_hit(const char *name);
/* How many were never reached; prints every mark and its count, those never reached last. */
unsigned coverage_report(bool print);
uint64_t coverage_count(const char *name);
/* One of the engine's marks. */
const char *coverage_any(uint64_t random);

#endif
