#include <stddef.h>

#include "base/bytes.h"
#include "cli/edit.h"

struct rollback_options {
    bool discard;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "discard", .kind = OPTION_SWITCH, .at = offsetof(struct rollback_options, discard),
     .help = "do not save what the disk holds now"},
};
/* clang-format on */

static int run(const struct invocation *v)
{
    const struct rollback_options *o = v->options;
    char name[EXPORT_NAME_MAX + 1], store[EDIT_STORE_NAME_MAX];
    struct edit e = {
        .request = "rollback", .verb = export_rollback, .op = {.name = name, .discard = o->discard}};
    int status = edit_name("rollback", v->arguments[0], EDIT_SNAPSHOT, name, &e.op.snapshot);
    if (!status)
        status = edit_run(v, &e, store);
    if (!status && e.op.saved[0])
        printf("rolled %s back to %s in %s; what it held before is %s@%s\n", name, e.op.snapshot, store, name,
               e.op.saved);
    else if (!status)
        printf("rolled %s back to %s in %s\n", name, e.op.snapshot, store);
    return status;
}

const struct command rollback_command = {
    .name = "rollback",
    .arguments = {"NAME@SNAPSHOT"},
    .summary = "make a disk what it was",
    .details =
        "The export NAME holds again what its snapshot holds, and has its size. What it held before becomes\n"
        "a snapshot of its own, before-rollback-DATE-TIME, unless --discard is given or nothing differs.\n"
        "Refused while a client is connected.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct rollback_options),
    .log_level = LOG_WARN,
    .run = run,
};
