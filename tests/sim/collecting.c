#include "collecting.h"

#include <assert.h>
#include <string.h>

#include "base/mark.h"
#include "bucket.h"

static void collected(struct collect *q)
{
    struct process *d = CONTAINER_OF(q, struct process, collect);
    struct sim *s = d->server->sim;
    if (d->server->doomed)
        return;
    sim_trace(s, "s%zu collected: %s %s; %u turns, %llu deleted, %llu garbage left", d->server->number,
              err_text(q->err), q->complaint.text, q->counts.turns,
              (unsigned long long)q->counts.deleted_objects, (unsigned long long)q->counts.garbage_objects);
    if (q->err == ERR_CORRUPT && !s->bucket->damaged)
        sim_fail(s, "s%zu: the collector finds damage where there is none: %s", d->server->number,
                 q->complaint.text);
    if (q->err && q->err != ERR_CORRUPT && q->err != ERR_CONFLICT && q->err != ERR_CANCELED)
        sim_fail(s, "s%zu: the collector ends with %s (%s)", d->server->number, err_text(q->err),
                 q->complaint.text);
    if (q->counts.deleted_objects)
        mark_hit("sim.collected");
    d->collecting = false;
}

static void waits(struct collect *q, const char *for_what)
{
    struct process *d = CONTAINER_OF(q, struct process, collect);
    sim_trace(d->server->sim, "s%zu collector waits for %s", d->server->number, for_what);
}

void process_collect(struct process *d, bool once, uint64_t patience_ns)
{
    assert(d->state == PROCESS_UP && !d->collecting);
    d->collecting = true;
    d->collect = (struct collect){
        .engine = d->engine, .once = once, .patience_ns = patience_ns, .waits = waits, .done = collected};
    d->server->sim->collectors = true;
    sim_trace(d->server->sim, "s%zu collects", d->server->number);
    server_enter(d->server);
    collect_start(&d->collect);
    server_leave(d->server);
}

void process_collect_stop(struct process *d)
{
    server_enter(d->server);
    collect_cancel(&d->collect);
    server_leave(d->server);
}

static void removed(struct export_op *op)
{
    struct process *d = CONTAINER_OF(op, struct process, remove);
    if (d->server->doomed)
        return;
    sim_trace(d->server->sim, "s%zu removed %s: %s %s", d->server->number, op->name, err_text(op->err),
              op->complaint.text);
    d->removing = false;
}

void process_remove(struct process *d, const char *name)
{
    assert(d->state == PROCESS_UP && !d->removing);
    d->removing = true;
    d->remove = (struct export_op){.engine = d->engine, .name = name, .done = removed};
    server_enter(d->server);
    export_remove(&d->remove);
    server_leave(d->server);
}

static bool belongs(const char *key)
{
    size_t n = strlen(key), m = strlen("/manifest");
    return strcmp(key, "format") == 0 || strcmp(key, "gc/state") == 0 || strncmp(key, "servers/", 8) == 0 ||
           strncmp(key, "probe/", 6) == 0 ||
           (strncmp(key, "exports/", 8) == 0 && n > m && strcmp(key + n - m, "/manifest") == 0);
}

const char *bucket_leftover(struct bucket *b)
{
    for (size_t i = 0, n = bucket_count(b, ""); i < n; i++) {
        const struct object *o = bucket_nth(b, "", i);
        if (!belongs(o->key))
            return o->key;
    }
    return NULL;
}
