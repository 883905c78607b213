#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/check.h"
#include "cli/command.h"
#include "volume/gc/remains.h"

struct check_options {
    bool read_data, repair;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "read-data", .kind = OPTION_SWITCH, .at = offsetof(struct check_options, read_data),
     .help = "read every object that is referred to, and compare it with its name"},
    {.name = "repair", .kind = OPTION_SWITCH, .at = offsetof(struct check_options, repair),
     .help = "discard the logs of removed exports, and what dead probes have left"},
};
/* clang-format on */

struct repairing {
    struct remains remains;
    struct runtime *runtime;
};

static void repaired(struct remains *r)
{
    runtime_wake(CONTAINER_OF(r, struct repairing, remains)->runtime);
}

static void interrupted(struct runtime *r, int count)
{
    (void)count;
    remains_cancel(r->interrupted_ctx);
}

/* What nothing can ever refer to again. Objects are the collector's, which knows when nobody is about to. */
static int repair(struct runtime *r)
{
    struct repairing *x = MEM_NEW(struct repairing);
    x->runtime = r;
    x->remains.engine = r->engine;
    x->remains.done = repaired;
    r->interrupted = interrupted;
    r->interrupted_ctx = &x->remains;
    remains_start(&x->remains);
    runtime_wait(r);
    r->interrupted = NULL;
    enum err err = x->remains.err;
    if (!err)
        printf("discarded %" PRIu64
               " objects that nothing can refer to: logs of removed exports, old probes\n",
               x->remains.deleted);
    mem_free(x);
    return err ? fail("check: repairing ended early: %s", err_text(err)) : STATUS_DONE;
}

static int summarize(const struct check_result *r)
{
    char size[SIZE_TEXT_MAX], bad[SIZE_TEXT_MAX];
    printf("%" PRIu64 " exports, %" PRIu64 " snapshots, %" PRIu64 " pages, %" PRIu64 " objects", r->exports,
           r->snapshots, r->pages, r->objects);
    if (r->bytes_read)
        printf(", of which %s were read", size_format(r->bytes_read, size));
    printf("\n");
    if (!r->missing && !r->damaged && !r->doubts)
        return STATUS_DONE;
    return fail("check: %" PRIu64 " objects are missing, %" PRIu64 " are damaged; %s in %" PRIu64
                " ranges cannot be read",
                r->missing, r->damaged + r->doubts, size_format(r->bad_bytes, bad), r->bad_ranges);
}

static int run(const struct invocation *v)
{
    const struct check_options *o = v->options;
    struct check_result result;
    struct complaint why = {.text = ""};
    struct runtime r;
    int status = runtime_open(&r, v->store, o->repair ? RUNTIME_WRITE : RUNTIME_LOOK, NULL);
    if (status)
        return status;
    enum err err = check_run(&r, o->read_data, &result, &why);
    status = err ? fail("check: %s", why.text[0] ? why.text : err_text(err)) : summarize(&result);
    if (!err && o->repair) {
        int repaired_status = repair(&r);
        status = status ? status : repaired_status;
    }
    return runtime_close(&r, status);
}

const struct command check_command = {
    .name = "check",
    .summary = "see whether everything is there and whole",
    .details =
        "Goes through every export, snapshot and log, reads every page of their maps, and sees that every\n"
        "object they refer to is there. What is missing or damaged is named, and so are the exports,\n"
        "snapshots and ranges concerned; everything else stays readable. Nothing is changed without\n"
        "--repair, which discards only what nothing can ever refer to again, and says how much; objects\n"
        "that nothing refers to now are gc's. The status is 1 when something is wrong.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct check_options),
    .log_level = LOG_ERROR,
    .run = run,
};
