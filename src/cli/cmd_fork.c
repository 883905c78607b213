#include "base/bytes.h"
#include "cli/edit.h"

static int run(const struct invocation *v)
{
    char name[EXPORT_NAME_MAX + 1], child[EXPORT_NAME_MAX + 1], store[EDIT_STORE_NAME_MAX];
    const char *none;
    struct edit e = {.request = "fork", .verb = export_fork, .op = {.name = name, .child = child}};
    int status = edit_name("fork", v->arguments[0], EDIT_SNAPSHOT_MAY_BE, name, &e.op.snapshot);
    if (!status)
        status = edit_name("fork", v->arguments[1], EDIT_NO_SNAPSHOT, child, &none);
    if (!status)
        status = edit_run(v, &e, store);
    if (!status)
        printf("forked %s from %s in %s\n", child, v->arguments[0], store);
    return status;
}

const struct command fork_command = {
    .name = "fork",
    .arguments = {"SOURCE[@SNAPSHOT]", "NAME"},
    .summary = "make a disk from another one, at once",
    .details =
        "Makes the export NAME, which holds what SOURCE, or its SNAPSHOT, holds now. It can be written, and\n"
        "takes space only for what it changes. Both live on without each other. Takes a few requests,\n"
        "whatever the size. A snapshot can be forked whoever has its export open.\n",
    .log_level = LOG_WARN,
    .run = run,
};
