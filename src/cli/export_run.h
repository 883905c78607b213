/* export_run.h - the operations of volume/exports.h, waited for. */
#ifndef CLI_EXPORT_RUN_H
#define CLI_EXPORT_RUN_H

#include "cli/runtime.h"
#include "volume/exports.h"

struct export_run {
    struct export_op op; /* the caller fills in name, params and brief; the answer is here too */
    struct runtime *runtime;
};

/* start is export_create, export_list, export_info or export_remove. */
enum err export_run(struct runtime *, void (*start)(struct export_op *), struct export_run *);

/* MISUSED, said, when the name could be nobody's. */
int export_name_status(const char *name);
int volume_name_status(const char *name); /* NAME or NAME@SNAPSHOT */

#endif
