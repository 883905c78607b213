/* show.h - exports as text for people and as JSON for programs. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <jansson.h>
#include <stdio.h>

#include "volume/exports.h"

/* One line an export, under a line of headings. */
void show_table(const struct export_info *first, FILE *);
/* The same with their snapshots: a tree, or under full names. */
void show_snapshots(const struct export_info *first, bool tree, FILE *);
/* Tells every export and snapshot (NULL: the export), parents before their forks and snapshots; the label
 * is the name with two spaces for each level. */
void show_tree_walk(const struct export_info *first,
                    void (*tell)(void *, const char *label, const struct export_info *,
                                 const struct snapshot_info *),
                    void *ctx);
/* One line a property. */
void show_one(const struct export_info *, FILE *);

/* name size block_size object_size durable_writes mapped stored objects_at_most epoch breaks closed held
 * holder: sizes are numbers of bytes, holder is null when nobody holds it. */
json_t *show_json(const struct export_info *);
/* With id, created_ms, parent (null, or an object of name, id and snapshot, which is null when there was
 * none) and snapshots (an array of name, size, created_ms, mapped, stored and objects). */
json_t *show_json_snapshots(const struct export_info *);
/* Prints it and lets go of it. */
/* A string; what is not UTF-8 in it is shown as '?'. */
json_t *show_json_text(const char *);
void show_print_json(json_t *, FILE *);

#endif
