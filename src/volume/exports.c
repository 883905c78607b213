/* Creating and removing an export: one manifest swapped. */
#include "volume/exports.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "volume/engine_state.h"
#include "volume/format/manifest.h"
#include "volume/format/page.h"
#include "volume/membership/liveness.h"
#include "volume/swap.h"
#include "volume/volume_state.h"

#define ROUNDS_MAX 16u

struct change {
    struct export_op *op;
    enum { CHANGE_REFUSED, CHANGE_CREATES, CHANGE_GETS, CHANGE_LOOKS, CHANGE_REMOVES } state;
    unsigned rounds;
    struct task task;
    struct manifest next;
    struct swap swap;
    struct manifest_get get;
    struct liveness owner;
};

static void change_step(struct change *);

static void change_refused(struct task *t)
{
    change_step(CONTAINER_OF(t, struct change, task));
}

static void change_swapped(struct swap *s)
{
    change_step(CONTAINER_OF(s, struct change, swap));
}

static void change_got(struct manifest_get *g)
{
    change_step(CONTAINER_OF(g, struct change, get));
}

static void change_looked(struct liveness *l)
{
    change_step(CONTAINER_OF(l, struct change, owner));
}

static void change_finish(struct change *c, enum err err)
{
    struct export_op *op = c->op;
    manifest_finish(&c->next);
    mem_free(c);
    op->impl = NULL;
    op->err = err;
    op->done(op);
}

static struct change *change_create(struct export_op *op)
{
    struct change *c = MEM_NEW(struct change);
    assert(op->done && op->name);
    op->impl = c;
    op->infos = NULL;
    op->complaint.text[0] = '\0';
    c->op = op;
    c->task.run = change_refused;
    return c;
}

static void change_refuse(struct change *c, enum err err)
{
    c->state = CHANGE_REFUSED;
    c->op->err = err;
    loop_post(c->op->engine->loop, &c->task);
}

static struct engine *engine_of(const struct change *c)
{
    return c->op->engine;
}

/* Puts the store's own words behind what could not be done. */
static enum err complain_store(struct export_op *op, enum err err, const char *doing,
                               const struct complaint *why)
{
    struct complaint said = *why;
    if (err == ERR_UNKNOWN)
        return complain(&op->complaint, err, "%s %s: the store's answer was lost; look whether it was done",
                        doing, op->name);
    return complain(&op->complaint, err, "%s %s: %.400s", doing, op->name,
                    said.text[0] ? said.text : err_text(err));
}

/* ---------------------------------------------------------------------- creating */

static void create_swap(struct change *c, bool create)
{
    struct engine *e = engine_of(c);
    c->state = CHANGE_CREATES;
    manifest_renew(&c->next, e->loop);
    c->swap.engine = e;
    c->swap.name = c->op->name;
    c->swap.next = &c->next;
    c->swap.create = create;
    c->swap.patience_ns = e->config.patience_ns;
    c->swap.done = change_swapped;
    swap_start(&c->swap);
}

/* The name has a manifest: only a tombstone makes room. */
static void create_after_conflict(struct change *c)
{
    struct manifest found = c->swap.found;
    bool gone = found.serial && found.state == MANIFEST_TOMBSTONE;
    if (gone && c->rounds++ < ROUNDS_MAX) {
        c->next.serial = found.serial;
        memcpy(c->swap.former_nonce, found.nonce, sizeof found.nonce);
        manifest_finish(&found);
        create_swap(c, false);
        return;
    }
    manifest_finish(&found);
    change_finish(c, complain(&c->op->complaint, ERR_CONFLICT, "export %s exists already", c->op->name));
}

static void create_swapped(struct change *c)
{
    enum err err = c->swap.err;
    if (err == ERR_CONFLICT) {
        create_after_conflict(c);
        return;
    }
    if (err)
        err = complain_store(c->op, err, "creating export", &c->swap.complaint);
    else
        log_info("export", "%s: created, %llu bytes", c->op->name, (unsigned long long)c->next.params.size);
    change_finish(c, err);
}

void export_create(struct export_op *op)
{
    struct change *c = change_create(op);
    struct engine *e = op->engine;
    struct export_params params = *op->params;
    enum err err = export_name_check(op->name, &op->complaint);
    if (!err)
        err = export_params_check(&params, &op->complaint);
    if (err) {
        change_refuse(c, err);
        return;
    }
    c->next.state = MANIFEST_CLOSED;
    c->next.params = params;
    c->next.created_ms = loop_wall_ms(e->loop);
    c->next.root.level = page_root_level(params.block_size, params.size);
    random_id(e->loop, c->next.id);
    create_swap(c, true);
}

