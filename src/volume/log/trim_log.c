#include "volume/log/trim_log.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/format/record.h"

/* What cannot be deleted by then stays, and the next checkpoint goes on. */
#define TRIM_PATIENCE_NS (10 * NS_PER_S)

enum { DELETING_SLOTS, LISTING, DELETING_LISTED, ENDED };

static void trim_step(struct trim_log *);

static void task_run(struct task *t)
{
    trim_step(CONTAINER_OF(t, struct trim_log, task));
}

static void req_done(struct objstore_req *r)
{
    trim_step(CONTAINER_OF(r, struct trim_log, req));
}

static void drop_keys(struct trim_log *t)
{
    for (size_t i = 0; i < t->key_count; i++)
        mem_free(t->keys[i]);
    t->key_count = 0;
}

static void finish(struct trim_log *t, bool complete)
{
    t->state = ENDED;
    drop_keys(t);
    mem_free(t->keys);
    t->keys = NULL;
    t->complete = complete;
    if (complete)
        t->volume->trim_refused = false;
    t->done(t);
}

static void delete_keys(struct trim_log *t)
{
    mark_hit("log-delete");
    t->req = (struct objstore_req){.verb = OBJSTORE_DELETE,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .patience_ns = TRIM_PATIENCE_NS,
                                   .key = "",
                                   .keys = (const char *const *)t->keys,
                                   .key_count = t->key_count,
                                   .done = req_done};
    objstore_submit(t->volume->engine->store, &t->req);
}

static bool delete_slots(struct trim_log *t)
{
    struct volume *v = t->volume;
    for (uint64_t slot = t->from; slot < t->to && t->key_count < OBJSTORE_DELETE_MAX; slot++) {
        struct key key;
        key_log_slot(&key, v->name, v->manifest.id, t->folder->epoch, t->folder->nonce, slot);
        t->keys[t->key_count++] = mem_strdup(key.text);
    }
    if (!t->key_count)
        return false;
    delete_keys(t);
    return true;
}

static void list(struct trim_log *t)
{
    struct volume *v = t->volume;
    key_export_logs(&t->prefix, v->name, v->manifest.id);
    t->req = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .patience_ns = TRIM_PATIENCE_NS,
                                   .key = t->prefix.text,
                                   .after = t->after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .done = req_done};
    objstore_submit(v->engine->store, &t->req);
}

static bool named(const struct manifest *m, uint32_t epoch, const char *nonce, uint64_t slot)
{
    for (size_t i = 0; i < m->segment_count; i++) {
        const struct segment *s = &m->segments[i];
        if (s->epoch == epoch && strcmp(s->nonce, nonce) == 0 && slot >= s->from && slot < s->to)
            return true;
    }
    return false;
}

static void take_listing(struct trim_log *t)
{
    struct volume *v = t->volume;
    for (size_t i = 0; i < t->req.entry_count; i++) {
        const struct objstore_entry *e = &t->req.entries[i];
        uint32_t epoch;
        char nonce[FOLDER_HEX];
        uint64_t slot;
        snprintf(t->after, sizeof t->after, "%s", e->key);
        if (key_parse_log_slot(e->key, v->name, v->manifest.id, &epoch, nonce, &slot) &&
            epoch < v->manifest.epoch && e->bytes != SEAL_BYTES && !named(&v->manifest, epoch, nonce, slot))
            t->keys[t->key_count++] = mem_strdup(e->key);
    }
    t->more = t->req.truncated && t->req.entry_count;
    objstore_entries_free(t->req.entries, t->req.entry_count);
}

static void next_listing(struct trim_log *t)
{
    if (!t->more) {
        finish(t, true);
        return;
    }
    t->state = LISTING;
    list(t);
}

/* Said once, until it succeeds again. */
static void refused(struct trim_log *t)
{
    struct volume *v = t->volume;
    const char *why = t->req.complaint.text[0] ? t->req.complaint.text : err_text(t->req.err);
    mark_hit("log-delete-refused");
    if (!v->trim_refused)
        log_warn("log", "%s: old log records stay until a later checkpoint: %s", v->name, why);
    v->trim_refused = true;
}

static void trim_step(struct trim_log *t)
{
    if (t->req.err || t->canceled) {
        if (!t->canceled)
            refused(t);
        if (t->state == LISTING)
            objstore_entries_free(t->req.entries, t->req.entry_count);
        finish(t, false);
        return;
    }
    switch (t->state) {
    case DELETING_SLOTS:
        t->from += t->key_count;
        drop_keys(t);
        if (delete_slots(t))
            return;
        t->more = t->older_epochs;
        next_listing(t);
        return;
    case LISTING:
        take_listing(t);
        t->state = DELETING_LISTED;
        if (t->key_count) {
            delete_keys(t);
            return;
        }
        next_listing(t);
        return;
    case DELETING_LISTED:
        drop_keys(t);
        next_listing(t);
        return;
    case ENDED:
        return;
    }
}

void trim_log_start(struct trim_log *t)
{
    t->keys = MEM_ARRAY(char *, OBJSTORE_LIST_MAX);
    t->key_count = 0;
    t->state = DELETING_SLOTS;
    t->after[0] = '\0';
    t->canceled = false;
    t->task = (struct task){.run = task_run};
    loop_post(t->volume->engine->loop, &t->task);
}

void trim_log_cancel(struct trim_log *t)
{
    t->canceled = true;
    objstore_cancel(&t->req);
}
