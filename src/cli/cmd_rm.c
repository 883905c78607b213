#include "base/bytes.h"
#include "cli/edit.h"

static int run(const struct invocation *v)
{
    char name[EXPORT_NAME_MAX + 1], store[EDIT_STORE_NAME_MAX];
    struct edit e = {.request = "remove", .verb = export_remove, .op = {.name = name}};
    int status = edit_name("rm", v->arguments[0], EDIT_SNAPSHOT_MAY_BE, name, &e.op.snapshot);
    if (e.op.snapshot) {
        e.verb = export_remove_snapshot;
        e.request = "remove-snapshot";
    }
    if (!status)
        status = edit_run(v, &e, store);
    if (!status)
        printf("removed %s from %s\n", v->arguments[0], store);
    return status;
}

const struct command rm_command = {
    .name = "rm",
    .arguments = {"NAME[@SNAPSHOT]"},
    .summary = "remove a disk or a snapshot",
    .details = "Removes the export NAME with all its snapshots, or one of its snapshots. Forks live on, and "
               "the name\n"
               "is free at once. An export that a client is connected to is refused.\n",
    .log_level = LOG_WARN,
    .run = run,
};
