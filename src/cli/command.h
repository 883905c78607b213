/* command.h - what the program can do: one entry a subcommand, and what each is handed when it runs. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stddef.h>

#include "base/err.h"
#include "base/log.h"
#include "cli/option.h"

/* Exit statuses. */
enum { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_MISUSED = 2 };

#define COMMAND_ARGUMENTS_MAX 2

struct invocation {
    const char *store; /* the URL, given or the default */
    const char *arguments[COMMAND_ARGUMENTS_MAX];
    void *options; /* the command's own struct, filled from its table */
};

struct command {
    const char *name;
    const char *arguments[COMMAND_ARGUMENTS_MAX]; /* what help calls them; all are required */
    const char *summary;                          /* one line, for the list of commands */
    const char *details;                          /* whole lines, for its --help */
    const struct option_spec *specs;
    size_t spec_count;
    size_t options_bytes;
    enum log_level log_level;              /* unless one is asked for */
    int (*run)(const struct invocation *); /* returns an exit status */
};

extern const struct command serve_command, create_command, ls_command, info_command, snapshot_command,
    fork_command, rollback_command, resize_command, rm_command, import_command, export_command, check_command,
    diff_command, gc_command;

/* "ashlar: sentence" on standard error; returns the status, so that callers can `return fail(...)`. */
PRINTF(1, 2) int fail(const char *fmt, ...);   /* STATUS_FAILED */
PRINTF(1, 2) int misuse(const char *fmt, ...); /* STATUS_MISUSED */
/* The one that fits the error; the complaint when there is one, else the error's own text. */
int fail_with(enum err, const struct complaint *);

#endif
