#include "volume/gc/remains.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"

#define PROBE_AGE_MS (INT64_C(3600) * 1000)
#define DEAD_AT_ONCE 500u

static void step(struct remains *);
static void next_export(struct remains *);
static void next_id(struct remains *);

static void answered(struct objstore_req *r)
{
    step(CONTAINER_OF(r, struct remains, req));
}

static void drop_entries(struct remains *r)
{
    objstore_entries_free(r->entries, r->entry_count);
    r->entries = NULL;
    r->entry_count = r->doomed_count = 0;
}

static void finish(struct remains *r, enum err err)
{
    drop_entries(r);
    objstore_entries_free(r->exports, r->export_count);
    mem_free(r->ids);
    r->exports = NULL;
    r->ids = NULL;
    r->state = REMAINS_ENDED;
    r->err = r->canceled ? ERR_CANCELED : err;
    r->done(r);
}

static void list(struct remains *r, const char *prefix, bool delimited)
{
    r->deleting = false;
    r->req = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = prefix,
                                   .after = r->after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .delimited = delimited,
                                   .done = answered};
    objstore_submit(r->engine->store, &r->req);
}

static void list_from_start(struct remains *r, int state, const char *prefix, bool delimited)
{
    r->state = state;
    r->after[0] = '\0';
    list(r, prefix, delimited);
}

static void delete_doomed(struct remains *r)
{
    r->deleting = true;
    r->req = (struct objstore_req){.verb = OBJSTORE_DELETE,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = "",
                                   .keys = r->doomed,
                                   .key_count = r->doomed_count,
                                   .done = answered};
    objstore_submit(r->engine->store, &r->req);
}

static void take_listing(struct remains *r)
{
    drop_entries(r);
    r->entries = r->req.entries;
    r->entry_count = r->req.entry_count;
    r->more = r->req.truncated && r->entry_count;
    if (r->more)
        snprintf(r->after, sizeof r->after, "%s", r->entries[r->entry_count - 1].key);
}

static void doom(struct remains *r, const char *key)
{
    r->doomed[r->doomed_count++] = key;
}

/* ------------------------------------------------------------- of one folder each */

static int64_t newest_ms(const struct remains *r)
{
    int64_t newest = 0;
    for (size_t i = 0; i < r->entry_count; i++)
        newest = MAX(newest, r->entries[i].modified_ms);
    return newest;
}

static void doom_probes(struct remains *r)
{
    int64_t now_ms = MAX(newest_ms(r), loop_wall_ms(r->engine->loop));
    for (size_t i = 0; i < r->entry_count; i++)
        if (now_ms - r->entries[i].modified_ms > PROBE_AGE_MS)
            doom(r, r->entries[i].key);
}

static void doom_lists(struct remains *r)
{
    struct object_name name;
    for (size_t i = 0; i < r->entry_count; i++)
        if (key_parse_object(r->entries[i].key, "gc/", &name) && name.turn < r->turn)
            doom(r, r->entries[i].key);
}

static void doom_all(struct remains *r)
{
    for (size_t i = 0; i < r->entry_count; i++)
        doom(r, r->entries[i].key);
}

/* ------------------------------------------------------------------- logs of the gone */

static void take_folders(struct remains *r)
{
    size_t prefix = strlen(r->prefix.text);
    for (size_t i = 0; i < r->entry_count; i++) {
        const char *id = r->entries[i].key + prefix;
        if (strlen(id) != ID_HEX || id[ID_HEX - 1] != '/')
            continue;
        r->ids = mem_realloc(r->ids, (r->id_count + 1) * sizeof *r->ids);
        memcpy(r->ids[r->id_count], id, ID_HEX - 1);
        r->ids[r->id_count++][ID_HEX - 1] = '\0';
    }
}

static void got_manifest(struct manifest_get *g)
{
    struct remains *r = CONTAINER_OF(g, struct remains, get);
    if (r->canceled ||
        (g->err && g->err != ERR_NOTFOUND && g->err != ERR_CORRUPT && g->err != ERR_UNSUPPORTED)) {
        if (!g->err)
            manifest_finish(&g->manifest);
        finish(r, g->err);
        return;
    }
    if (g->err) { /* nothing is known about it */
        r->id_count = 0;
    } else {
        size_t kept = 0;
        for (size_t i = 0; i < r->id_count; i++)
            if (g->manifest.state == MANIFEST_TOMBSTONE || strcmp(r->ids[i], g->manifest.id) != 0)
                memmove(r->ids[kept++], r->ids[i], ID_HEX);
        r->id_count = kept;
        manifest_finish(&g->manifest);
    }
    r->id = 0;
    next_id(r);
}

