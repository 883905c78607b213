/* scenario.h - directed tests: scripts for the simulated bucket and its servers, one for each name. */
#ifndef SIM_SCENARIO_H
#define SIM_SCENARIO_H

#include <stdbool.h>

#include "script.h"

struct scenario {
    const char *area, *name;
    void (*play)(struct script *);
};

/* Each file of scenarios ends with one of these; the last has no name. */
extern const struct scenario scenarios_fencing[], scenarios_takeover[], scenarios_manifest[], scenarios_log[],
    scenarios_data[], scenarios_copies[], scenarios_breaks[], scenarios_meetings[], scenarios_collection[],
    scenarios_memory[], scenarios_marking[], scenarios_pins[];

void scenario_list(void);
/* "all" or a name; what main returns. */
int scenario_run(const char *name, bool trace);

#endif
