#include "cli/show.h"

#include <inttypes.h>
#include <string.h>

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

void show_table(const struct export_info *first, FILE *f)
{
    size_t count = 1, n = 0;
    for (const struct export_info *i = first; i; i = i->next)
        count++;
    struct row *rows = MEM_ARRAY(struct row, count);
    rows[n++] = (struct row){{mem_strdup("NAME"), mem_strdup("SIZE"), mem_strdup("MAPPED"),
                              mem_strdup("STORED"), mem_strdup("STATE")}};
    for (const struct export_info *i = first; i; i = i->next)
        rows[n++] = row_of(i);
    int width[COLUMNS] = {0};
    for (size_t r = 0; r < count; r++)
        for (int c = 0; c < COLUMNS; c++)
            width[c] = MAX(width[c], width_of(rows[r].cell[c]));
    for (size_t r = 0; r < count; r++) {
        print_row(&rows[r], width, f);
        for (int c = 0; c < COLUMNS; c++)
            mem_free(rows[r].cell[c]);
    }
    mem_free(rows);
}

void show_one(const struct export_info *i, FILE *f)
{
    char text[SIZE_TEXT_MAX], state[sizeof i->holder + 40];
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
    fprintf(f, "state           %s\n", state_text(i, state, sizeof state));
    if (!i->closed)
        fprintf(f, "                (what is in its log is not counted in mapped and stored)\n");
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
                     json_bytes(i->stored), "objects", json_bytes(i->objects), "epoch", json_bytes(i->epoch),
                     "breaks", json_bytes(i->breaks), "closed", (int)i->closed, "held", (int)i->held,
                     "holder", i->holder[0] ? show_json_text(i->holder) : json_null());
}

void show_print_json(json_t *j, FILE *f)
{
    json_dumpf(j, f, JSON_INDENT(2));
    fputc('\n', f);
    json_decref(j);
}
