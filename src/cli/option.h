/* option.h - one table a command: what may be typed, what is in the environment, and the help that says so.
 *
 *   1. Every option --some-name may also be given as ASHLAR_SOME_NAME; what is typed wins, an empty
 *      variable counts as unset. A switch in the environment is 1, true, yes or on; 0, false, no or off. A
 *      list there is separated by commas.
 *   2. Options may stand before and after the command and its arguments, as --name VALUE or --name=VALUE;
 *      "--" ends them, and a lone "-" is an argument. A few switches have a letter.
 *   3. Whatever is wrong is answered by one sentence that names the option, the value and what would be
 *      right.
 */
#ifndef CLI_OPTION_H
#define CLI_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define OPTION_LIST_MAX 32

struct option_list {
    const char *items[OPTION_LIST_MAX];
    size_t count;
    bool typed;  /* on the command line, which replaces what the environment says */
    char *owned; /* the environment's text, cut into items */
};

enum option_kind {
    OPTION_SWITCH,   /* bool */
    OPTION_TEXT,     /* const char * */
    OPTION_LIST,     /* struct option_list */
    OPTION_SIZE,     /* uint64_t, bytes */
    OPTION_DURATION, /* uint64_t, nanoseconds */
    OPTION_NUMBER,   /* uint64_t */
    OPTION_LEVEL,    /* enum log_level */
};

struct option_spec {
    const char *name;  /* without the dashes */
    char letter;       /* -l stands for it as well; a switch; 0: none */
    const char *value; /* what help calls the value; NULL for a switch */
    const char *help;
    const char *fallback; /* the value when nothing is given, as it would be typed; NULL: none (zeroed) */
    enum option_kind kind;
    uint64_t min, max; /* of SIZE, DURATION and NUMBER; 0: unbounded */
    size_t at;         /* offset of the value in the struct that the table describes */
};

struct option_table {
    const struct option_spec *specs;
    size_t count;
    void *values;
};

/* Sets every value of the table to its fallback, then to what the environment says. INVALID with a complaint.
 */
MUST_CHECK enum err options_begin(const struct option_table *, struct complaint *);
/* Frees what the values own. */
void options_end(const struct option_table *);
/* Reads arg (and next, when the value stands there: *took_next) as an option of one of the tables. INVALID
 * with a complaint that suggests the nearest name when there is none such. */
MUST_CHECK enum err options_take(const struct option_table *, size_t tables, const char *arg,
                                 const char *next, bool *took_next, struct complaint *);
/* True when arg is an option rather than an argument. */
bool option_looks_like(const char *arg);

/* "ASHLAR_CACHE_SIZE" for "cache-size". */
#define OPTION_VARIABLE_MAX 64
const char *option_variable(const char *name, char out[OPTION_VARIABLE_MAX]);
/* The lines of help for a table. */
void options_print(const struct option_table *, FILE *);

#endif
