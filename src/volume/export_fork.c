/* A fork: a child that nobody can open yet, the parent's root, the child as it is to be (DESIGN: forks).
 *
 * The child's name comes first, so that whoever computes what is referred to sees it, waits for it, and finds
 * what it refers to; the parent is read after that. Before all that the parent is looked at: what its last
 * owner left in a log is folded first, and a name that nobody has leaves nothing behind.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/amend.h"
#include "volume/claim.h"
#include "volume/engine_state.h"
#include "volume/exports.h"

#define ROUNDS_MAX 16u

struct forking {
    struct export_op *op;
    enum { FORK_REFUSED, FORK_LOOKS, FORK_CLAIMS, FORK_READS, FORK_FILLS, FORK_GIVES_UP } state;
    unsigned rounds;
    char parent_id[ID_HEX];
    struct manifest child;
    struct amend look;
    struct claim claim;
    struct manifest_get get;
    struct swap swap;
    enum err why; /* GIVES_UP */
    struct task task;
};

static void fork_step(struct forking *);

static void task_run(struct task *t)
{
    fork_step(CONTAINER_OF(t, struct forking, task));
}

static void looked(struct amend *a)
{
    fork_step(CONTAINER_OF(a, struct forking, look));
}

static void claimed(struct claim *c)
{
    fork_step(CONTAINER_OF(c, struct forking, claim));
}

static void got(struct manifest_get *g)
{
    fork_step(CONTAINER_OF(g, struct forking, get));
}

static void swapped(struct swap *s)
{
    fork_step(CONTAINER_OF(s, struct forking, swap));
}

static void finish(struct forking *f, enum err err)
{
    struct export_op *op = f->op;
    if (!err)
        log_info("export", "%s: forked from %s%s%s", op->child, op->name, op->snapshot ? "@" : "",
                 op->snapshot ? op->snapshot : "");
    manifest_finish(&f->child);
    mem_free(f);
    op->impl = NULL;
    op->err = err;
    op->done(op);
}

/* ----------------------------------------------------------------------- the parent */

static enum err no_such_snapshot(struct forking *f, struct complaint *c)
{
    return complain(c, ERR_NOTFOUND, "export %s has no snapshot %s", f->op->name, f->op->snapshot);
}

static enum err look_at_parent(struct amend *a, struct manifest *parent)
{
    struct forking *f = CONTAINER_OF(a, struct forking, look);
    if (f->op->snapshot && !manifest_snapshot(parent, f->op->snapshot))
        return no_such_snapshot(f, &a->complaint);
    memcpy(f->parent_id, parent->id, sizeof f->parent_id);
    return ERR_OK;
}

static void start_look(struct forking *f)
{
    const struct export_op *op = f->op;
    f->state = FORK_LOOKS;
    f->look = (struct amend){.engine = op->engine,
                             .name = op->name,
                             .doing = "forking export",
                             .edit = look_at_parent,
                             .look_only = true,
                             .as_it_is = op->snapshot || op->as_checkpointed,
                             .done = looked};
    amend_start(&f->look);
}

/* ------------------------------------------------------------------------ the child */

static void start_claim(struct forking *f)
{
    struct engine *e = f->op->engine;
    struct manifest *m = &f->child;
    f->state = FORK_CLAIMS;
    manifest_finish(m);
    m->state = MANIFEST_FORKING;
    m->params = (struct export_params){
        .size = 1, .block_size = BLOCK_SIZE_DEFAULT, .object_size = OBJECT_SIZE_DEFAULT};
    m->created_ms = loop_wall_ms(e->loop);
    memcpy(m->owner, e->server_id, sizeof m->owner);
    random_id(e->loop, m->id);
    f->claim = (struct claim){.engine = e, .name = f->op->child, .next = m, .done = claimed};
    claim_start(&f->claim);
}

static void start_read(struct forking *f)
{
    struct engine *e = f->op->engine;
    f->state = FORK_READS;
    f->get = (struct manifest_get){
        .engine = e, .name = f->op->name, .patience_ns = e->config.patience_ns, .done = got};
    manifest_get_start(&f->get);
}

static void swap_child(struct forking *f)
{
    struct engine *e = f->op->engine;
    f->swap = (struct swap){.engine = e,
                            .name = f->op->child,
                            .next = &f->child,
                            .patience_ns = e->config.patience_ns,
                            .done = swapped};
    memcpy(f->swap.etag, f->claim.etag, sizeof f->claim.etag);
    memcpy(f->swap.former_nonce, f->child.nonce, sizeof f->child.nonce);
    manifest_renew(&f->child, e->loop);
    swap_start(&f->swap);
}

