/* Looking at exports: one manifest, or all of them. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/exports.h"
#include "volume/format/manifest.h"
#include "volume/membership/liveness.h"
#include "volume/swap.h"

#define LOOKS_MAX 16u

/* ----------------------------------------------------------- looking at one of them */

struct look {
    struct engine *engine;
    bool brief;
    void (*done)(struct look *);
    void *ctx;
    enum err err;
    struct complaint complaint;
    struct export_info *info; /* OK */

    char name[EXPORT_NAME_MAX + 1];
    const char *snapshot; /* NULL: the export */
    struct manifest_get get;
    struct liveness holder;
};

static void look_finish(struct look *l, enum err err)
{
    if (err) {
        export_infos_free(l->info);
        l->info = NULL;
    }
    l->err = err;
    l->done(l);
}

static void look_at_holder(struct liveness *live)
{
    struct look *l = CONTAINER_OF(live, struct look, holder);
    if (live->err) {
        l->complaint = live->req.complaint;
        look_finish(l, live->err);
        return;
    }
    const struct process_id *self = &l->engine->config.host->self, *holder = &live->beat.process;
    l->info->held = !live->dead;
    if (l->info->held && self->boot_id[0] && strcmp(self->boot_id, holder->boot_id) == 0 &&
        self->pid_ns == holder->pid_ns)
        memcpy(l->info->control, live->beat.control, sizeof l->info->control);
    snprintf(l->info->holder, sizeof l->info->holder, "%s", live->who);
    look_finish(l, ERR_OK);
}

static void info_snapshots(struct export_info *i, const struct manifest *m)
{
    i->snapshot_count = m->snapshot_count;
    i->snapshots = m->snapshot_count ? MEM_ARRAY(struct snapshot_info, m->snapshot_count) : NULL;
    for (size_t n = 0; n < m->snapshot_count; n++) {
        const struct manifest_snapshot *s = &m->snapshots[n];
        i->snapshots[n] = (struct snapshot_info){.name = mem_strdup(s->name),
                                                 .size = s->size,
                                                 .created_ms = s->created_ms,
                                                 .mapped = s->root.tree.sums.mapped,
                                                 .stored = s->root.tree.sums.stored,
                                                 .objects = s->root.tree.sums.objects};
    }
}

static struct export_info *info_create(const char *name, const struct manifest *m)
{
    struct export_info *i = MEM_NEW(struct export_info);
    i->name = mem_strdup(name);
    memcpy(i->id, m->id, sizeof i->id);
    i->created_ms = m->created_ms;
    if (m->parent.name) {
        i->parent = mem_strdup(m->parent.name);
        memcpy(i->parent_id, m->parent.id, sizeof i->parent_id);
        i->parent_snapshot = m->parent.snapshot ? mem_strdup(m->parent.snapshot) : NULL;
    }
    info_snapshots(i, m);
    i->params = m->params;
    i->mapped = m->root.tree.sums.mapped;
    i->stored = m->root.tree.sums.stored;
    i->objects = m->root.tree.sums.objects;
    i->epoch = m->epoch;
    i->breaks = m->breaks;
    i->closed = m->state == MANIFEST_CLOSED;
    i->held = m->state == MANIFEST_OPEN && m->owner[0];
    return i;
}

static struct export_info *snapshot_info_create(const char *name, const struct manifest *m,
                                                const struct manifest_snapshot *s)
{
    char full[VOLUME_NAME_MAX + 1];
    struct export_info *i = info_create(name, m);
    snprintf(full, sizeof full, "%s@%s", name, s->name);
    mem_free(i->name);
    i->name = mem_strdup(full);
    i->params.size = s->size;
    i->mapped = s->root.tree.sums.mapped;
    i->stored = s->root.tree.sums.stored;
    i->objects = s->root.tree.sums.objects;
    i->created_ms = s->created_ms;
    i->read_only = i->closed = true;
    i->held = false;
    return i;
}

static void look_at_manifest(struct manifest_get *g)
{
    struct look *l = CONTAINER_OF(g, struct look, get);
    if (g->err) {
        l->complaint = g->complaint;
        look_finish(l, g->err);
        return;
    }
    struct manifest *m = &g->manifest;
    enum err err = m->state == MANIFEST_TOMBSTONE || m->state == MANIFEST_FORKING ? ERR_NOTFOUND : ERR_OK;
    const struct manifest_snapshot *s = l->snapshot ? manifest_snapshot(m, l->snapshot) : NULL;
    if (l->snapshot && !s)
        err = ERR_NOTFOUND;
    if (!err)
        l->info = s ? snapshot_info_create(l->name, m, s) : info_create(l->name, m);
    bool ask = !err && l->info->held && !l->brief;
    memcpy(l->holder.server_id, m->owner, sizeof m->owner);
    manifest_finish(m);
    if (!ask) {
        look_finish(l, err);
        return;
    }
    l->holder.engine = l->engine;
    l->holder.no_wait = true;
    l->holder.done = look_at_holder;
    liveness_start(&l->holder);
}

/* l->name, engine, brief and done are set. */
static void look_start(struct look *l)
{
    l->info = NULL;
    l->complaint.text[0] = '\0';
    l->get.engine = l->engine;
    l->get.name = l->name;
    l->get.patience_ns = l->engine->config.patience_ns;
    l->get.done = look_at_manifest;
    manifest_get_start(&l->get);
}

/* ------------------------------------------------------------------------- info */

struct asking {
    struct look look;
    struct task task;
};

