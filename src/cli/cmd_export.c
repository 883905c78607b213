#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/export_run.h"
#include "cli/exporter.h"
#include "cli/increment.h"
#include "cli/volume_run.h"

struct finishing {
    struct job job;
    struct runtime *runtime;
    struct target *target;
    uint64_t bytes;
    int error;
};

static void finish_work(struct job *j)
{
    struct finishing *f = CONTAINER_OF(j, struct finishing, job);
    f->error = target_finish(f->target, f->bytes);
}

static void finish_done(struct job *j)
{
    runtime_wake(CONTAINER_OF(j, struct finishing, job)->runtime);
}

static int finish_target(struct runtime *r, struct target *t, uint64_t bytes)
{
    struct finishing f = {
        .job = {.work = finish_work, .done = finish_done}, .runtime = r, .target = t, .bytes = bytes};
    job_start(r->loop, &f.job);
    runtime_wait(r);
    return f.error ? fail("export: %s cannot be finished: %s; what it holds is incomplete", t->shown,
                          strerror(f.error))
                   : STATUS_DONE;
}

/* Standard output is data when that is where the disk goes. */
static void summarize(const struct exporter *x, const char *name)
{
    char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX];
    double seconds = (double)progress_elapsed_ns(&x->progress) / (double)NS_PER_S;
    fprintf(x->target->fd == STDOUT_FILENO ? stderr : stdout,
            "exported %s: %s, of which %s data, in %.1f s\n", name, size_format(x->size, size),
            size_format(x->data_bytes, data), seconds);
}

static int transfer(struct exporter *x, struct runtime *r, const struct invocation *v, struct volume *volume)
{
    const char *name = v->arguments[0];
    struct volume_info info;
    struct target t;
    struct complaint c = {.text = ""};
    volume_info(volume, &info);
    if (target_open(&t, v->arguments[1], info.size, &c))
        return fail("export: %s", c.text);
    enum err err = exporter_run(x, r, volume, &t);
    if (err) {
        int status = fail("export: %s; %s is incomplete", x->complaint.text, t.shown);
        if (x->unfinished)
            _exit(status);
        target_finish(&t, info.size);
        return status;
    }
    int status = finish_target(r, &t, info.size);
    if (!status)
        summarize(x, name);
    return status;
}

struct export_options {
    const char *since;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "since", .value = "NAME@SNAPSHOT", .kind = OPTION_TEXT,
     .at = offsetof(struct export_options, since),
     .help = "only what makes NAME of that, as a stream; `nothing`: all of it"},
};
/* clang-format on */

static int check_since(const char *since, const char *name)
{
    if (!strchr(name, '@') || (strcmp(since, SINCE_NOTHING) != 0 && !strchr(since, '@')))
        return misuse(
            "export: --since is from one snapshot to another: both are NAME@SNAPSHOT, and the first may be "
            "`nothing`");
    return strchr(since, '@') ? volume_name_status(since) : STATUS_DONE;
}

static int run_in(struct runtime *r, const struct invocation *v)
{
    const char *name = v->arguments[0];
    struct volume *volume;
    struct complaint c = {.text = ""};
    enum err err = volume_run_open(r, name, NULL, &volume, &c);
    if (err == ERR_NOTFOUND && !strchr(name, '@'))
        return fail("%s: there is no export \"%s\"; ashlar ls lists them", objstore_name(r->store), name);
    if (err == ERR_CANCELED)
        return fail("interrupted");
    if (err)
        return fail_with(err, &c);
    struct exporter *x = MEM_NEW(struct exporter);
    int status = transfer(x, r, v, volume);
    mem_free(x);
    err = volume_run_close(r, volume);
    if (err && !status)
        log_warn("export", "%s was not closed cleanly: %s", name, err_text(err));
    return status;
}

static int run(const struct invocation *v)
{
    const struct export_options *o = v->options;
    struct complaint c = {.text = ""};
    int status = volume_name_status(v->arguments[0]);
    if (!status && o->since)
        status = check_since(o->since, v->arguments[0]);
    if (!status && target_check(v->arguments[1], &c))
        status = fail("export: %s", c.text);
    if (status)
        return status;
    struct runtime r;
    status = runtime_open(&r, v->store, RUNTIME_WRITE, NULL);
    if (status)
        return status;
    return runtime_close(&r, o->since ? increment_export(&r, o->since, v->arguments[0], v->arguments[1])
                                      : run_in(&r, v));
}

const struct command export_command = {
    .name = "export",
    .arguments = {"NAME", "FILE"},
    .summary = "copy a disk into a file",
    .details = "Writes the content of the export NAME to FILE: a file (sparse, replaced if it is there), a\n"
               "block device or, as -, standard output. An export that a live server has open is refused:\n"
               "read it through that server, for instance with nbdcopy. NAME@SNAPSHOT is a snapshot, which\n"
               "can be read whoever has the export open.\n"
               "With --since FILE is a stream with checksums that holds only what differs between two\n"
               "snapshots; import --apply makes the second of the first, here or elsewhere.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct export_options),
    .log_level = LOG_WARN,
    .run = run,
};
