#include "script.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "seal.h"

#define PATIENCE_NS (600 * NS_PER_S) /* simulated time in which anything must have happened */

void script_init(struct script *t, uint64_t seed, const struct faults *f)
{
    struct faults none;
    faults_none(&none);
    memset(t, 0, sizeof *t);
    t->sim = sim_create(seed, f ? f : &none);
    t->bucket = t->sim->bucket;
    process_config_plain(&t->config);
    t->config.flush_interval_ns = 3600 * NS_PER_S;
    t->config.checkpoint_interval_ns = 3600 * NS_PER_S;
}

static void wait_for(struct script *t, bool (*is_so)(void *), void *ctx, const char *what)
{
    if (!sim_run_until(t->sim, is_so, ctx, PATIENCE_NS))
        sim_fail(t->sim, "ten minutes are over, and still not %s", what);
}

void script_run(struct script *t, double seconds)
{
    sim_run_for(t->sim, (uint64_t)(seconds * 1e9));
}

struct model_export *script_export(struct script *t, const char *name, const struct export_params *p)
{
    static const struct export_params usual = {.size = 256 * KIB, .block_size = 4096, .object_size = 16384};
    assert(t->export_count < SCRIPT_EXPORTS_MAX);
    return t->exports[t->export_count++] = model_export_create(t->sim, name, p ? p : &usual, false);
}

/* ------------------------------------------------------------------------ servers */

static bool has_joined(void *ctx)
{
    const struct process *d = ctx;
    return d->state != PROCESS_JOINING;
}

struct process *script_server_begin(struct script *t, unsigned machine)
{
    assert(t->process_count < SCRIPT_PROCESSES_MAX);
    return t->processes[t->process_count++] = process_start(t->sim, machine, 0, &t->config);
}

void script_joined(struct script *t, struct process *d)
{
    wait_for(t, has_joined, d, "joined");
    expect(t, d->state == PROCESS_UP);
}

struct process *script_server(struct script *t, unsigned machine)
{
    struct process *d = script_server_begin(t, machine);
    script_joined(t, d);
    return d;
}

static bool is_down(void *ctx)
{
    const struct process *d = ctx;
    return d->state == PROCESS_DOWN;
}

void script_stop(struct script *t, struct process *d)
{
    while (d->state == PROCESS_UP && !list_empty(&d->clients))
        script_close(t, CONTAINER_OF(list_first(&d->clients), struct client, link));
    if (d->state == PROCESS_UP || d->state == PROCESS_REFUSED)
        process_stop(d);
    wait_for(t, is_down, d, "stopped");
}

void script_sleep(struct process *d)
{
    server_sleep(d->server, UINT64_C(1000000) * NS_PER_S);
}

void script_wake(struct process *d)
{
    server_wake(d->server);
}

/* -------------------------------------------------------------------- open and close */

static bool is_settled(void *ctx)
{
    const struct client *c = ctx;
    return c->state == CLIENT_ENDED || (c->state == CLIENT_OPEN && !c->in_flight);
}

bool script_opened(struct script *t, struct client *c, uint64_t ns)
{
    return sim_run_until(t->sim, is_settled, c, ns);
}

struct client *script_try_open(struct script *t, struct process *d, struct model_export *e, enum err *err)
{
    struct client *c = process_open(d, e);
    wait_for(t, is_settled, c, "opened");
    *err = c->err;
    return c->state == CLIENT_OPEN ? c : NULL;
}

struct client *script_open(struct script *t, struct process *d, struct model_export *e)
{
    for (int tries = 0; tries < 60; tries++) {
        enum err err;
        struct client *c = script_try_open(t, d, e, &err);
        if (c)
            return c;
        expect(t, err == ERR_HELD);
        script_run(t, 10);
    }
    sim_fail(t->sim, "%s stays held", e->name);
}

static bool has_ended(void *ctx)
{
    const struct client *c = ctx;
    return c->state == CLIENT_ENDED;
}

enum err script_close(struct script *t, struct client *c)
{
    wait_for(t, is_settled, c, "idle");
    if (c->state == CLIENT_OPEN)
        client_close(c);
    wait_for(t, has_ended, c, "closed");
    return c->err;
}

/* ------------------------------------------------------------------------- requests */

static bool op_ended(void *ctx)
{
    const struct client_op *op = ctx;
    return op->stage == OP_DONE || op->stage == OP_GONE;
}

struct client_op *script_begin(struct client *c, enum volume_verb verb, uint64_t offset, uint64_t bytes,
                               unsigned flags)
{
    return client_submit(c, verb, flags, offset, bytes, NULL, true);
}

bool script_answered_within(struct script *t, struct client_op *op, uint64_t ns)
{
    return sim_run_until(t->sim, op_ended, op, ns);
}

enum err script_wait(struct script *t, struct client_op *op)
{
    wait_for(t, op_ended, op, "answered");
    enum err err = op->err;
    op_free(op);
    return err;
}

enum err script_write(struct script *t, struct client *c, uint64_t offset, uint64_t bytes, unsigned flags)
{
    return script_wait(t, script_begin(c, VOLUME_WRITE, offset, bytes, flags));
}

enum err script_trim(struct script *t, struct client *c, uint64_t offset, uint64_t bytes, unsigned flags)
{
    return script_wait(t, script_begin(c, VOLUME_TRIM, offset, bytes, flags));
}

