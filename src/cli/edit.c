#include "cli/edit.h"

#include <stdio.h>
#include <string.h>

#include "cli/remote.h"

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

static int say_why(const char *store, const struct edit *e, bool elsewhere)
{
    const struct export_op *op = &e->op;
    const char *text = op->complaint.text;
    bool no_export = op->err == ERR_NOTFOUND && !strstr(text, "has no snapshot");
    if (no_export)
        return fail("%s: there is no export \"%s\"; ashlar ls lists them", store, op->name);
    return fail("%s%s", text[0] ? text : err_text(op->err),
                elsewhere ? ": give the command on that machine, or when it has let go" : "");
}

/* The socket of the server that holds it; none when that is elsewhere, or has let go since. */
static bool find_holder(struct runtime *r, const char *name, char socket_path[CONTROL_PATH_MAX])
{
    struct export_run look = {.op = {.name = name}};
    bool held = export_run(r, export_info, &look) == ERR_OK && look.op.infos->held;
    if (held)
        snprintf(socket_path, CONTROL_PATH_MAX, "%s", look.op.infos->control);
    export_infos_free(look.op.infos);
    return held;
}

int edit_run(const struct invocation *v, struct edit *e, char store[EDIT_STORE_NAME_MAX])
{
    struct runtime r;
    char socket_path[CONTROL_PATH_MAX] = "";
    int status = runtime_open(&r, v->store, RUNTIME_WRITE, NULL);
    if (status)
        return status;
    struct export_run run = {.op = e->op};
    export_run(&r, e->verb, &run);
    e->op = run.op;
    bool held = e->op.err == ERR_HELD && find_holder(&r, e->op.name, socket_path);
    snprintf(store, EDIT_STORE_NAME_MAX, "%s", objstore_name(r.store));
    status = runtime_close(&r, STATUS_DONE);
    if (held && socket_path[0])
        remote_run(socket_path, e);
    if (e->op.err)
        status = say_why(store, e, held && !socket_path[0]);
    return status;
}
