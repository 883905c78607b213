#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/apply.h"
#include "cli/command.h"
#include "cli/export_run.h"
#include "cli/importer.h"
#include "cli/volume_run.h"

struct import_options {
    bool force, apply;
    uint64_t size, block_size, object_size;
};

#define AT(field) offsetof(struct import_options, field)
/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "force", .kind = OPTION_SWITCH, .at = AT(force),
     .help = "replace an export of that name; it is removed before the import begins"},
    {.name = "apply", .kind = OPTION_SWITCH, .at = AT(apply),
     .help = "FILE is a stream that export --since has made: change NAME from its base to what it says"},
    {.name = "size", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(size), .min = 1,
     .help = "of the disk: needed for a stream, else at least that of FILE"},
    {.name = "block-size", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(block_size),
     .fallback = "128K", .min = BLOCK_SIZE_MIN, .max = BLOCK_SIZE_MAX,
     .help = "unit of hashing, deduplication and caching, a power of two"},
    {.name = "object-size", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(object_size),
     .fallback = "4M", .min = BLOCK_SIZE_MIN, .max = OBJECT_SIZE_MAX,
     .help = "size of full objects in the store, a multiple of the block size"},
};
/* clang-format on */

struct import {
    struct runtime runtime;
    struct source source;
    struct importer importer;
    struct export_params params;
    const char *name;
    bool replaced; /* an export of that name was removed */
};

static int choose_size(struct import *i, const struct import_options *o)
{
    const struct source *s = &i->source;
    char text[SIZE_TEXT_MAX];
    if (s->stream && !o->size)
        return misuse("import: the size of %s is not known; say it with --size SIZE", s->shown);
    if (o->size && o->size < s->bytes)
        return misuse("import: --size is less than the %s of %s", size_format(s->bytes, text), s->shown);
    if (!o->size && !s->bytes)
        return fail("import: %s is empty", s->shown);
    i->params = (struct export_params){.size = o->size ? o->size : s->bytes,
                                       .block_size = (uint32_t)o->block_size,
                                       .object_size = (uint32_t)o->object_size};
    struct complaint c = {.text = ""};
    return export_params_check(&i->params, &c) ? fail_with(ERR_INVALID, &c) : STATUS_DONE;
}

static int remove_former(struct import *i)
{
    struct export_run e = {.op = {.name = i->name}};
    enum err err = export_run(&i->runtime, export_remove, &e);
    i->replaced = err == ERR_OK;
    return err && err != ERR_NOTFOUND ? fail_with(err, &e.op.complaint) : STATUS_DONE;
}

static const char *loss(const struct import *i)
{
    return i->replaced ? "; the export it was to replace is gone" : "";
}

static int is_left(const struct import *i)
{
    return fail("import: %s is left half-written; ashlar rm %s removes it%s", i->name, i->name, loss(i));
}

/* What an import that did not finish leaves behind. */
static int give_up(struct import *i, struct volume *v)
{
    const struct importer *m = &i->importer;
    int status = fail("import: %s", m->complaint.text[0] ? m->complaint.text : "interrupted");
    if (m->unfinished)
        _exit(is_left(i));
    volume_run_abandon(&i->runtime, v);
    if (m->err == ERR_FENCED)
        return status;
    struct export_run e = {.op = {.name = i->name}};
    if (export_run(&i->runtime, export_remove, &e))
        return is_left(i);
    return fail("import: what was written of %s is removed again%s", i->name, loss(i));
}

static void summarize(const struct import *i)
{
    const struct importer *m = &i->importer;
    char size[SIZE_TEXT_MAX], data[SIZE_TEXT_MAX], came[SIZE_TEXT_MAX];
    double seconds = (double)progress_elapsed_ns(&m->progress) / (double)NS_PER_S;
    printf("imported %s: %s, of which %s data, in %.1f s", i->name, size_format(m->size, size),
           size_format(m->data_bytes, data), seconds);
    if (i->source.stream && m->read_bytes < m->size)
        printf("; %s ended after %s", i->source.shown, size_format(m->read_bytes, came));
    putchar('\n');
}

static int transfer(struct import *i)
{
    struct volume *v;
    struct complaint c = {.text = ""};
    enum err err = volume_run_open(&i->runtime, i->name, &i->params, &v, &c);
    if (err == ERR_CONFLICT)
        return fail("%s: there is an export \"%s\" already; --force replaces it",
                    objstore_name(i->runtime.store), i->name);
    if (err == ERR_CANCELED)
        return fail("interrupted%s", loss(i));
    if (err)
        return fail_with(err, &c);
    if (importer_run(&i->importer, &i->runtime, &i->source, v))
        return give_up(i, v);
    err = volume_run_close(&i->runtime, v);
    if (err)
        return fail("import: %s is written and flushed, but was not closed cleanly (%s)", i->name,
                    err_text(err));
    summarize(i);
    return STATUS_DONE;
}

static int run_with_source(struct import *i, const struct invocation *v)
{
    const struct import_options *o = v->options;
    int status = choose_size(i, o);
    if (!status)
        status = runtime_open(&i->runtime, v->store, RUNTIME_WRITE, NULL);
    if (status)
        return status;
    if (o->force)
        status = remove_former(i);
    if (!status)
        status = transfer(i);
    return runtime_close(&i->runtime, status);
}

static int run_apply(const struct invocation *v)
{
    const struct import_options *o = v->options;
    int status = export_name_status(v->arguments[1]);
    if (!status && (o->force || o->size))
        status = misuse(
            "import: --apply changes an export as its stream says; --force and --size do not go with it");
    if (status)
        return status;
    struct runtime r;
    status = runtime_open(&r, v->store, RUNTIME_WRITE, NULL);
    return status ? status : runtime_close(&r, apply_stream(&r, v->arguments[0], v->arguments[1]));
}

static int run(const struct invocation *v)
{
    if (((const struct import_options *)v->options)->apply)
        return run_apply(v);
    struct import *i = MEM_NEW(struct import);
    struct complaint c = {.text = ""};
    i->name = v->arguments[1];
    int status = export_name_status(i->name);
    if (!status && source_open(&i->source, v->arguments[0], &c))
        status = fail("import: %s", c.text);
    else if (!status) {
        status = run_with_source(i, v);
        source_close(&i->source);
    }
    mem_free(i);
    return status;
}

const struct command import_command = {
    .name = "import",
    .arguments = {"FILE", "NAME"},
    .summary = "make a disk from an image",
    .details =
        "Creates the export NAME from FILE: a raw image, a block device or, as -, standard input.\n"
        "What is zero or a hole in FILE takes no space in the store, and blocks that are there twice\n"
        "are stored once. An import that fails or is interrupted removes what it wrote, and says so\n"
        "where it cannot.\n"
        "With --apply FILE is a stream of export --since: NAME must hold the snapshot it is based on,\n"
        "unchanged, and afterwards has the one it leads to. Broken off, it is given again.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct import_options),
    .log_level = LOG_WARN,
    .run = run,
};
