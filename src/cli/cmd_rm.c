#include "cli/command.h"
#include "cli/export_run.h"

static int run(const struct invocation *v)
{
    const char *name = v->arguments[0];
    int status = export_name_status(name);
    if (status)
        return status;
    struct runtime r;
    status = runtime_open(&r, v->store, RUNTIME_WRITE, NULL);
    if (status)
        return status;
    struct export_run e = {.op = {.name = name}};
    enum err err = export_run(&r, export_remove, &e);
    if (err == ERR_NOTFOUND)
        status = fail("%s: there is no export \"%s\"; ashlar ls lists them", objstore_name(r.store), name);
    else if (err)
        status = fail_with(err, &e.op.complaint);
    else
        printf("removed %s from %s\n", name, objstore_name(r.store));
    return runtime_close(&r, status);
}

const struct command rm_command = {
    .name = "rm",
    .arguments = {"NAME"},
    .summary = "remove a disk",
    .details = "Removes the export NAME. One that a live server has open is refused.\n",
    .log_level = LOG_WARN,
    .run = run,
};