enum err script_read(struct script *t, struct client *c, uint64_t offset, uint64_t bytes)
{
    return script_wait(t, script_begin(c, VOLUME_READ, offset, bytes, 0));
}

enum err script_flush(struct script *t, struct client *c)
{
    return script_wait(t, script_begin(c, VOLUME_FLUSH, 0, 0, 0));
}

/* --------------------------------------------------------------------------- waiting */

struct awaited_rule {
    struct rule *rule;
    uint64_t n;
};

static bool enough_held(void *ctx)
{
    const struct awaited_rule *a = ctx;
    return rule_held(a->rule) >= a->n;
}

static bool enough_hits(void *ctx)
{
    const struct awaited_rule *a = ctx;
    return a->rule->hits >= a->n;
}

void script_await_held(struct script *t, struct rule *r, size_t n)
{
    struct awaited_rule a = {r, n};
    wait_for(t, enough_held, &a, "held");
}

void script_await_hits(struct script *t, struct rule *r, uint64_t n)
{
    struct awaited_rule a = {r, n};
    wait_for(t, enough_hits, &a, "sent");
}

struct awaited_checkpoint {
    struct script *script;
    const struct model_export *export;
    struct map_root root;
};

static bool root_changed(void *ctx)
{
    const struct awaited_checkpoint *a = ctx;
    struct manifest m;
    script_manifest(a->script, a->export, &m);
    bool changed = !sha256_equal(&m.root.tree.page.hash, &a->root.tree.page.hash);
    script_forget(&m);
    return changed;
}

void script_await_checkpoint(struct script *t, struct model_export *e)
{
    struct awaited_checkpoint a = {.script = t, .export = e};
    struct manifest m;
    script_manifest(t, e, &m);
    a.root = m.root;
    script_forget(&m);
    wait_for(t, root_changed, &a, "checkpointed");
}

/* -------------------------------------------------------------------- what is in there */

void script_manifest(struct script *t, const struct model_export *e, struct manifest *m)
{
    struct key k;
    key_manifest(&k, e->name);
    const struct object *o = bucket_find(t->bucket, k.text);
    if (!o)
        sim_fail(t->sim, "%s has no manifest", e->name);
    memset(m, 0, sizeof *m);
    enum err err = manifest_parse(o->body, o->bytes, m, NULL);
    expect(t, err == ERR_OK);
}

void script_forget(struct manifest *m)
{
    manifest_finish(m);
}

void script_slot_key(struct script *t, const struct model_export *e, uint64_t slot, struct key *k)
{
    struct manifest m;
    script_manifest(t, e, &m);
    key_log_slot(k, e->name, m.id, m.epoch, m.folder, slot);
    script_forget(&m);
}

size_t script_slots(struct script *t, const struct model_export *e)
{
    struct manifest m;
    struct key k;
    script_manifest(t, e, &m);
    key_log_folder(&k, e->name, m.id, m.epoch, m.folder);
    script_forget(&m);
    return bucket_count(t->bucket, k.text);
}

void script_put_seal(struct script *t, const struct model_export *e, uint64_t slot)
{
    struct manifest m;
    script_manifest(t, e, &m);
    bool put = seal_put(t->bucket, e->name, &m, slot);
    script_forget(&m);
    expect(t, put);
}

bool script_is_seal(const struct object *o)
{
    return o && o->bytes == SEAL_BYTES;
}

/* -------------------------------------------------------------------------- collecting */

static bool collector_rests(void *ctx)
{
    const struct process *d = ctx;
    return !d->collecting;
}

enum err script_collect(struct script *t, struct process *d)
{
    process_collect(d, false, 60 * NS_PER_S);
    return script_collected(t, d);
}

enum err script_collected(struct script *t, struct process *d)
{
    wait_for(t, collector_rests, d, "collected");
    return d->server->alive ? d->collect.err : ERR_CANCELED;
}

static bool remover_rests(void *ctx)
{
    const struct process *d = ctx;
    return !d->removing;
}

void script_remove(struct script *t, struct process *d, struct model_export *e)
{
    process_remove(d, e->name);
    wait_for(t, remover_rests, d, "removed");
    expect(t, d->remove.err == ERR_OK);
    e->removed = true;
}

void script_nothing_left(struct script *t)
{
    const char *key = bucket_leftover(t->bucket);
    if (key)
        sim_fail(t->sim, "%s is left over", key);
}

/* ----------------------------------------------------------------------------- the end */

static void check_once_more(struct script *t, struct process *d, struct model_export *e)
{
    struct client *c = script_open(t, d, e);
    expect(t, c->session->verified);
    expect(t, script_close(t, c) == ERR_OK);
}

void script_finish(struct script *t)
{
    sim_heal(t->sim);
    script_run(t, 30);
    for (size_t i = 0; i < t->process_count; i++)
        if (t->processes[i]->server->alive) {
            if (t->processes[i]->state == PROCESS_JOINING)
                wait_for(t, has_joined, t->processes[i], "joined");
            script_stop(t, t->processes[i]);
        }
    struct process *d = script_server(t, 9);
    for (size_t i = 0; i < t->export_count; i++)
        if (t->exports[i]->opens && !t->exports[i]->removed)
            check_once_more(t, d, t->exports[i]);
    script_stop(t, d);
    for (size_t i = 0; i < t->process_count; i++)
        process_destroy(t->processes[i]);
    for (size_t i = 0; i < t->export_count; i++)
        model_export_destroy(t->exports[i]);
    sim_destroy(t->sim);
}
