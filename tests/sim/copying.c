#include "copying.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/mark.h"

struct copying {
    struct client *client;
    enum copying_verb verb;
    size_t least; /* changes that it must hold */
    char name[80];
    struct model_copy *copy; /* REMOVE */
    struct volume_change change;
    struct export_op op;
};

static const char *const verbs[] = {"snapshot", "fork", "removal of a snapshot", "growing"};

static bool doomed(const struct copying *g)
{
    return g->client->process->server->doomed;
}

static void end(struct copying *g)
{
    struct client *c = g->client;
    c->copying = NULL;
    c->in_flight--;
    free(g);
}

static void check_error(const struct copying *g, enum err err, const struct complaint *why)
{
    const struct client *c = g->client;
    bool fenced = err == ERR_FENCED && (c->lost || session_may_be_fenced(c->session));
    /* somebody else's manifest may be the one that was read */
    bool superseded = g->verb == COPYING_FORK && session_may_be_fenced(c->session);
    bool gone = g->verb == COPYING_FORK && err == ERR_CONFLICT && c->export->sim->collectors;
    if (!fenced && !superseded && !gone)
        sim_fail(c->export->sim, "%s: s%zu: %s %s is answered \"%s\" for no reason (%s)", c->export->name,
                 c->session->server, verbs[g->verb], g->name, err_text(err), why->text);
}

static void forked(struct export_op *op)
{
    struct copying *g = CONTAINER_OF(op, struct copying, op);
    struct client *c = g->client;
    if (doomed(g))
        return;
    sim_trace(c->export->sim, "s%zu %s: forked %s: %s %s", c->session->server, c->export->name, g->name,
              err_text(op->err), op->complaint.text);
    if (op->err)
        check_error(g, op->err, &op->complaint);
    else if (!c->lost && !session_may_be_fenced(c->session))
        model_export_fork(c->export, g->name, c->session, g->least, c->session->change_count);
    end(g);
}

static void start_fork(struct copying *g)
{
    struct client *c = g->client;
    g->op = (struct export_op){.engine = c->process->engine,
                               .name = c->export->name,
                               .child = g->name,
                               .as_checkpointed = true,
                               .done = forked};
    export_fork(&g->op);
}

static void changed(struct volume_change *change)
{
    struct copying *g = CONTAINER_OF(change, struct copying, change);
    struct client *c = g->client;
    if (doomed(g))
        return;
    sim_trace(c->export->sim, "s%zu %s: %s %s: %s %s", c->session->server, c->export->name, verbs[g->verb],
              g->name, err_text(change->err), change->complaint.text);
    if (change->err)
        check_error(g, change->err, &change->complaint);
    else if (g->verb == COPYING_FORK) {
        start_fork(g);
        return;
    } else if (g->verb == COPYING_SNAPSHOT) {
        model_export_copied(c->export, g->name, c->session, g->least, c->session->change_count);
    } else if (g->verb == COPYING_GROW) {
        c->export->grown = MAX(c->export->grown, change->size);
    }
    end(g);
}

void copy_name(const struct model_export *e, unsigned i, char name[COPY_NAME_MAX])
{
    snprintf(name, COPY_NAME_MAX, "%.60s-%u", e->name, i);
}

void client_copy(struct client *c, enum copying_verb verb)
{
    static const enum volume_change_verb changes[COPYING_VERBS] = {VOLUME_SNAPSHOT, VOLUME_CHECKPOINT,
                                                                   VOLUME_REMOVE_SNAPSHOT, VOLUME_RESIZE};
    struct copying *g = calloc(1, sizeof *g);
    struct volume_info info;
    assert(g && c->state == CLIENT_OPEN && !c->copying && c->session->verified && !c->lost);
    g->client = c;
    g->verb = verb;
    g->least = session_flush_covers(c->session);
    copy_name(c->export, ++c->export->copy_count, g->name);
    if (verb == COPYING_REMOVE) {
        g->copy = model_export_any_copy(c->export);
        if (!g->copy) {
            free(g);
            return;
        }
        g->copy->removing = true;
        snprintf(g->name, sizeof g->name, "%s", g->copy->name);
    }
    volume_info(c->volume, &info);
    g->change = (struct volume_change){
        .volume = c->volume,
        .verb = changes[verb],
        .name = verb == COPYING_SNAPSHOT || verb == COPYING_REMOVE ? g->name : NULL,
        .size = MIN(info.size + info.size * sim_below(c->export->sim, 300), UINT64_C(1) << 50),
        .done = changed};
    g->change.size = MAX(g->change.size, info.size);
    if (verb == COPYING_GROW)
        c->export->growing = MAX(c->export->growing, g->change.size);
    c->copying = g;
    c->in_flight++;
    sim_trace(c->export->sim, "s%zu %s: %s %s", c->session->server, c->export->name, verbs[verb], g->name);
    server_enter(c->process->server);
    volume_change(&g->change);
    server_leave(c->process->server);
}

void client_copy_forget(struct client *c)
{
    if (c->copying)
        end(c->copying);
}

static void fork_done(struct export_op *op)
{
    struct process *d = CONTAINER_OF(op, struct process, remove);
    if (!d->server->doomed)
        d->removing = false;
}

struct model_export *process_fork(struct process *d, struct model_export *e, const struct model_copy *copy)
{
    char name[80];
    assert(d->state == PROCESS_UP && !d->removing);
    snprintf(name, sizeof name, "%.70s-fork", copy->name);
    struct model_export *child = model_export_fork(e, name, copy->session, copy->least, copy->most);
    d->removing = true;
    d->remove = (struct export_op){.engine = d->engine,
                                   .name = e->name,
                                   .snapshot = copy->name,
                                   .child = child->name,
                                   .done = fork_done};
    server_enter(d->server);
    export_fork(&d->remove);
    server_leave(d->server);
    return child;
}
