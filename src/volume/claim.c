#include "volume/claim.h"

#include <assert.h>
#include <string.h>

#include "base/mark.h"
#include "volume/engine_state.h"

#define ROUNDS_MAX 16u

static void claim_step(struct claim *);

static void swapped(struct swap *s)
{
    claim_step(CONTAINER_OF(s, struct claim, swap));
}

static void looked(struct liveness *l)
{
    claim_step(CONTAINER_OF(l, struct claim, maker));
}

static void finish(struct claim *c, enum err err)
{
    c->err = err;
    c->done(c);
}

static void start_swap(struct claim *c, bool create)
{
    struct engine *e = c->engine;
    c->state = CLAIM_SWAPS;
    manifest_renew(c->next, e->loop);
    c->swap.engine = e;
    c->swap.name = c->name;
    c->swap.next = c->next;
    c->swap.create = create;
    c->swap.patience_ns = e->config.patience_ns;
    c->swap.done = swapped;
    swap_start(&c->swap);
}

/* What is there makes room for us: its ETag is in swap.etag. */
static void replace(struct claim *c)
{
    if (c->rounds++ < ROUNDS_MAX)
        start_swap(c, false);
    else
        finish(c, complain(&c->complaint, ERR_CONFLICT,
                           "export %s is made and removed by others all the time: try again", c->name));
}

static void look_at_maker(struct claim *c, const char *owner)
{
    if (strcmp(owner, c->engine->server_id) == 0) {
        replace(c);
        return;
    }
    c->state = CLAIM_LOOKS;
    c->maker.engine = c->engine;
    memcpy(c->maker.server_id, owner, sizeof c->maker.server_id);
    c->maker.done = looked;
    liveness_start(&c->maker);
}

static bool is_ours(const struct claim *c, const struct manifest *found)
{
    return found->serial && strcmp(found->id, c->next->id) == 0 && found->state != MANIFEST_TOMBSTONE &&
           c->next->state != MANIFEST_FORKING;
}

static void refused(struct claim *c)
{
    struct manifest found = c->swap.found;
    memset(&c->swap.found, 0, sizeof c->swap.found);
    char owner[ID_HEX];
    enum manifest_state state = found.state;
    bool there = found.serial, ours = is_ours(c, &found);
    memcpy(owner, found.owner, sizeof owner);
    c->next->serial = found.serial;
    memcpy(c->swap.former_nonce, found.nonce, sizeof found.nonce);
    manifest_finish(&found);
    if (ours) /* it was there, and somebody has opened it since */
        finish(c, ERR_OK);
    else if (there && state == MANIFEST_TOMBSTONE)
        replace(c);
    else if (there && state == MANIFEST_FORKING)
        look_at_maker(c, owner);
    else
        finish(c, complain(&c->complaint, ERR_CONFLICT, "export %s exists already", c->name));
}

static void after_swap(struct claim *c)
{
    enum err err = c->swap.err;
    if (err == ERR_CONFLICT) {
        refused(c);
        return;
    }
    c->complaint = c->swap.complaint;
    if (!err)
        memcpy(c->etag, c->swap.etag, sizeof c->etag);
    finish(c, err);
}

static void after_look(struct claim *c)
{
    if (c->maker.err) {
        c->complaint = c->maker.req.complaint;
        finish(c, c->maker.err);
    } else if (!c->maker.dead) {
        finish(c, complain(&c->complaint, ERR_HELD, "export %s is being made by a fork: %s", c->name,
                           c->maker.who));
    } else {
        mark_hit("fork-taken-over");
        replace(c);
    }
}

static void claim_step(struct claim *c)
{
    switch (c->state) {
    case CLAIM_SWAPS:
        after_swap(c);
        break;
    case CLAIM_LOOKS:
        after_look(c);
        break;
    }
}

void claim_start(struct claim *c)
{
    assert(c->done && c->name && c->next);
    c->rounds = 0;
    c->complaint.text[0] = '\0';
    start_swap(c, true);
}
