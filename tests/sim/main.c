/* sim: the real engine in a simulated world. See usage. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coverage.h"
#include "exhaustive.h"
#include "run.h"
#include "scenario.h"
#include "seeds.h"
#include "sim.h"

static const char usage[] =
    "usage: sim [--seeds N] [--start S]   that many random runs; default 200 from 1\n"
    "       sim --seed N [--trace]        one random run, and what led to its failure\n"
    "       sim --list                    the directed tests\n"
    "       sim --scenario NAME [--trace] one of them; 'all' for all\n"
    "       sim --exhaustive [--seeds N]  short scripts, crashed at every change of the bucket, then at "
    "pairs\n"
    "options: --jobs N (processes at once), --marks (what was reached and what never), --limit SECONDS (one "
    "run)\n";

struct options {
    uint64_t seeds, start, seed;
    const char *scenario;
    bool one, trace, list, exhaustive, marks;
    unsigned jobs, limit;
};

static bool number(const char *text, uint64_t *to)
{
    char *end;
    errno = 0;
    *to = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno;
}

static bool parse(int argc, char **argv, struct options *o)
{
    static const struct option longs[] = {{"seeds", 1, 0, 'n'},
                                          {"start", 1, 0, 's'},
                                          {"seed", 1, 0, 'o'},
                                          {"trace", 0, 0, 't'},
                                          {"list", 0, 0, 'l'},
                                          {"scenario", 1, 0, 'c'},
                                          {"exhaustive", 0, 0, 'x'},
                                          {"jobs", 1, 0, 'j'},
                                          {"marks", 0, 0, 'm'},
                                          {"limit", 1, 0, 'i'},
                                          {0}};
    uint64_t n = 0;
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (strchr("nsoji", c) && c != '?' && !number(optarg, &n))
            return false;
        switch (c) {
        case 'n':
            o->seeds = n;
            break;
        case 's':
            o->start = n;
            break;
        case 'o':
            o->seed = n;
            o->one = true;
            break;
        case 'j':
            o->jobs = (unsigned)n;
            break;
        case 'i':
            o->limit = (unsigned)n;
            break;
        case 't':
            o->trace = true;
            break;
        case 'l':
            o->list = true;
            break;
        case 'c':
            o->scenario = optarg;
            break;
        case 'x':
            o->exhaustive = true;
            break;
        case 'm':
            o->marks = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc;
}

static int many(const struct options *o)
{
    struct seeds s = {.start = o->start, .count = o->seeds, .jobs = o->jobs, .seconds = o->limit};
    uint64_t failed = seeds_run(&s);
    unsigned missed = coverage_report(o->marks);
    if (missed)
        printf("%u marks were never reached%s\n", missed, o->marks ? "" : " (--marks names them)");
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", o->seeds - failed, failed);
    return failed != 0;
}

int main(int argc, char **argv)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.start = 1, .limit = 120, .jobs = processors > 0 ? (unsigned)processors : 1};
    if (!parse(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    coverage_init();
    if (o.list) {
        scenario_list();
        return 0;
    }
    if (o.scenario)
        return scenario_run(o.scenario, o.trace);
    if (o.exhaustive)
        return exhaustive_run(o.start, o.seeds ? o.seeds : 3, o.jobs);
    if (o.one && o.trace)
        return run_seed(o.seed, true) == 0;
    if (o.one) {
        seeds_run_twice(o.seed, true);
        puts("1 passed, 0 failed");
        return 0;
    }
    if (!o.seeds)
        o.seeds = 200;
    return many(&o);
}
