#include "base/bytes.h"
#include "cli/edit.h"

static int run(const struct invocation *v)
{
    char name[EXPORT_NAME_MAX + 1], store[EDIT_STORE_NAME_MAX];
    struct edit e = {.request = "snapshot", .verb = export_snapshot, .op = {.name = name}};
    int status = edit_name("snapshot", v->arguments[0], EDIT_SNAPSHOT, name, &e.op.snapshot);
    if (!status)
        status = edit_run(v, &e, store);
    if (!status)
        printf("took %s@%s in %s\n", name, e.op.snapshot, store);
    return status;
}

const struct command snapshot_command = {
    .name = "snapshot",
    .arguments = {"NAME@SNAPSHOT"},
    .summary = "keep what a disk holds now",
    .details =
        "Takes a snapshot of the export NAME: what it holds now, kept under the name SNAPSHOT until that\n"
        "is removed. It takes no space until the export changes. It holds everything that was answered\n"
        "before the command was given, flushed or not; a file system in it is as after a power cut.\n"
        "An export has at most 1,000 snapshots.\n",
    .log_level = LOG_WARN,
    .run = run,
};