/* Never the parent's epoch, log or nonce: nothing of it has ever been written here. */
static void fill_child(struct forking *f, const struct manifest *parent, const struct manifest_snapshot *s)
{
    const struct export_op *op = f->op;
    struct manifest *m = &f->child;
    m->state = MANIFEST_CLOSED;
    m->owner[0] = '\0';
    m->params = parent->params;
    m->params.size = s ? s->size : parent->params.size;
    m->root = s ? s->root : parent->root;
    manifest_set_parent(m, op->name, parent->id, op->snapshot);
}

/* The name is given back. */
static void give_up(struct forking *f, enum err why)
{
    f->state = FORK_GIVES_UP;
    f->why = why;
    f->child.state = MANIFEST_TOMBSTONE;
    manifest_strip(&f->child);
    swap_child(f);
}

/* ------------------------------------------------------------------------- step by step */

static void after_look(struct forking *f)
{
    if (f->look.err) {
        f->op->complaint = f->look.complaint;
        finish(f, f->look.err);
        return;
    }
    start_claim(f);
}

static void after_claim(struct forking *f)
{
    if (f->claim.err) {
        f->op->complaint = f->claim.complaint;
        finish(f, f->claim.err == ERR_UNKNOWN ? ERR_UNAVAILABLE : f->claim.err);
        return;
    }
    start_read(f);
}

static void after_read(struct forking *f)
{
    struct export_op *op = f->op;
    struct manifest parent = {0};
    enum err err = f->get.err;
    if (!err)
        parent = f->get.manifest;
    const struct manifest_snapshot *s =
        !err && op->snapshot ? manifest_snapshot(&parent, op->snapshot) : NULL;
    if (!err && (strcmp(parent.id, f->parent_id) != 0 || parent.state == MANIFEST_TOMBSTONE))
        err = complain(&op->complaint, ERR_NOTFOUND, "export %s was removed meanwhile", op->name);
    else if (!err && op->snapshot && !s)
        err = no_such_snapshot(f, &op->complaint);
    else if (err)
        complain_store(&op->complaint, err, "forking export", op->name, &f->get.complaint);
    if (err) {
        mark_hit("fork-gives-up");
        give_up(f, err);
    } else {
        fill_child(f, &parent, s);
        f->state = FORK_FILLS;
        mark_hit("fork");
        swap_child(f);
    }
    manifest_finish(&parent);
}

/* Somebody took us for dead; or it was done, and somebody has opened it. */
static void after_refusal(struct forking *f)
{
    struct export_op *op = f->op;
    struct manifest found = f->swap.found;
    memset(&f->swap.found, 0, sizeof f->swap.found);
    bool done = found.serial && strcmp(found.id, f->child.id) == 0 && found.state != MANIFEST_TOMBSTONE &&
                found.state != MANIFEST_FORKING;
    bool free_again = found.serial && found.state == MANIFEST_TOMBSTONE;
    manifest_finish(&found);
    mark_hit("fork-refused");
    if (done)
        finish(f, ERR_OK);
    else if (free_again && f->rounds++ < ROUNDS_MAX)
        start_look(f);
    else
        finish(f, complain(&op->complaint, ERR_CONFLICT,
                           "export %s was taken by somebody else while it was being made", op->child));
}

static void after_fill(struct forking *f)
{
    enum err err = f->swap.err;
    if (err == ERR_CONFLICT) {
        after_refusal(f);
        return;
    }
    if (err)
        complain_store(&f->op->complaint, err, "making export", f->op->child, &f->swap.complaint);
    finish(f, err);
}

/* However that went: who finds it takes it over. */
static void after_giving_up(struct forking *f)
{
    if (f->swap.err == ERR_CONFLICT)
        manifest_finish(&f->swap.found);
    finish(f, f->why);
}

static void fork_step(struct forking *f)
{
    switch (f->state) {
    case FORK_REFUSED:
        finish(f, f->why);
        break;
    case FORK_LOOKS:
        after_look(f);
        break;
    case FORK_CLAIMS:
        after_claim(f);
        break;
    case FORK_READS:
        after_read(f);
        break;
    case FORK_FILLS:
        after_fill(f);
        break;
    case FORK_GIVES_UP:
        after_giving_up(f);
        break;
    }
}

void export_fork(struct export_op *op)
{
    struct forking *f = MEM_NEW(struct forking);
    assert(op->done && op->name && op->child);
    op->impl = f;
    op->infos = NULL;
    op->complaint.text[0] = '\0';
    f->op = op;
    f->why = export_name_check(op->child, &op->complaint);
    if (!f->why && export_name_check(op->name, NULL))
        f->why = complain(&op->complaint, ERR_NOTFOUND, "there is no export %s", op->name);
    if (!f->why && strcmp(op->name, op->child) == 0)
        f->why = complain(&op->complaint, ERR_CONFLICT, "export %s exists already", op->child);
    if (!f->why) {
        start_look(f);
        return;
    }
    f->state = FORK_REFUSED;
    f->task.run = task_run;
    loop_post(op->engine->loop, &f->task);
}