/* ---------------------------------------------------------------------- removing */

static void remove_get(struct change *c)
{
    struct engine *e = engine_of(c);
    c->state = CHANGE_GETS;
    c->get.engine = e;
    c->get.name = c->op->name;
    c->get.patience_ns = e->config.patience_ns;
    c->get.done = change_got;
    manifest_get_start(&c->get);
}

static void remove_swap(struct change *c)
{
    struct engine *e = engine_of(c);
    struct manifest *m = &c->next;
    c->state = CHANGE_REMOVES;
    memcpy(c->swap.former_nonce, m->nonce, sizeof m->nonce);
    memcpy(c->swap.etag, c->get.etag, sizeof c->get.etag);
    m->state = MANIFEST_TOMBSTONE;
    m->owner[0] = '\0';
    m->root.tree = (struct subtree){.kind = SUBTREE_HOLE};
    mem_free(m->segments);
    m->segments = NULL;
    m->segment_count = 0;
    for (size_t i = 0; i < m->snapshot_count; i++)
        mem_free(m->snapshots[i].name);
    mem_free(m->snapshots);
    m->snapshots = NULL;
    m->snapshot_count = 0;
    manifest_renew(m, e->loop);
    c->swap.engine = e;
    c->swap.name = c->op->name;
    c->swap.next = m;
    c->swap.create = false;
    c->swap.patience_ns = e->config.patience_ns;
    c->swap.done = change_swapped;
    swap_start(&c->swap);
}

static void remove_got(struct change *c)
{
    struct export_op *op = c->op;
    enum err err = c->get.err;
    manifest_finish(&c->next);
    if (!err)
        c->next = c->get.manifest;
    if (err == ERR_NOTFOUND || (!err && c->next.state == MANIFEST_TOMBSTONE)) {
        change_finish(c, complain(&op->complaint, ERR_NOTFOUND, "there is no export %s", op->name));
    } else if (err) {
        change_finish(c, complain_store(op, err, "removing export", &c->get.complaint));
    } else if (c->next.state == MANIFEST_FORKING) {
        change_finish(c, complain(&op->complaint, ERR_HELD, "export %s is being made by a fork", op->name));
    } else if (volume_named(engine_of(c), op->name)) {
        change_finish(c,
                      complain(&op->complaint, ERR_HELD, "export %s is open in this very server", op->name));
    } else if (c->next.state == MANIFEST_OPEN && strcmp(c->next.owner, engine_of(c)->server_id) != 0) {
        c->state = CHANGE_LOOKS;
        c->owner.engine = engine_of(c);
        memcpy(c->owner.server_id, c->next.owner, sizeof c->next.owner);
        c->owner.done = change_looked;
        liveness_start(&c->owner);
    } else {
        remove_swap(c);
    }
}

static void remove_looked(struct change *c)
{
    struct export_op *op = c->op;
    if (c->owner.err)
        change_finish(c,
                      complain_store(op, c->owner.err, "asking who holds export", &c->owner.req.complaint));
    else if (!c->owner.dead)
        change_finish(c,
                      complain(&op->complaint, ERR_HELD, "export %s is held by %s", op->name, c->owner.who));
    else
        remove_swap(c);
}

static void remove_swapped(struct change *c)
{
    enum err err = c->swap.err;
    if (err == ERR_CONFLICT) {
        manifest_finish(&c->swap.found);
        if (c->rounds++ < ROUNDS_MAX) {
            remove_get(c);
            return;
        }
    }
    if (err)
        err = complain_store(c->op, err, "removing export", &c->swap.complaint);
    else
        log_info("export", "%s: removed", c->op->name);
    change_finish(c, err);
}

void export_remove(struct export_op *op)
{
    struct change *c = change_create(op);
    struct complaint unknown;
    if (export_name_check(op->name, &unknown))
        change_refuse(c, complain(&op->complaint, ERR_NOTFOUND, "there is no export %s", op->name));
    else
        remove_get(c);
}

/* --------------------------------------------------------------------------------- */

static void change_step(struct change *c)
{
    switch (c->state) {
    case CHANGE_REFUSED:
        change_finish(c, c->op->err);
        break;
    case CHANGE_CREATES:
        create_swapped(c);
        break;
    case CHANGE_GETS:
        remove_got(c);
        break;
    case CHANGE_LOOKS:
        remove_looked(c);
        break;
    case CHANGE_REMOVES:
        remove_swapped(c);
        break;
    }
}
