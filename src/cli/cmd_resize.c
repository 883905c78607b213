#include <stddef.h>

#include "base/bytes.h"
#include "cli/edit.h"

struct resize_options {
    bool shrink;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "shrink", .kind = OPTION_SWITCH, .at = offsetof(struct resize_options, shrink),
     .help = "a smaller size is meant: what lies past it is lost"},
};
/* clang-format on */

static int run(const struct invocation *v)
{
    const struct resize_options *o = v->options;
    char name[EXPORT_NAME_MAX + 1], store[EDIT_STORE_NAME_MAX], text[SIZE_TEXT_MAX];
    const char *none;
    struct edit e = {.request = "resize", .verb = export_resize, .op = {.name = name, .shrink = o->shrink}};
    int status = edit_name("resize", v->arguments[0], EDIT_NO_SNAPSHOT, name, &none);
    if (status)
        return status;
    if (!size_parse(v->arguments[1], &e.op.size) || e.op.size == 0 || e.op.size > INT64_MAX)
        return misuse("resize: the size is \"%s\"; write it as 10G, 1.5TiB or 4096, and not 0",
                      v->arguments[1]);
    status = edit_run(v, &e, store);
    if (!status)
        printf("resized %s to %s in %s\n", name, size_format(e.op.size, text), store);
    return status;
}

const struct command resize_command = {
    .name = "resize",
    .arguments = {"NAME", "SIZE"},
    .summary = "make a disk larger, or smaller",
    .details =
        "The export NAME has SIZE bytes (10G, 1.5TiB, 4096: powers of 1024). What is added reads as zeros.\n"
        "It can grow while clients are connected; those that connect from then on see the new size.\n"
        "Making it smaller needs --shrink and no client; snapshots keep what they hold.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct resize_options),
    .log_level = LOG_WARN,
    .run = run,
};
