#include "volume/gc/sweep.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mark.h"
#include "volume/engine_state.h"

static const char *const folders[] = {[OBJECT_BLOCK] = "blocks/", [OBJECT_MAP] = "maps/"};

_Static_assert(OBJSTORE_LIST_MAX <= OBJSTORE_DELETE_MAX, "a listing's objects are deleted at once");

static void step(struct sweep *);

static void answered(struct objstore_req *r)
{
    step(CONTAINER_OF(r, struct sweep, req));
}

static void drop_entries(struct sweep *s)
{
    objstore_entries_free(s->entries, s->entry_count);
    s->entries = NULL;
    s->entry_count = s->doomed_count = 0;
    s->doomed_bytes = 0;
}

static void finish(struct sweep *s, enum err err)
{
    drop_entries(s);
    s->state = SWEEP_ENDED;
    s->err = s->canceled ? ERR_CANCELED : err;
    s->done(s);
}

static void list(struct sweep *s)
{
    s->state = SWEEP_LISTS;
    s->req = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = folders[s->kind],
                                   .after = s->after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .done = answered};
    objstore_submit(s->engine->store, &s->req);
}

static bool has_room_for_new(const struct sweep *s)
{
    uint64_t to_come = s->condemned[0]->count + s->condemned[1]->count - s->condemned_passed;
    return s->next[0].count + s->next[1].count + to_come < GC_NAMES_MAX;
}

static void condemn(struct sweep *s, const struct object_name *name, bool marked)
{
    names_add(&s->next[s->kind], name);
    s->next_unmarked += !marked;
}

static void count_marked(struct sweep *s, const struct object_name *name, uint64_t bytes)
{
    s->counts.marked_objects++;
    s->counts.marked_bytes += bytes;
    s->counts.live_bytes += s->kind == OBJECT_MAP ? bytes : marks_live_bytes(s->marks, name, bytes);
}

static void judge(struct sweep *s, const struct objstore_entry *e)
{
    struct object_name name;
    if (!key_parse_object(e->key, folders[s->kind], &name))
        return;
    bool marked = marks_has(s->marks, s->kind, &name), condemned = names_has(s->condemned[s->kind], &name);
    s->condemned_passed += condemned;
    s->counts.objects++;
    s->counts.bytes += e->bytes;
    if (marked) {
        count_marked(s, &name, e->bytes);
        if (condemned)
            condemn(s, &name, true);
        return;
    }
    s->counts.garbage_objects++;
    s->counts.garbage_bytes += e->bytes;
    if (condemned && !s->look_only) {
        s->doomed[s->doomed_count++] = e->key;
        s->doomed_bytes += e->bytes;
    } else if (condemned || (name.turn < s->turn && has_room_for_new(s))) {
        condemn(s, &name, false);
    } else if (name.turn >= s->turn) {
        s->counts.young_objects++;
    }
}

static void delete_doomed(struct sweep *s)
{
    mark_hit("gc-deletes");
    s->state = SWEEP_DELETES;
    s->req = (struct objstore_req){.verb = OBJSTORE_DELETE,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = "",
                                   .keys = s->doomed,
                                   .key_count = s->doomed_count,
                                   .done = answered};
    objstore_submit(s->engine->store, &s->req);
}

static void go_on(struct sweep *s)
{
    drop_entries(s);
    if (!s->more) {
        s->after[0] = '\0';
        if (s->kind == OBJECT_MAP) {
            finish(s, ERR_OK);
            return;
        }
        s->kind = OBJECT_MAP;
    }
    list(s);
}

static void take_listing(struct sweep *s)
{
    struct objstore_req *r = &s->req;
    s->entries = r->entries;
    s->entry_count = r->entry_count;
    s->more = r->truncated && r->entry_count;
    if (s->more)
        snprintf(s->after, sizeof s->after, "%s", r->entries[r->entry_count - 1].key);
    for (size_t i = 0; i < r->entry_count; i++)
        judge(s, &r->entries[i]);
    if (s->doomed_count)
        delete_doomed(s);
    else
        go_on(s);
}

static void step(struct sweep *s)
{
    if (s->canceled && s->state == SWEEP_LISTS && !s->req.err)
        objstore_entries_free(s->req.entries, s->req.entry_count);
    if (s->req.err || s->canceled) {
        s->complaint = s->req.complaint;
        finish(s, s->req.err);
        return;
    }
    switch (s->state) {
    case SWEEP_LISTS:
        take_listing(s);
        return;
    case SWEEP_DELETES:
        s->counts.deleted_objects += s->doomed_count;
        s->counts.deleted_bytes += s->doomed_bytes;
        go_on(s);
        return;
    case SWEEP_ENDED:
        return;
    }
}

void sweep_start(struct sweep *s)
{
    assert(s->done);
    s->err = ERR_OK;
    s->complaint.text[0] = '\0';
    memset(s->next, 0, sizeof s->next);
    s->next_unmarked = s->condemned_passed = 0;
    s->counts = (struct sweep_counts){0};
    s->kind = OBJECT_BLOCK;
    s->after[0] = '\0';
    s->entries = NULL;
    s->entry_count = s->doomed_count = 0;
    s->canceled = false;
    list(s);
}

void sweep_cancel(struct sweep *s)
{
    if (s->state == SWEEP_ENDED)
        return;
    s->canceled = true;
    objstore_cancel(&s->req);
}