static void info_done(struct export_op *op, enum err err)
{
    struct asking *a = op->impl;
    mem_free(a);
    op->impl = NULL;
    if (err == ERR_NOTFOUND)
        complain(&op->complaint, err, "there is no %s %s", strchr(op->name, '@') ? "snapshot" : "export",
                 op->name);
    op->err = err;
    op->done(op);
}

static void info_looked(struct look *l)
{
    struct export_op *op = l->ctx;
    op->infos = l->info;
    op->complaint = l->complaint;
    info_done(op, l->err);
}

static void info_unknown(struct task *t)
{
    info_done(CONTAINER_OF(t, struct asking, task)->look.ctx, ERR_NOTFOUND);
}

void export_info(struct export_op *op)
{
    struct asking *a = MEM_NEW(struct asking);
    assert(op->done && op->name);
    op->impl = a;
    op->infos = NULL;
    op->complaint.text[0] = '\0';
    a->look.engine = op->engine;
    a->look.brief = op->brief;
    a->look.done = info_looked;
    a->look.ctx = op;
    a->task.run = info_unknown;
    if (volume_name_split(op->name, a->look.name, &a->look.snapshot, NULL)) {
        loop_post(op->engine->loop, &a->task);
        return;
    }
    look_start(&a->look);
}

/* ------------------------------------------------------------------------- list */

struct listing {
    struct export_op *op;
    struct objstore_req req;
    char after[OBJSTORE_KEY_MAX];
    struct objstore_entry *entries; /* a page of them */
    size_t entry_count, next;
    bool more;
    struct look looks[LOOKS_MAX];
    struct look *idle[LOOKS_MAX];
    size_t idle_count;
    struct export_info **infos;
    size_t count, room;
    enum err err;
    struct complaint complaint;
};

static int by_name(const void *a, const void *b)
{
    const struct export_info *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void list_finish(struct listing *l)
{
    struct export_op *op = l->op;
    struct export_info **link = &op->infos;
    if (l->count)
        qsort(l->infos, l->count, sizeof(struct export_info *), by_name);
    for (size_t i = 0; i < l->count; i++) {
        *link = l->infos[i];
        link = &l->infos[i]->next;
    }
    *link = NULL;
    if (l->err) {
        export_infos_free(op->infos);
        op->infos = NULL;
    }
    op->err = l->err;
    op->complaint = l->complaint;
    op->impl = NULL;
    mem_free(l->infos);
    mem_free(l);
    op->done(op);
}

static void list_keep(struct listing *l, struct export_info *info)
{
    if (l->count == l->room) {
        l->room = MAX(2 * l->room, 64);
        l->infos = mem_realloc(l->infos, l->room * sizeof(struct export_info *));
    }
    l->infos[l->count++] = info;
}

static void list_page(struct listing *);

/* Keeps as many looks under way as there may be. */
static void list_go_on(struct listing *l)
{
    while (l->idle_count && l->next < l->entry_count && !l->err) {
        const char *key = l->entries[l->next++].key;
        struct look *look = l->idle[l->idle_count - 1];
        if (!key_parse_export(key, look->name))
            continue;
        l->idle_count--;
        look_start(look);
    }
    if (l->idle_count < LOOKS_MAX)
        return;
    objstore_entries_free(l->entries, l->entry_count);
    l->entries = NULL;
    l->entry_count = l->next = 0;
    if (l->more && !l->err)
        list_page(l);
    else
        list_finish(l);
}

static void list_looked(struct look *look)
{
    struct listing *l = look->ctx;
    l->idle[l->idle_count++] = look;
    if (look->err == ERR_OK) {
        list_keep(l, look->info);
    } else if (look->err == ERR_CORRUPT || look->err == ERR_UNSUPPORTED) {
        log_warn("export", "%s is left out of the list: its manifest cannot be read", look->name);
    } else if (look->err != ERR_NOTFOUND && !l->err) {
        l->err = look->err;
        l->complaint = look->complaint;
    }
    list_go_on(l);
}

static void list_listed(struct objstore_req *r)
{
    struct listing *l = CONTAINER_OF(r, struct listing, req);
    l->err = r->err;
    l->complaint = r->complaint;
    l->entries = r->entries;
    l->entry_count = r->entry_count;
    l->more = r->truncated && r->entry_count > 0;
    if (l->more)
        snprintf(l->after, sizeof l->after, "%s", l->entries[l->entry_count - 1].key);
    list_go_on(l);
}

static void list_page(struct listing *l)
{
    l->req = (struct objstore_req){
        .verb = OBJSTORE_LIST,
        .key = "exports/",
        .after = l->after,
        .list_limit = OBJSTORE_LIST_MAX,
        .delimited = true,
        .patience_ns = l->op->engine->config.patience_ns,
        .done = list_listed,
    };
    objstore_submit(l->op->engine->store, &l->req);
}

void export_list(struct export_op *op)
{
    struct listing *l = MEM_NEW(struct listing);
    assert(op->done);
    op->impl = l;
    op->infos = NULL;
    op->complaint.text[0] = '\0';
    l->op = op;
    for (size_t i = 0; i < LOOKS_MAX; i++) {
        l->looks[i].engine = op->engine;
        l->looks[i].brief = op->brief;
        l->looks[i].done = list_looked;
        l->looks[i].ctx = l;
        l->idle[l->idle_count++] = &l->looks[i];
    }
    list_page(l);
}

void export_infos_free(struct export_info *info)
{
    while (info) {
        struct export_info *next = info->next;
        for (size_t n = 0; n < info->snapshot_count; n++)
            mem_free(info->snapshots[n].name);
        mem_free(info->snapshots);
        mem_free(info->parent);
        mem_free(info->parent_snapshot);
        mem_free(info->name);
        mem_free(info);
        info = next;
    }
}
