#include "cli/show.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/mem.h"

enum { COLUMNS = 5 };

struct row {
    char *cell[COLUMNS];
};

static char *size_cell(uint64_t bytes)
{
    char text[SIZE_TEXT_MAX];
    return mem_strdup(size_format(bytes, text));
}

static const char *state_text(const struct export_info *i, char *out, size_t room)
{
    if (i->held)
        snprintf(out, room, "held by %s", i->holder);
    else if (i->closed)
        snprintf(out, room, "closed");
    else if (i->holder[0])
        snprintf(out, room, "not closed, last held by %s", i->holder);
    else
        snprintf(out, room, "not closed");
    return out;
}

static struct row row_of(const struct export_info *i)
{
    char state[sizeof i->holder + 40];
    return (struct row){{mem_strdup(i->name), size_cell(i->params.size), size_cell(i->mapped),
                         size_cell(i->stored), mem_strdup(state_text(i, state, sizeof state))}};
}

/* In columns of the terminal: a byte that continues a UTF-8 character takes none. */
static int width_of(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += (*text & 0xc0) != 0x80;
    return n;
}

static void print_row(const struct row *row, const int *width, FILE *f)
{
    for (int c = 0; c < COLUMNS; c++) {
        int pad = width[c] - width_of(row->cell[c]);
        if (c == 0)
            fprintf(f, "%s%*s", row->cell[c], pad, "");
        else if (c < COLUMNS - 1)
            fprintf(f, "  %*s%s", pad, "", row->cell[c]);
        else
            fprintf(f, "  %s\n", row->cell[c]);
    }
}

struct table {
    struct row *rows;
    size_t count, room;
    bool tree;
};

static void add_row(struct table *t, struct row row)
{
    if (t->count == t->room) {
        t->room = MAX(2 * t->room, (size_t)64);
        t->rows = mem_realloc(t->rows, t->room * sizeof *t->rows);
    }
    t->rows[t->count++] = row;
}

static void add_headings(struct table *t)
{
    add_row(t, (struct row){{mem_strdup("NAME"), mem_strdup("SIZE"), mem_strdup("MAPPED"),
                             mem_strdup("STORED"), mem_strdup("STATE")}});
}

static void print_table(struct table *t, FILE *f)
{
    int width[COLUMNS] = {0};
    for (size_t r = 0; r < t->count; r++)
        for (int c = 0; c < COLUMNS; c++)
            width[c] = MAX(width[c], width_of(t->rows[r].cell[c]));
    for (size_t r = 0; r < t->count; r++) {
        print_row(&t->rows[r], width, f);
        for (int c = 0; c < COLUMNS; c++)
            mem_free(t->rows[r].cell[c]);
    }
    mem_free(t->rows);
}

void show_table(const struct export_info *first, FILE *f)
{
    struct table t = {.count = 0};
    add_headings(&t);
    for (const struct export_info *i = first; i; i = i->next)
        add_row(&t, row_of(i));
    print_table(&t, f);
}

