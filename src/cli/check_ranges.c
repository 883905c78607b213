#include "cli/check_ranges.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

static void note(struct check *c, const char *name, const char *snapshot, const struct map_root *root,
                 uint32_t block_size, uint64_t size)
{
    if (c->map_count == c->map_room) {
        c->map_room = MAX(2 * c->map_room, (size_t)64);
        c->maps = mem_realloc(c->maps, c->map_room * sizeof *c->maps);
    }
    char full[VOLUME_NAME_MAX + 1];
    snprintf(full, sizeof full, "%.*s%s%.*s", EXPORT_NAME_MAX, name, snapshot ? "@" : "", EXPORT_NAME_MAX,
             snapshot ? snapshot : "");
    c->maps[c->map_count++] =
        (struct check_root){.name = mem_strdup(full), .root = *root, .block_size = block_size, .size = size};
}

void check_ranges_note(struct check *c, const char *name, const struct manifest *m)
{
    note(c, name, NULL, &m->root, m->params.block_size, m->params.size);
    for (size_t i = 0; i < m->snapshot_count; i++)
        note(c, name, m->snapshots[i].name, &m->snapshots[i].root, m->params.block_size,
             m->snapshots[i].size);
}

/* --------------------------------------------------------------------------- telling */

static void tell_bad(struct check *c)
{
    if (c->bad_end == c->bad_start)
        return;
    printf("%s: %" PRIu64 " bytes at %" PRIu64 " cannot be read\n", c->at->name, c->bad_end - c->bad_start,
           c->bad_start);
    c->result->bad_ranges++;
    c->result->bad_bytes += c->bad_end - c->bad_start;
    c->bad_start = c->bad_end = 0;
}

static void add_bad(struct check *c, const struct place *p)
{
    if (c->bad_end != p->start || c->bad_end == c->bad_start) {
        tell_bad(c);
        c->bad_start = p->start;
    }
    c->bad_end = p->start + p->bytes;
}

/* --------------------------------------------------------------------------- looking */

static bool found(struct walk *w, const struct place *p)
{
    struct check *c = CONTAINER_OF(w, struct check, walk);
    if (p->kind == PLACE_UNREADABLE)
        add_bad(c, p);
    if (c->canceled)
        return false;
    if (p->kind != PLACE_PIECE)
        return true;
    if (check_find(&c->suspects[OBJECT_BLOCK], &p->piece.object)) {
        add_bad(c, p);
        return true;
    }
    const struct check_object *o = check_find(&c->there[OBJECT_BLOCK], &p->piece.object);
    c->doubtful = o && o->bad;
    c->place = *p;
    return !c->doubtful;
}

static void walked(struct walk *w)
{
    runtime_wake(CONTAINER_OF(w, struct check, walk)->runtime);
}

static void fetched(struct fetch *f)
{
    runtime_wake(CONTAINER_OF(f, struct check, fetch)->runtime);
}

/* Of a damaged object only some pieces may be damaged. */
static void look_at_piece(struct check *c)
{
    c->fetch = (struct fetch){.engine = c->runtime->engine, .done = fetched};
    fetch_piece(&c->fetch, &c->place.piece);
    runtime_wait(c->runtime);
    if (c->fetch.err)
        add_bad(c, &c->place);
    else
        buf_unref(c->fetch.content);
}

static void go_through(struct check *c)
{
    uint64_t at = 0;
    do {
        c->doubtful = false;
        c->walk = (struct walk){.engine = c->runtime->engine,
                                .block_size = c->at->block_size,
                                .root = &c->at->root,
                                .start = at,
                                .end = c->at->size,
                                .found = found,
                                .done = walked};
        walk_start(&c->walk);
        runtime_wait(c->runtime);
        at = c->place.start + c->place.bytes;
        if (c->doubtful && !c->canceled)
            look_at_piece(c);
    } while (c->doubtful && at < c->at->size && !c->canceled);
    tell_bad(c);
}

enum err check_ranges_tell(struct check *c)
{
    for (size_t i = 0; i < c->map_count && !c->canceled; i++) {
        c->at = &c->maps[i];
        go_through(c);
    }
    return ERR_OK;
}

void check_ranges_finish(struct check *c)
{
    for (size_t i = 0; i < c->map_count; i++)
        mem_free(c->maps[i].name);
    mem_free(c->maps);
}
