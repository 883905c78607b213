#include <unistd.h>

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/export_run.h"
#include "cli/show.h"

struct ls_options {
    bool json, snapshots;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "snapshots", .letter = 's', .kind = OPTION_SWITCH, .at = offsetof(struct ls_options, snapshots),
     .help = "snapshots and forks as well; a tree on a terminal"},
    {.name = "json", .kind = OPTION_SWITCH, .at = offsetof(struct ls_options, json),
     .help = "as JSON, sizes in bytes"},
};
/* clang-format on */

static void print_json(const struct export_info *first, bool snapshots)
{
    json_t *all = json_array();
    for (const struct export_info *i = first; i; i = i->next)
        json_array_append_new(all, snapshots ? show_json_snapshots(i) : show_json(i));
    show_print_json(all, stdout);
}

static int run(const struct invocation *v)
{
    const struct ls_options *o = v->options;
    struct runtime r;
    int status = runtime_open(&r, v->store, RUNTIME_LOOK, NULL);
    if (status)
        return status;
    struct export_run e = {.op = {.name = ""}};
    if (export_run(&r, export_list, &e))
        status = fail_with(e.op.err, &e.op.complaint);
    else if (o->json)
        print_json(e.op.infos, o->snapshots);
    else if (e.op.infos && o->snapshots)
        show_snapshots(e.op.infos, isatty(STDOUT_FILENO), stdout);
    else if (e.op.infos)
        show_table(e.op.infos, stdout);
    else
        printf("there are no exports in %s\n", objstore_name(r.store));
    export_infos_free(e.op.infos);
    return runtime_close(&r, status);
}

const struct command ls_command = {
    .name = "ls",
    .summary = "list the disks",
    .details = "Lists the exports: size, bytes mapped (that are data), bytes stored for them, and who holds\n"
               "them. With -s also their snapshots (as NAME@SNAPSHOT), and what forks were made from: on a\n"
               "terminal as a tree, in which forks stand below what they come from.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct ls_options),
    .log_level = LOG_WARN,
    .run = run,
};
