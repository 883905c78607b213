#include "volume/amend.h"

#include <assert.h>
#include <string.h>

#include "base/mark.h"
#include "volume/volume_state.h"

#define ROUNDS_MAX 16u

static void amend_step(struct amend *);

enum err complain_store(struct complaint *c, enum err err, const char *doing, const char *name,
                        const struct complaint *why)
{
    struct complaint said = *why;
    if (err == ERR_UNKNOWN)
        return complain(c, err, "%s %s: the store's answer was lost; look whether it was done", doing, name);
    return complain(c, err, "%s %s: %.400s", doing, name, said.text[0] ? said.text : err_text(err));
}

static void got(struct manifest_get *g)
{
    amend_step(CONTAINER_OF(g, struct amend, get));
}

static void opened(struct volume_open *o)
{
    amend_step(CONTAINER_OF(o, struct amend, open));
}

static void closed(struct volume_close *c)
{
    amend_step(CONTAINER_OF(c, struct amend, close));
}

static void swapped(struct swap *s)
{
    amend_step(CONTAINER_OF(s, struct amend, swap));
}

static void finish(struct amend *a, enum err err)
{
    manifest_finish(&a->next);
    a->err = err;
    a->done(a);
}

static void start_get(struct amend *a)
{
    manifest_finish(&a->next);
    if (a->rounds++ == ROUNDS_MAX) {
        finish(a, complain(&a->complaint, ERR_CONFLICT, "export %s keeps changing: try again", a->name));
        return;
    }
    a->state = AMEND_GETS;
    a->get.engine = a->engine;
    a->get.name = a->name;
    a->get.patience_ns = a->engine->config.patience_ns;
    a->get.done = got;
    manifest_get_start(&a->get);
}

/* ---------------------------------------------------------- left by somebody who is dead */

/* The close tells. */
static void lost(struct volume *v, void *ctx, enum err why)
{
    (void)v, (void)ctx, (void)why;
}

static void start_open(struct amend *a)
{
    mark_hit("amend-opens");
    a->state = AMEND_OPENS;
    a->open = (struct volume_open){.engine = a->engine, .name = a->name, .lost = lost, .done = opened};
    volume_open(&a->open);
}

static void after_open(struct amend *a)
{
    if (a->open.err) {
        a->complaint = a->open.complaint;
        finish(a, a->open.err);
        return;
    }
    a->state = AMEND_CLOSES;
    a->close = (struct volume_close){.volume = a->open.volume, .done = closed};
    volume_close(&a->close);
}

/* --------------------------------------------------------------------------- editing */

static void edit_and_swap(struct amend *a)
{
    struct engine *e = a->engine;
    memcpy(a->swap.former_nonce, a->next.nonce, sizeof a->next.nonce);
    memcpy(a->swap.etag, a->get.etag, sizeof a->get.etag);
    enum err err = a->edit(a, &a->next);
    if (err || a->look_only) {
        finish(a, err);
        return;
    }
    a->state = AMEND_SWAPS;
    manifest_renew(&a->next, e->loop);
    a->swap.engine = e;
    a->swap.name = a->name;
    a->swap.next = &a->next;
    a->swap.create = false;
    a->swap.patience_ns = e->config.patience_ns;
    a->swap.done = swapped;
    mark_hit("amend");
    swap_start(&a->swap);
}

static void after_get(struct amend *a)
{
    enum err err = a->get.err;
    if (!err)
        a->next = a->get.manifest;
    if (err == ERR_NOTFOUND || (!err && a->next.state == MANIFEST_TOMBSTONE))
        finish(a, complain(&a->complaint, ERR_NOTFOUND, "there is no export %s", a->name));
    else if (err)
        finish(a, complain_store(&a->complaint, err, a->doing, a->name, &a->get.complaint));
    else if (a->next.state == MANIFEST_FORKING)
        finish(a, complain(&a->complaint, ERR_HELD, "export %s is being made by a fork", a->name));
    else if (a->next.state == MANIFEST_CLOSED || a->as_it_is)
        edit_and_swap(a);
    else if (volume_named(a->engine, a->name))
        finish(a, complain(&a->complaint, ERR_HELD, "export %s is open in this very server", a->name));
    else
        start_open(a);
}

static void after_refusal(struct amend *a)
{
    struct manifest found = a->swap.found;
    memset(&a->swap.found, 0, sizeof a->swap.found);
    enum err made = ERR_CONFLICT;
    if (a->swap.maybe_applied) {
        mark_hit("amend-refused-after-lost-answer");
        made = found.serial && strcmp(found.id, a->next.id) == 0 ? a->was_made(a, &found) : ERR_UNKNOWN;
    }
    manifest_finish(&found);
    if (made == ERR_CONFLICT)
        start_get(a);
    else if (made == ERR_OK)
        finish(a, ERR_OK);
    else
        finish(a, complain(&a->complaint, ERR_UNKNOWN,
                           "%s %s: the store's answer was lost, and somebody else has changed it since: look "
                           "whether it was done",
                           a->doing, a->name));
}

static void after_swap(struct amend *a)
{
    enum err err = a->swap.err;
    if (err == ERR_CONFLICT) {
        after_refusal(a);
        return;
    }
    if (err)
        err = complain_store(&a->complaint, err, a->doing, a->name, &a->swap.complaint);
    finish(a, err);
}

static void amend_step(struct amend *a)
{
    switch (a->state) {
    case AMEND_GETS:
        after_get(a);
        break;
    case AMEND_OPENS:
        after_open(a);
        break;
    case AMEND_CLOSES:
        start_get(a);
        break;
    case AMEND_SWAPS:
        after_swap(a);
        break;
    }
}

void amend_start(struct amend *a)
{
    assert(a->done && a->name && a->edit && (a->look_only || a->was_made));
    memset(&a->next, 0, sizeof a->next);
    a->rounds = 0;
    a->complaint.text[0] = '\0';
    start_get(a);
}