static void next_id(struct remains *r)
{
    if (r->id == r->id_count) {
        next_export(r);
        return;
    }
    mark_hit("gc-log-of-the-gone");
    key_export_logs(&r->prefix, r->name, r->ids[r->id++]);
    list_from_start(r, REMAINS_LOG, r->prefix.text, false);
}

static void next_export(struct remains *r)
{
    while (r->export < r->export_count) {
        if (!key_parse_export(r->exports[r->export ++].key, r->name))
            continue;
        r->id_count = 0;
        key_manifest(&r->prefix, r->name);
        r->prefix.text[strlen(r->prefix.text) - strlen("manifest")] = '\0';
        list_from_start(r, REMAINS_FOLDERS, r->prefix.text, true);
        return;
    }
    if (r->export_more) {
        r->state = REMAINS_EXPORTS;
        memcpy(r->after, r->export_after, sizeof r->after);
        list(r, "exports/", true);
        return;
    }
    r->state = REMAINS_DEAD;
    r->doomed_count = 0;
    for (size_t i = 0; i < r->dead_count && i < DEAD_AT_ONCE; i++)
        doom(r, r->dead[i].text);
    if (r->doomed_count)
        delete_doomed(r);
    else
        finish(r, ERR_OK);
}

static void keep_exports(struct remains *r)
{
    objstore_entries_free(r->exports, r->export_count);
    r->exports = r->entries;
    r->export_count = r->entry_count;
    r->export = 0;
    r->export_more = r->more;
    memcpy(r->export_after, r->after, sizeof r->after);
    r->entries = NULL;
    r->entry_count = 0;
    next_export(r);
}

/* --------------------------------------------------------------------------- machine */

/* The listing at hand is dealt with. */
static void go_on(struct remains *r)
{
    if (r->state == REMAINS_DEAD) {
        finish(r, ERR_OK);
    } else if (r->more && r->state == REMAINS_FOLDERS) {
        list(r, r->prefix.text, true);
    } else if (r->more && r->state == REMAINS_PROBES) {
        list(r, "probe/", false);
    } else if (r->more && r->state == REMAINS_LISTS) {
        list(r, "gc/", false);
    } else if (r->more) {
        list(r, r->prefix.text, false);
    } else if (r->state == REMAINS_PROBES) {
        list_from_start(r, REMAINS_LISTS, "gc/", false);
    } else if (r->state == REMAINS_LISTS) {
        list_from_start(r, REMAINS_EXPORTS, "exports/", true);
    } else if (r->state == REMAINS_FOLDERS && r->id_count) {
        r->state = REMAINS_MANIFEST;
        r->get = (struct manifest_get){.engine = r->engine, .name = r->name, .done = got_manifest};
        manifest_get_start(&r->get);
    } else if (r->state == REMAINS_FOLDERS) {
        next_export(r);
    } else {
        next_id(r);
    }
}

static void listed(struct remains *r)
{
    take_listing(r);
    switch (r->state) {
    case REMAINS_PROBES:
        doom_probes(r);
        break;
    case REMAINS_LISTS:
        doom_lists(r);
        break;
    case REMAINS_LOG:
        doom_all(r);
        break;
    case REMAINS_FOLDERS:
        take_folders(r);
        break;
    case REMAINS_EXPORTS:
        keep_exports(r);
        return;
    case REMAINS_MANIFEST:
    case REMAINS_DEAD:
    case REMAINS_ENDED:
        break;
    }
    if (r->doomed_count)
        delete_doomed(r);
    else
        go_on(r);
}

static void step(struct remains *r)
{
    if (r->req.err || r->canceled) {
        if (!r->deleting && !r->req.err)
            objstore_entries_free(r->req.entries, r->req.entry_count);
        finish(r, r->req.err);
        return;
    }
    if (!r->deleting) {
        listed(r);
        return;
    }
    r->deleted += r->doomed_count;
    r->doomed_count = 0;
    go_on(r);
}

void remains_start(struct remains *r)
{
    assert(r->done);
    r->deleted = 0;
    r->canceled = r->export_more = false;
    r->entries = r->exports = NULL;
    r->entry_count = r->export_count = r->export = r->doomed_count = 0;
    r->ids = NULL;
    r->id_count = r->id = 0;
    list_from_start(r, REMAINS_PROBES, "probe/", false);
}

void remains_cancel(struct remains *r)
{
    if (r->state == REMAINS_ENDED)
        return;
    r->canceled = true;
    if (r->state == REMAINS_MANIFEST)
        manifest_get_cancel(&r->get);
    else
        objstore_cancel(&r->req);
}
