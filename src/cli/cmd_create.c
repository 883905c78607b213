#include <string.h>

#include "base/bytes.h"
#include "cli/command.h"
#include "cli/export_run.h"

struct create_options {
    uint64_t block_size, object_size;
    bool durable_writes;
};

#define AT(field) offsetof(struct create_options, field)
/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "block-size", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(block_size),
     .fallback = "128K", .min = BLOCK_SIZE_MIN, .max = BLOCK_SIZE_MAX,
     .help = "unit of hashing, deduplication and caching, a power of two"},
    {.name = "object-size", .value = "SIZE", .kind = OPTION_SIZE, .at = AT(object_size),
     .fallback = "4M", .min = BLOCK_SIZE_MIN, .max = OBJECT_SIZE_MAX,
     .help = "size of full objects in the store, a multiple of the block size"},
    {.name = "durable-writes", .kind = OPTION_SWITCH, .at = AT(durable_writes),
     .help = "answer every write only once it is in the store"},
};
/* clang-format on */

static int run(const struct invocation *v)
{
    const struct create_options *o = v->options;
    const char *name = v->arguments[0], *size = v->arguments[1];
    struct export_params params = {.block_size = (uint32_t)o->block_size,
                                   .object_size = (uint32_t)o->object_size,
                                   .durable_writes = o->durable_writes};
    int status = export_name_status(name);
    if (status)
        return status;
    if (!size_parse(size, &params.size) || params.size == 0)
        return misuse("create: the size is \"%s\"; write it as 10G, 1.5TiB or 4096, and not 0", size);
    struct complaint c = {.text = ""};
    if (export_params_check(&params, &c))
        return fail_with(ERR_INVALID, &c);
    struct runtime r;
    status = runtime_open(&r, v->store, RUNTIME_WRITE, NULL);
    if (status)
        return status;
    struct export_run e = {.op = {.name = name, .params = &params}};
    enum err err = export_run(&r, export_create, &e);
    char text[SIZE_TEXT_MAX];
    if (err == ERR_CONFLICT)
        status = fail("%s: there is an export \"%s\" already", objstore_name(r.store), name);
    else if (err)
        status = fail_with(err, &e.op.complaint);
    else
        printf("created %s, %s, in %s\n", name, size_format(params.size, text), objstore_name(r.store));
    return runtime_close(&r, status);
}

const struct command create_command = {
    .name = "create",
    .arguments = {"NAME", "SIZE"},
    .summary = "create an empty disk",
    .details =
        "Creates the export NAME of SIZE bytes (10G, 1.5TiB, 4096: powers of 1024). It takes no space\n"
        "until it is written, and a running server serves it at once. NAME has no '@' and no control\n"
        "characters.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct create_options),
    .log_level = LOG_WARN,
    .run = run,
};
