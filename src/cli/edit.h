/* edit.h - a command that changes what is there of an export: its snapshots, its size, its name. */
#ifndef CLI_EDIT_H
#define CLI_EDIT_H

#include "cli/command.h"
#include "cli/export_run.h"

struct edit {
    const char *request;              /* as server/control.h calls it */
    void (*verb)(struct export_op *); /* of volume/exports.h */
    struct export_op op;              /* as for export_run */
};

/* Runs it, or has the server of this machine run it that has the export open, and says what went wrong. A
 * status; what was done is in edit->op, and `store` holds the store's name for the line that says so. */
#define EDIT_STORE_NAME_MAX 256
int edit_run(const struct invocation *, struct edit *, char store[EDIT_STORE_NAME_MAX]);

/* NAME or, where a snapshot may be, NAME@SNAPSHOT: *snapshot within it, or NULL. MISUSED, said, when it
 * could be nobody's, or when one of them must be there and is not. */
enum edit_snapshot { EDIT_NO_SNAPSHOT, EDIT_SNAPSHOT_MAY_BE, EDIT_SNAPSHOT };
int edit_name(const char *command, const char *argument, enum edit_snapshot, char name[EXPORT_NAME_MAX + 1],
              const char **snapshot);

#endif
