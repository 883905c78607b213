#include "scenario.h"

#include <stdio.h>
#include <string.h>

#include "coverage.h"
#include "seeds.h"

#define SECONDS 120

static const struct scenario *const areas[] = {scenarios_fencing,    scenarios_takeover, scenarios_manifest,
                                               scenarios_log,        scenarios_copies,   scenarios_data,
                                               scenarios_breaks,     scenarios_meetings, scenarios_memory,
                                               scenarios_collection, scenarios_marking,  scenarios_pins};
#define AREAS (sizeof areas / sizeof areas[0])

static bool tracing;

void scenario_list(void)
{
    for (size_t a = 0; a < AREAS; a++)
        for (const struct scenario *s = areas[a]; s->name; s++)
            printf("%-9s %s\n", s->area, s->name);
}

static void play(void *ctx)
{
    const struct scenario *s = *(const struct scenario *const *)ctx;
    struct script t;
    char repeat[160];
    snprintf(repeat, sizeof repeat, "build/tests/sim/sim --scenario %s", s->name);
    sim_set_repeat(repeat);
    script_init(&t, 1, NULL);
    t.sim->trace = tracing;
    s->play(&t);
    script_finish(&t);
}

int scenario_run(const char *name, bool trace)
{
    unsigned passed = 0, failed = 0;
    bool all = strcmp(name, "all") == 0;
    tracing = trace;
    sim_set_tail(!all);
    for (size_t a = 0; a < AREAS; a++)
        for (const struct scenario *s = areas[a]; s->name; s++) {
            if (!all && strcmp(s->name, name) != 0)
                continue;
            bool well = seeds_isolated(play, &s, SECONDS, false);
            printf("%s %s: %s\n", well ? "ok    " : "FAILED", s->area, s->name);
            passed += well;
            failed += !well;
        }
    if (!passed && !failed) {
        fprintf(stderr, "sim: no directed test is called '%s' (--list shows them)\n", name);
        return 2;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
