/* table.h - tables of encoded entries in which no entry stands twice: objects, and pieces in objects
 * (docs/FORMAT.md: Tables). Entries are numbered in the order in which they were first added, so that the
 * same additions make the same bytes.
 */
#ifndef VOLUME_TABLE_H
#define VOLUME_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "volume/format/stored.h"

#define TABLE_NONE UINT32_MAX

/* A table of entries of one size, each with a hash somewhere in it by which it is found again. */
struct table {
    uint32_t entry_bytes, hash_at;
    uint32_t count, capacity;
    uint8_t *entries;
    uint32_t *slots; /* entry number + 1; 0: free */
    uint32_t slot_count;
};

void table_init(struct table *, uint32_t entry_bytes, uint32_t hash_at);
void table_finish(struct table *);
void table_reset(struct table *);                                /* empty again; keeps its memory */
uint32_t table_find(const struct table *, const uint8_t *entry); /* TABLE_NONE when it is not there */
uint32_t table_add(struct table *, const uint8_t *entry);        /* its number, also when it was there */
static inline size_t table_bytes(const struct table *t)
{
    return (size_t)t->count * t->entry_bytes;
}
/* Returns the end of what was written. */
uint8_t *table_put(const struct table *, uint8_t *to);

/* ------------------------------------------------------------------- objects */

#define OBJECT_ENTRY_BYTES 36u

void object_table_init(struct table *);
uint32_t object_table_add(struct table *, const struct object_name *);
void object_entry_put(uint8_t *to, const struct object_name *);
void object_entry_get(const uint8_t *entry, struct object_name *);

/* -------------------------------------------------- pieces, and the objects they are in */

#define PIECE_ENTRY_BYTES 52u

struct piece_tables {
    struct table objects, pieces;
    uint64_t stored; /* stored bytes of the pieces */
};

void piece_tables_init(struct piece_tables *);
void piece_tables_finish(struct piece_tables *);
void piece_tables_reset(struct piece_tables *);
/* Bytes by which adding the piece would make the tables longer. */
size_t piece_tables_growth(const struct piece_tables *, const struct piece_ref *);
uint32_t piece_tables_add(struct piece_tables *, const struct piece_ref *);
size_t piece_tables_bytes(const struct piece_tables *);
uint8_t *piece_tables_put(const struct piece_tables *, uint8_t *to);

/* Both tables, encoded: objects, then pieces. */
struct piece_view {
    const uint8_t *objects, *pieces;
    uint32_t object_count, piece_count;
};

static inline size_t piece_view_bytes(uint64_t object_count, uint64_t piece_count)
{
    return (size_t)(object_count * OBJECT_ENTRY_BYTES + piece_count * PIECE_ENTRY_BYTES);
}
struct piece_view piece_view_at(const uint8_t *tables, uint32_t object_count, uint32_t piece_count);
/* Every piece lies in an object of the table and within its bounds, and is stored in a way this version
 * knows. */
bool piece_view_check(const struct piece_view *, uint64_t *stored);
void piece_view_get(const struct piece_view *, uint32_t i, struct piece_ref *);
uint32_t piece_view_bytes_of(const struct piece_view *, uint32_t i); /* plain bytes of piece i */

#endif
