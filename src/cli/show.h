/* show.h - exports as text for people and as JSON for programs. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <jansson.h>
#include <stdio.h>

#include "volume/exports.h"

/* One line an export, under a line of headings. */
void show_table(const struct export_info *first, FILE *);
/* One line a property. */
void show_one(const struct export_info *, FILE *);

/* name size block_size object_size durable_writes mapped stored objects epoch breaks closed held holder:
 * sizes are numbers of bytes, holder is null when nobody holds it. */
json_t *show_json(const struct export_info *);
/* Prints it and lets go of it. */
/* A string; what is not UTF-8 in it is shown as '?'. */
json_t *show_json_text(const char *);
void show_print_json(json_t *, FILE *);

#endif
