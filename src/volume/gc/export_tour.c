#include "volume/gc/export_tour.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/format/record.h"

static void read_log(struct export_tour *);

static void finish(struct export_tour *t, enum err err)
{
    t->err = t->canceled ? ERR_CANCELED : err;
    objstore_entries_free(t->entries, t->entry_count);
    t->entries = NULL;
    t->entry_count = 0;
    t->done(t);
}

static void doubt(struct export_tour *t, const char *key, const char *what)
{
    if (!t->doubt.text[0])
        complain(&t->doubt, ERR_CORRUPT, "%s: %s", key, what);
}

/* ------------------------------------------------------------------------ the manifest */

static void begin_log(struct export_tour *t)
{
    const struct manifest *m = &t->manifest;
    t->segment = 0;
    t->slot = m->segment_count ? m->segments[0].from : m->position;
    t->missing = t->listing = t->listed = false;
    t->after[0] = '\0';
    key_log_folder(&t->folder, t->name, m->id, m->epoch, m->folder);
    read_log(t);
}

static bool same_log(const struct manifest *a, const struct manifest *b)
{
    return strcmp(a->id, b->id) == 0 && a->epoch == b->epoch && strcmp(a->folder, b->folder) == 0;
}

static void take_manifest(struct export_tour *t, struct manifest *m)
{
    bool settled = !t->first && same_log(&t->manifest, m);
    if (settled && t->missing && strcmp(t->manifest.nonce, m->nonce) == 0)
        doubt(t, t->get.key.text, "a record of its log is missing");
    manifest_finish(&t->manifest);
    t->manifest = *m;
    bool first = t->first;
    t->first = false;
    if (first && !t->wanted(t, m))
        finish(t, ERR_OK);
    else if (settled || m->state != MANIFEST_OPEN)
        finish(t, t->doubt.text[0] ? ERR_CORRUPT : ERR_OK);
    else
        begin_log(t);
}

static void got_manifest(struct manifest_get *g)
{
    struct export_tour *t = CONTAINER_OF(g, struct export_tour, get);
    enum err err = g->err;
    if (err == ERR_CORRUPT || err == ERR_UNSUPPORTED)
        doubt(t, g->key.text, g->complaint.text);
    if (err || t->canceled) {
        if (!err)
            manifest_finish(&g->manifest);
        finish(t, err);
        return;
    }
    memcpy(t->etag, g->etag, sizeof t->etag);
    take_manifest(t, &g->manifest);
}

static void get_manifest(struct export_tour *t)
{
    t->get = (struct manifest_get){.engine = t->engine, .name = t->name, .done = got_manifest};
    manifest_get_start(&t->get);
}

/* ----------------------------------------------------------------------------- records */

static void visit_record(struct export_tour *t, const struct record_visit *v, const struct buf *b)
{
    enum log_object what;
    struct record r;
    enum err err = record_parse(b->data, b->bytes, &what, &r);
    if (err) {
        doubt(t, v->key.text, "a damaged log record");
        return;
    }
    for (uint32_t i = 0; what == LOG_RECORD && i < r.entries; i++) {
        struct record_entry entry;
        record_entry(&r, i, &entry);
        if (entry.kind == ENTRY_PIECE)
            t->piece(t, &entry.piece);
    }
}

static void got_record(struct objstore_req *r)
{
    struct record_visit *v = CONTAINER_OF(r, struct record_visit, req);
    struct export_tour *t = v->tour;
    if (r->err == ERR_OK) {
        if (!t->canceled)
            visit_record(t, v, r->content);
        buf_unref(r->content);
    } else if (r->err == ERR_NOTFOUND) {
        mark_hit("gc-record-was-folded");
        t->missing = true;
    } else {
        doubt(t, v->key.text, err_text(r->err));
    }
    v->busy = false;
    t->under_way--;
    read_log(t);
}

