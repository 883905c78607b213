#include "base/bytes.h"
#include "cli/command.h"
#include "cli/edit.h"
#include "cli/export_run.h"
#include "cli/show.h"

struct info_options {
    bool json;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "json", .kind = OPTION_SWITCH, .at = offsetof(struct info_options, json),
     .help = "as JSON, sizes in bytes"},
};
/* clang-format on */

static int run(const struct invocation *v)
{
    const struct info_options *o = v->options;
    const char *name = v->arguments[0];
    char plain[EXPORT_NAME_MAX + 1];
    const char *snapshot;
    int status = edit_name("info", name, EDIT_SNAPSHOT_MAY_BE, plain, &snapshot);
    if (status)
        return status;
    struct runtime r;
    status = runtime_open(&r, v->store, RUNTIME_LOOK, NULL);
    if (status)
        return status;
    struct export_run e = {.op = {.name = name}};
    enum err err = export_run(&r, export_info, &e);
    if (err == ERR_NOTFOUND && snapshot)
        status =
            fail("%s: there is no snapshot \"%s\"; ashlar ls -s lists them", objstore_name(r.store), name);
    else if (err == ERR_NOTFOUND)
        status = fail("%s: there is no export \"%s\"; ashlar ls lists them", objstore_name(r.store), name);
    else if (err)
        status = fail_with(err, &e.op.complaint);
    else if (o->json)
        show_print_json(show_json_snapshots(e.op.infos), stdout);
    else
        show_one(e.op.infos, stdout);
    export_infos_free(e.op.infos);
    return runtime_close(&r, status);
}

const struct command info_command = {
    .name = "info",
    .arguments = {"NAME[@SNAPSHOT]"},
    .summary = "show one disk, or one snapshot",
    .details = "Shows the export NAME, or one of its snapshots: size, bytes mapped and stored, block and "
               "object size, epoch (how\n"
               "often its owner changed), breaks (takeovers that may have lost unflushed writes), and who\n"
               "holds it; its snapshots, and what it was forked from.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct info_options),
    .log_level = LOG_WARN,
    .run = run,
};
