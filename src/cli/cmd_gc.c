#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/runtime.h"
#include "volume/collect.h"

struct gc_options {
    bool dry_run, once;
    uint64_t patience_ns;
};

#define AT(field) offsetof(struct gc_options, field)
/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "dry-run", .kind = OPTION_SWITCH, .at = AT(dry_run),
     .help = "say how much garbage there is; change nothing and wait for nobody"},
    {.name = "once", .kind = OPTION_SWITCH, .at = AT(once),
     .help = "one turn and no more: what is condemned in it goes in a later one"},
    {.name = "patience", .value = "DURATION", .kind = OPTION_DURATION, .at = AT(patience_ns),
     .fallback = "10m", .min = NS_PER_S,
     .help = "for a server that beats but does not acknowledge; then its disks are taken from it"},
};
/* clang-format on */

struct gc {
    struct runtime runtime;
    struct collect collect;
    bool terminal, drawn;
    char awaited[300];
};

static struct gc *of(struct collect *q)
{
    return CONTAINER_OF(q, struct gc, collect);
}

static void wipe(struct gc *g)
{
    if (g->drawn)
        fputs("\r\033[K", stderr);
    g->drawn = false;
}

static void phase(struct collect *q, enum collect_phase p)
{
    static const char *const texts[] = {[COLLECT_WAITS] = "every server acknowledges",
                                        [COLLECT_MARKS] = "what is referred to is marked",
                                        [COLLECT_SWEEPS] = "objects are gone through",
                                        [COLLECT_TIDIES] = "logs of removed disks go"};
    struct gc *g = of(q);
    g->awaited[0] = '\0';
    if (!g->terminal)
        return;
    fprintf(stderr, "\rgc: %s\033[K", texts[p]);
    (void)fflush(stderr);
    g->drawn = true;
}

/* Each once a turn. */
static void waits(struct collect *q, const char *for_what)
{
    struct gc *g = of(q);
    if (strcmp(g->awaited, for_what) == 0)
        return;
    snprintf(g->awaited, sizeof g->awaited, "%s", for_what);
    wipe(g);
    fprintf(stderr, "gc: waits for %s\n", for_what);
}

static void done(struct collect *q)
{
    runtime_wake(&of(q)->runtime);
}

static void interrupted(struct runtime *r, int count)
{
    struct gc *g = CONTAINER_OF(r, struct gc, runtime);
    if (count > 2)
        _exit(fail("interrupted"));
    collect_cancel(&g->collect);
}

static void summarize(const struct gc *g)
{
    const struct collect_counts *n = &g->collect.counts;
    char all[SIZE_TEXT_MAX], live[SIZE_TEXT_MAX], garbage[SIZE_TEXT_MAX], deleted[SIZE_TEXT_MAX];
    if (g->collect.look_only)
        printf("%llu objects, %s; %s are referred to; garbage: %llu objects, %s\n",
               (unsigned long long)n->objects, size_format(n->bytes, all), size_format(n->live_bytes, live),
               (unsigned long long)n->garbage_objects, size_format(n->garbage_bytes, garbage));
    else
        printf(
            "deleted %llu objects, %s, and %llu logs and leftovers; %llu objects remain, %s, of which %s are "
            "referred to\n",
            (unsigned long long)n->deleted_objects, size_format(n->deleted_bytes, deleted),
            (unsigned long long)n->deleted_others, (unsigned long long)n->objects, size_format(n->bytes, all),
            size_format(n->live_bytes, live));
    if (n->fenced)
        printf("%llu disks were taken from servers that are not heard of\n", (unsigned long long)n->fenced);
    if (!g->collect.look_only && n->garbage_objects)
        printf("%llu objects, %s, are garbage and go in a later turn\n",
               (unsigned long long)n->garbage_objects, size_format(n->garbage_bytes, garbage));
}

static int run(const struct invocation *v)
{
    const struct gc_options *o = v->options;
    static struct gc g;
    int status = runtime_open(&g.runtime, v->store, o->dry_run ? RUNTIME_LOOK : RUNTIME_WRITE, NULL);
    if (status)
        return status;
    g.terminal = isatty(STDERR_FILENO);
    g.runtime.interrupted = interrupted;
    g.collect = (struct collect){.engine = g.runtime.engine,
                                 .look_only = o->dry_run,
                                 .once = o->once,
                                 .patience_ns = o->patience_ns,
                                 .waits = waits,
                                 .phase = phase,
                                 .done = done};
    collect_start(&g.collect);
    runtime_wait(&g.runtime);
    g.runtime.interrupted = NULL;
    wipe(&g);
    if (g.collect.err == ERR_CANCELED)
        status = fail("interrupted; what is not deleted yet goes when gc is run again");
    else if (g.collect.err)
        status = fail_with(g.collect.err, &g.collect.complaint);
    else
        summarize(&g);
    return runtime_close(&g.runtime, status);
}

const struct command gc_command = {
    .name = "gc",
    .summary = "delete what no disk refers to any more",
    .details =
        "Goes through the store turn by turn, until nothing more can go, and says whom it waits for.\n"
        "Servers may go on meanwhile. One that is silent for twice its lease time is declared dead, and\n"
        "the disks it held are free. What is overwritten or removed while gc runs goes in a later run.\n"
        "It may be interrupted at any moment and run again, also twice at once.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct gc_options),
    .log_level = LOG_WARN,
    .run = run,
};
