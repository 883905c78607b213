#include "volume/pinned.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"

#define ATTEMPTS_MAX 50u /* as often as another root was found */

static void forget_names(struct pinned *p)
{
    while (p->name_count)
        mem_free(p->names[--p->name_count]);
    mem_free(p->names);
    p->names = NULL;
}

static void pinned_finish(struct pinned *p, enum err err)
{
    if (err)
        pinned_drop(p);
    p->state = PINNED_DONE;
    p->err = err;
    if (err && !p->complaint.text[0])
        complain(&p->complaint, err, "%s: %s", p->name, err_text(err));
    p->done(p);
}

/* ------------------------------------------------------------------- the manifest */

static bool same_root(const struct map_root *a, const struct map_root *b)
{
    const struct page_ref *x = &a->tree.page, *y = &b->tree.page;
    if (a->level != b->level || a->tree.kind != b->tree.kind)
        return false;
    return a->tree.kind != SUBTREE_PAGE ||
           (sha256_equal(&x->hash, &y->hash) && sha256_equal(&x->object.hash, &y->object.hash) &&
            x->object.turn == y->object.turn && x->offset == y->offset && x->bytes == y->bytes);
}

/* True: the root and all about it are taken from the manifest. */
static bool take_in(struct pinned *p, const struct manifest *m)
{
    if (m->state == MANIFEST_TOMBSTONE || m->state == MANIFEST_FORKING) {
        p->err = complain(&p->complaint, ERR_NOTFOUND, "export %s does not exist", p->export_name);
        return false;
    }
    const struct manifest_snapshot *s = p->snapshot ? manifest_snapshot(m, p->snapshot) : NULL;
    if (p->snapshot && !s) {
        p->err = complain(&p->complaint, ERR_NOTFOUND, "export %s has no snapshot %s", p->export_name,
                          p->snapshot);
        return false;
    }
    p->root = s ? s->root : m->root;
    p->size = s ? s->size : m->params.size;
    p->created_ms = s ? s->created_ms : m->created_ms;
    p->behind = !s && m->state == MANIFEST_OPEN;
    p->params = m->params;
    p->params.size = p->size;
    p->breaks = m->breaks;
    memcpy(p->snapshot_id, s ? s->id : "", s ? sizeof s->id : 1);
    memcpy(p->export_id, m->id, sizeof p->export_id);
    forget_names(p);
    p->names = m->snapshot_count ? MEM_ARRAY(char *, m->snapshot_count) : NULL;
    for (; p->name_count < m->snapshot_count; p->name_count++)
        p->names[p->name_count] = mem_strdup(m->snapshots[p->name_count].name);
    return true;
}

static void got(struct manifest_get *);

static void get_start(struct pinned *p)
{
    p->get = (struct manifest_get){.engine = p->engine,
                                   .name = p->export_name,
                                   .patience_ns = p->engine->config.patience_ns,
                                   .done = got};
    manifest_get_start(&p->get);
}

static void confirmed(struct pin *pin)
{
    struct pinned *p = CONTAINER_OF(pin, struct pinned, pin);
    p->state = PINNED_CHECK;
    get_start(p);
}

static void died(struct pin *pin)
{
    struct pinned *p = CONTAINER_OF(pin, struct pinned, pin);
    if (p->state == PINNED_DONE)
        p->died(p);
}

static void pin_start(struct pinned *p)
{
    pin_drop(&p->pin);
    p->state = PINNED_PIN;
    p->pin.engine = p->engine;
    p->pin.done = confirmed;
    p->pin.died = died;
    p->pin.content.block_size = p->params.block_size;
    p->pin.content.root = p->root;
    snprintf(p->pin.content.name, sizeof p->pin.content.name, "%s", p->name);
    enum err err = pin_set(&p->pin, &p->complaint);
    if (err)
        pinned_finish(p, err);
}

static void checked(struct pinned *p)
{
    bool pinned = link_in_list(&p->pin.link); /* not when this server was declared dead meanwhile */
    if (pinned && same_root(&p->root, &p->pin.content.root)) {
        pinned_finish(p, ERR_OK);
    } else if (++p->attempts == ATTEMPTS_MAX) {
        complain(&p->complaint, ERR_CONFLICT, "%s changes faster than it can be pinned; try again", p->name);
        pinned_finish(p, ERR_CONFLICT);
    } else {
        mark_hit("pinned.again");
        pin_start(p);
    }
}

static void got(struct manifest_get *g)
{
    struct pinned *p = CONTAINER_OF(g, struct pinned, get);
    bool found = false;
    enum err err = g->err;
    if (!err) {
        p->err = ERR_OK;
        found = take_in(p, &g->manifest);
        err = p->err;
        manifest_finish(&g->manifest);
    } else if (err == ERR_NOTFOUND) {
        complain(&p->complaint, err, "export %s does not exist", p->export_name);
    } else {
        p->complaint = g->complaint;
    }
    if (p->canceled)
        pinned_finish(p, ERR_CANCELED);
    else if (!found)
        pinned_finish(p, err);
    else if (p->state == PINNED_CHECK)
        checked(p);
    else
        pin_start(p);
}

/* ------------------------------------------------------------------------------------ */

static void begin(struct task *t)
{
    struct pinned *p = CONTAINER_OF(t, struct pinned, task);
    enum err err =
        p->canceled ? ERR_CANCELED : volume_name_split(p->name, p->export_name, &p->snapshot, &p->complaint);
    if (err)
        pinned_finish(p, err);
    else
        get_start(p);
}

static void give_up(struct task *t)
{
    pinned_finish(CONTAINER_OF(t, struct pinned, task), ERR_CANCELED);
}

void pinned_start(struct pinned *p)
{
    assert(p->done && p->died);
    p->state = PINNED_GET;
    p->attempts = 0;
    p->canceled = false;
    p->err = ERR_OK;
    p->complaint.text[0] = '\0';
    p->pin = (struct pin){0};
    p->names = NULL;
    p->name_count = 0;
    p->get = (struct manifest_get){0};
    p->task = (struct task){.run = begin};
    loop_post(p->engine->loop, &p->task);
}

void pinned_cancel(struct pinned *p)
{
    if (p->state == PINNED_DONE || p->canceled)
        return;
    p->canceled = true;
    if (p->state == PINNED_PIN) {
        pin_drop(&p->pin);
        p->task.run = give_up;
        loop_post(p->engine->loop, &p->task);
    } else if (!link_in_list(&p->task.link)) {
        manifest_get_cancel(&p->get);
    }
}

void pinned_drop(struct pinned *p)
{
    if (!p->engine)
        return;
    pin_drop(&p->pin);
    forget_names(p);
}