static void get_record(struct export_tour *t, struct record_visit *v)
{
    v->tour = t;
    v->busy = true;
    t->under_way++;
    v->req = (struct objstore_req){.verb = OBJSTORE_GET,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = v->key.text,
                                   .limit = RECORD_BYTES_MAX,
                                   .done = got_record};
    objstore_submit(t->engine->store, &v->req);
}

/* --------------------------------------------------------------------- which there are */

static void listed(struct objstore_req *r)
{
    struct export_tour *t = CONTAINER_OF(r, struct export_tour, list);
    t->listing = false;
    t->under_way--;
    if (r->err) {
        doubt(t, t->folder.text, err_text(r->err));
        t->listed = true;
    } else {
        objstore_entries_free(t->entries, t->entry_count);
        t->entries = r->entries;
        t->entry_count = r->entry_count;
        t->entry = 0;
        t->listed = !r->truncated || !r->entry_count;
        if (r->entry_count)
            snprintf(t->after, sizeof t->after, "%s", r->entries[r->entry_count - 1].key);
    }
    read_log(t);
}

static void list(struct export_tour *t)
{
    t->listing = true;
    t->under_way++;
    t->list = (struct objstore_req){.verb = OBJSTORE_LIST,
                                    .priority = OBJSTORE_BACKGROUND,
                                    .key = t->folder.text,
                                    .after = t->after,
                                    .list_limit = OBJSTORE_LIST_MAX,
                                    .done = listed};
    objstore_submit(t->engine->store, &t->list);
}

static bool next_in_segments(struct export_tour *t, struct key *key)
{
    const struct manifest *m = &t->manifest;
    while (t->segment < m->segment_count && t->slot >= m->segments[t->segment].to) {
        t->segment++;
        t->slot = t->segment < m->segment_count ? m->segments[t->segment].from : 0;
    }
    if (t->segment == m->segment_count)
        return false;
    const struct segment *s = &m->segments[t->segment];
    key_log_slot(key, t->name, m->id, s->epoch, s->nonce, t->slot++);
    return true;
}

static bool next_in_listing(struct export_tour *t, struct key *key)
{
    const struct manifest *m = &t->manifest;
    while (t->entry < t->entry_count) {
        const struct objstore_entry *e = &t->entries[t->entry++];
        uint32_t epoch;
        char nonce[FOLDER_HEX];
        uint64_t slot;
        if (!key_parse_log_slot(e->key, t->name, m->id, &epoch, nonce, &slot) || slot < m->position ||
            e->bytes == SEAL_BYTES)
            continue;
        snprintf(key->text, sizeof key->text, "%s", e->key);
        return true;
    }
    return false;
}

static void read_log(struct export_tour *t)
{
    for (unsigned i = 0; i < EXPORT_TOUR_GETS && !t->canceled; i++) {
        struct record_visit *v = &t->gets[i];
        if (v->busy)
            continue;
        if (!next_in_segments(t, &v->key) && (t->listing || !next_in_listing(t, &v->key)))
            break;
        get_record(t, v);
    }
    if (!t->canceled && !t->listing && !t->listed && t->entry == t->entry_count)
        list(t);
    if (t->under_way)
        return;
    if (t->canceled)
        finish(t, ERR_CANCELED);
    else
        get_manifest(t);
}

/* ----------------------------------------------------------------------------- public */

void export_tour_start(struct export_tour *t)
{
    t->first = true;
    t->canceled = false;
    t->doubt.text[0] = '\0';
    t->manifest = (struct manifest){0};
    t->entries = NULL;
    t->entry_count = t->entry = 0;
    t->under_way = 0;
    memset(t->gets, 0, sizeof t->gets);
    get_manifest(t);
}

void export_tour_cancel(struct export_tour *t)
{
    t->canceled = true;
    if (t->listing)
        objstore_cancel(&t->list);
    for (unsigned i = 0; i < EXPORT_TOUR_GETS; i++)
        if (t->gets[i].busy)
            objstore_cancel(&t->gets[i].req);
    if (!t->under_way)
        manifest_get_cancel(&t->get);
}

void export_tour_finish(struct export_tour *t)
{
    manifest_finish(&t->manifest);
}
