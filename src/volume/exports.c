/* Creating and removing an export: one manifest swapped. */
#include "volume/exports.h"

#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "volume/amend.h"
#include "volume/claim.h"
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
    struct claim claim;
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

/* ---------------------------------------------------------------------- creating */

static void change_claimed(struct claim *claim)
{
    change_step(CONTAINER_OF(claim, struct change, claim));
}

static void create_claimed(struct change *c)
{
    struct export_op *op = c->op;
    enum err err = c->claim.err;
    if (err == ERR_CONFLICT || err == ERR_HELD)
        op->complaint = c->claim.complaint;
    else if (err)
        err = complain_store(&op->complaint, err, "creating export", op->name, &c->claim.complaint);
    else
        log_info("export", "%s: created, %llu bytes", op->name, (unsigned long long)c->next.params.size);
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
    c->state = CHANGE_CREATES;
    c->claim = (struct claim){.engine = e, .name = op->name, .next = &c->next, .done = change_claimed};
    claim_start(&c->claim);
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
    manifest_strip(m);
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
        change_finish(c, complain_store(&op->complaint, err, "removing export", op->name, &c->get.complaint));
    } else if (volume_named(engine_of(c), op->name)) {
        change_finish(c,
                      complain(&op->complaint, ERR_HELD, "export %s is open in this very server", op->name));
    } else if (c->next.state != MANIFEST_CLOSED && strcmp(c->next.owner, engine_of(c)->server_id) != 0) {
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
        change_finish(c, complain_store(&op->complaint, c->owner.err, "asking who holds export", op->name,
                                        &c->owner.req.complaint));
    else if (!c->owner.dead)
        change_finish(c, complain(&op->complaint, ERR_HELD,
                                  c->next.state == MANIFEST_FORKING ? "export %s is being made by a fork: %s"
                                                                    : "export %s is held by %s",
                                  op->name, c->owner.who));
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
        err = complain_store(&c->op->complaint, err, "removing export", c->op->name, &c->swap.complaint);
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
        create_claimed(c);
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
