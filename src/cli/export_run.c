#include "cli/export_run.h"

#include "cli/command.h"

static void done(struct export_op *op)
{
    runtime_wake(CONTAINER_OF(op, struct export_run, op)->runtime);
}

enum err export_run(struct runtime *r, void (*start)(struct export_op *), struct export_run *e)
{
    e->runtime = r;
    e->op.engine = r->engine;
    e->op.done = done;
    start(&e->op);
    runtime_wait(r);
    return e->op.err;
}

int volume_name_status(const char *name)
{
    struct complaint c = {.text = ""};
    char export[EXPORT_NAME_MAX + 1];
    const char *snapshot;
    return volume_name_split(name, export, &snapshot, &c) ? fail_with(ERR_INVALID, &c) : STATUS_DONE;
}

int export_name_status(const char *name)
{
    struct complaint c = {.text = ""};
    return export_name_check(name, &c) ? fail_with(ERR_INVALID, &c) : STATUS_DONE;
}
