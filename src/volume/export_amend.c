/* Taking, removing and going back to a snapshot of an export that nobody has open: one manifest edited. */
#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/amend.h"
#include "volume/engine_state.h"
#include "volume/exports.h"

struct amending {
    struct export_op *op;
    int64_t created_ms; /* of the snapshot that is taken */
    struct amend amend;
    struct task refused;
};

static struct amending *amending_of(struct amend *a)
{
    return CONTAINER_OF(a, struct amending, amend);
}

static void finish(struct amending *g, enum err err)
{
    struct export_op *op = g->op;
    mem_free(g);
    op->impl = NULL;
    op->err = err;
    op->done(op);
}

static void amended(struct amend *a)
{
    struct amending *g = amending_of(a);
    if (a->err)
        g->op->complaint = a->complaint;
    finish(g, a->err);
}

static void refused(struct task *t)
{
    struct amending *g = CONTAINER_OF(t, struct amending, refused);
    finish(g, g->op->err);
}

static void start(struct export_op *op, const char *doing,
                  enum err (*edit)(struct amend *, struct manifest *),
                  enum err (*was_made)(struct amend *, const struct manifest *))
{
    struct amending *g = MEM_NEW(struct amending);
    assert(op->done && op->name && op->snapshot);
    op->impl = g;
    op->infos = NULL;
    op->complaint.text[0] = op->saved[0] = '\0';
    g->op = op;
    g->created_ms = loop_wall_ms(op->engine->loop);
    if (export_name_check(op->name, NULL)) {
        op->err = complain(&op->complaint, ERR_NOTFOUND, "there is no export %s", op->name);
        g->refused.run = refused;
        loop_post(op->engine->loop, &g->refused);
        return;
    }
    g->amend.engine = op->engine;
    g->amend.name = op->name;
    g->amend.doing = doing;
    g->amend.edit = edit;
    g->amend.was_made = was_made;
    g->amend.done = amended;
    amend_start(&g->amend);
}

static bool is_the_one_we_took(const struct amending *g, const struct manifest *m, const char *name)
{
    const struct manifest_snapshot *s = manifest_snapshot(m, name);
    return s && s->created_ms == g->created_ms;
}

/* ------------------------------------------------------------------------ taking one */

static enum err take(struct amend *a, struct manifest *m)
{
    const struct amending *g = amending_of(a);
    return manifest_add_snapshot(m, a->name, g->op->snapshot, g->created_ms, &a->complaint);
}

static enum err was_taken(struct amend *a, const struct manifest *found)
{
    const struct amending *g = amending_of(a);
    return is_the_one_we_took(g, found, g->op->snapshot) ? ERR_OK : ERR_CONFLICT;
}

void export_snapshot(struct export_op *op)
{
    start(op, "taking a snapshot of export", take, was_taken);
}

/* ---------------------------------------------------------------------- removing one */

static enum err remove_it(struct amend *a, struct manifest *m)
{
    return manifest_remove_snapshot(m, a->name, amending_of(a)->op->snapshot, &a->complaint);
}

static enum err was_removed(struct amend *a, const struct manifest *found)
{
    return manifest_snapshot(found, amending_of(a)->op->snapshot) ? ERR_CONFLICT : ERR_OK;
}

void export_remove_snapshot(struct export_op *op)
{
    start(op, "removing a snapshot of export", remove_it, was_removed);
}

/* --------------------------------------------------------------------- going back to one */

static bool same_root(const struct map_root *a, const struct map_root *b)
{
    return a->level == b->level && a->tree.kind == b->tree.kind &&
           (a->tree.kind != SUBTREE_PAGE || sha256_equal(&a->tree.page.hash, &b->tree.page.hash));
}

/* A name that is free: the moment, and a number when that is not enough. */
static void name_the_present(struct amending *g, const struct manifest *m)
{
    char *name = g->op->saved, moment[32];
    time_t seconds = (time_t)(g->created_ms / 1000);
    struct tm utc = {0};
    gmtime_r(&seconds, &utc);
    size_t n = strftime(moment, sizeof moment, "%Y%m%d-%H%M%S", &utc);
    assert(n > 0);
    (void)n;
    snprintf(name, sizeof g->op->saved, "before-rollback-%s", moment);
    for (unsigned i = 2; manifest_snapshot(m, name); i++)
        snprintf(name, sizeof g->op->saved, "before-rollback-%s-%u", moment, i);
}

static enum err save_the_present(struct amending *g, struct manifest *m,
                                 const struct manifest_snapshot *target)
{
    struct export_op *op = g->op;
    op->saved[0] = '\0';
    if (op->discard || (m->params.size == target->size && same_root(&m->root, &target->root)))
        return ERR_OK;
    if (m->snapshot_count >= MANIFEST_SNAPSHOTS_MAX)
        return complain(
            &g->amend.complaint, ERR_INVALID,
            "export %s has %u snapshots, so that the present cannot be saved as another one: remove "
            "some first, or discard the present",
            op->name, MANIFEST_SNAPSHOTS_MAX);
    name_the_present(g, m);
    return manifest_add_snapshot(m, op->name, op->saved, g->created_ms, &g->amend.complaint);
}

/* In an epoch and a log folder of its own, so that nothing of an owner before counts; and a break, for
 * whoever still has the disk in its caches must not go on with it. */
static enum err go_back(struct amend *a, struct manifest *m)
{
    struct amending *g = amending_of(a);
    const struct manifest_snapshot *s = manifest_snapshot(m, g->op->snapshot);
    if (!s)
        return complain(&a->complaint, ERR_NOTFOUND, "export %s has no snapshot %s", a->name,
                        g->op->snapshot);
    struct manifest_snapshot target = *s;
    enum err err = save_the_present(g, m, &target);
    if (err)
        return err;
    m->root = target.root;
    m->params.size = target.size;
    m->epoch++;
    m->breaks++;
    m->position = 0;
    random_folder(a->engine->loop, m->folder);
    mark_hit("rollback");
    return ERR_OK;
}

/* It must not be done twice: what was written in between would be gone. */
static enum err was_gone_back(struct amend *a, const struct manifest *found)
{
    const struct amending *g = amending_of(a);
    return g->op->saved[0] && is_the_one_we_took(g, found, g->op->saved) ? ERR_OK : ERR_UNKNOWN;
}

void export_rollback(struct export_op *op)
{
    start(op, "rolling back export", go_back, was_gone_back);
}