/* "2026-11-23 19:16:27" UTC */
static const char *moment_text(int64_t ms, char out[32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    if (!gmtime_r(&seconds, &utc) || !strftime(out, 32, "%Y-%m-%d %H:%M:%S", &utc))
        snprintf(out, 32, "unknown");
    return out;
}

static char *joined(const char *before, const char *name, const char *snapshot)
{
    size_t room = strlen(before) + strlen(name) + (snapshot ? strlen(snapshot) : 0) + 2;
    char *text = mem_alloc(room);
    snprintf(text, room, "%s%s%s%s", before, name, snapshot ? "@" : "", snapshot ? snapshot : "");
    return text;
}

static struct row snapshot_row(char *name, const struct snapshot_info *s)
{
    char moment[32], state[64];
    snprintf(state, sizeof state, "taken %s", moment_text(s->created_ms, moment));
    return (struct row){
        {name, size_cell(s->size), size_cell(s->mapped), size_cell(s->stored), mem_strdup(state)}};
}

/* Below what it comes from in a tree, and so without saying it. */
static void add_node(void *ctx, const char *label, const struct export_info *i, const struct snapshot_info *s)
{
    struct table *t = ctx;
    if (s) {
        add_row(t, snapshot_row(t->tree ? mem_strdup(label) : joined("", i->name, s->name), s));
        return;
    }
    struct row row = row_of(i);
    mem_free(row.cell[0]);
    row.cell[0] = mem_strdup(t->tree ? label : i->name);
    if (i->parent && !(t->tree && label[0] == ' ')) {
        char *from = joined(", fork of ", i->parent, i->parent_snapshot);
        char *state = row.cell[COLUMNS - 1];
        row.cell[COLUMNS - 1] = joined(state, from, NULL);
        mem_free(state);
        mem_free(from);
    }
    add_row(t, row);
}

void show_snapshots(const struct export_info *first, bool tree, FILE *f)
{
    struct table t = {.tree = tree};
    add_headings(&t);
    show_tree_walk(first, add_node, &t);
    print_table(&t, f);
}

void show_one(const struct export_info *i, FILE *f)
{
    char text[SIZE_TEXT_MAX], state[sizeof i->holder + 40], moment[32];
    fprintf(f, "name            %s\n", i->name);
    fprintf(f, "size            %s (%" PRIu64 " bytes)\n", size_format(i->params.size, text), i->params.size);
    fprintf(f, "mapped          %s\n", size_format(i->mapped, text));
    fprintf(f, "stored          %s in at most %" PRIu64 " object%s\n", size_format(i->stored, text),
            i->objects, i->objects == 1 ? "" : "s");
    fprintf(f, "block size      %s\n", size_format(i->params.block_size, text));
    fprintf(f, "object size     %s\n", size_format(i->params.object_size, text));
    fprintf(f, "durable writes  %s\n", i->params.durable_writes ? "yes" : "no");
    fprintf(f, "epoch           %" PRIu32 "\n", i->epoch);
    fprintf(f, "breaks          %" PRIu32 "\n", i->breaks);
    if (i->parent)
        fprintf(f, "fork of         %s%s%s\n", i->parent, i->parent_snapshot ? "@" : "",
                i->parent_snapshot ? i->parent_snapshot : "");
    if (i->read_only)
        fprintf(f, "state           snapshot, taken %s\n", moment_text(i->created_ms, moment));
    else
        fprintf(f, "state           %s\n", state_text(i, state, sizeof state));
    if (!i->closed)
        fprintf(f, "                (what is in its log is not counted in mapped and stored)\n");
    for (size_t n = 0; n < i->snapshot_count && !i->read_only; n++) {
        const struct snapshot_info *s = &i->snapshots[n];
        fprintf(f, "%s%s, %s, taken %s\n", n ? "                " : "snapshots       ", s->name,
                size_format(s->size, text), moment_text(s->created_ms, moment));
    }
}

/* JSON is UTF-8; a name that is not shows a question mark for each byte that is not ASCII. */
json_t *show_json_text(const char *text)
{
    json_t *j = json_string(text);
    if (j)
        return j;
    char *plain = mem_strdup(text);
    for (char *c = plain; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    j = json_string(plain);
    mem_free(plain);
    return j;
}

static json_t *json_bytes(uint64_t bytes)
{
    return json_integer((json_int_t)bytes);
}

json_t *show_json(const struct export_info *i)
{
    return json_pack("{so so so so sb so so so so so sb sb so}", "name", show_json_text(i->name), "size",
                     json_bytes(i->params.size), "block_size", json_bytes(i->params.block_size),
                     "object_size", json_bytes(i->params.object_size), "durable_writes",
                     (int)i->params.durable_writes, "mapped", json_bytes(i->mapped), "stored",
                     json_bytes(i->stored), "objects_at_most", json_bytes(i->objects), "epoch",
                     json_bytes(i->epoch), "breaks", json_bytes(i->breaks), "closed", (int)i->closed, "held",
                     (int)i->held, "holder", i->holder[0] ? show_json_text(i->holder) : json_null());
}

static json_t *json_parent(const struct export_info *i)
{
    if (!i->parent)
        return json_null();
    return json_pack("{so ss so}", "name", show_json_text(i->parent), "id", i->parent_id, "snapshot",
                     i->parent_snapshot ? show_json_text(i->parent_snapshot) : json_null());
}

json_t *show_json_snapshots(const struct export_info *i)
{
    json_t *o = show_json(i), *all = json_array();
    for (size_t n = 0; n < i->snapshot_count && !i->read_only; n++) {
        const struct snapshot_info *s = &i->snapshots[n];
        json_array_append_new(all, json_pack("{so so so so so so}", "name", show_json_text(s->name), "size",
                                             json_bytes(s->size), "created_ms", json_integer(s->created_ms),
                                             "mapped", json_bytes(s->mapped), "stored", json_bytes(s->stored),
                                             "objects", json_bytes(s->objects)));
    }
    json_object_set_new(o, "id", json_string(i->id));
    json_object_set_new(o, "created_ms", json_integer(i->created_ms));
    json_object_set_new(o, "parent", json_parent(i));
    json_object_set_new(o, "snapshots", all);
    return o;
}

void show_print_json(json_t *j, FILE *f)
{
    json_dumpf(j, f, JSON_INDENT(2));
    fputc('\n', f);
    json_decref(j);
}
