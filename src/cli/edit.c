#include "cli/edit.h"

#include <stdio.h>
#include <string.h>

int edit_name(const char *command, const char *argument, enum edit_snapshot which,
              char name[EXPORT_NAME_MAX + 1], const char **snapshot)
{
    struct complaint c = {.text = ""};
    if (volume_name_split(argument, name, snapshot, &c))
        return fail_with(ERR_INVALID, &c);
    if (which == EDIT_SNAPSHOT && !*snapshot)
        return misuse("%s: which snapshot? Write it as %s@NAME", command, argument);
    if (which == EDIT_NO_SNAPSHOT && *snapshot)
        return misuse("%s: \"%s\" names a snapshot, and an export is wanted", command, argument);
    return STATUS_DONE;
}

static int say_why(const struct runtime *r, const struct edit *e)
{
    const struct export_op *op = &e->op;
    const char *text = op->complaint.text;
    bool no_export = op->err == ERR_NOTFOUND && !strstr(text, "has no snapshot");
    if (no_export)
        return fail("%s: there is no export \"%s\"; ashlar ls lists them", objstore_name(r->store), op->name);
    return fail("%s", text[0] ? text : err_text(op->err));
}

int edit_run(const struct invocation *v, struct edit *e, char store[EDIT_STORE_NAME_MAX])
{
    struct runtime r;
    int status = runtime_open(&r, v->store, RUNTIME_WRITE, NULL);
    if (status)
        return status;
    struct export_run run = {.op = e->op};
    export_run(&r, e->verb, &run);
    e->op = run.op;
    if (e->op.err)
        status = say_why(&r, e);
    snprintf(store, EDIT_STORE_NAME_MAX, "%s", objstore_name(r.store));
    return runtime_close(&r, status);
}
