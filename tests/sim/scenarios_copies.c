/* Snapshots, forks, rollback and removal, with crashes at every step and owners that come too late. */
#include "scenario.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "copying.h"

#define PUT      RULE_VERB(OBJSTORE_PUT)
#define GET      RULE_VERB(OBJSTORE_GET)
#define MANIFEST "exports/disk/manifest"

/* ------------------------------------------------------- commands on exports at rest */

struct command {
    struct export_op op;
    struct process *process;
    bool done;
};

static void command_done(struct export_op *op)
{
    struct command *c = CONTAINER_OF(op, struct command, op);
    if (!c->process->server->doomed)
        c->done = true;
}

static bool command_over(void *ctx)
{
    const struct command *c = ctx;
    return c->done || !c->process->server->alive;
}

static void command_begin(struct command *c, struct process *d, void (*verb)(struct export_op *))
{
    c->process = d;
    c->done = false;
    c->op.engine = d->engine;
    c->op.done = command_done;
    server_enter(d->server);
    verb(&c->op);
    server_leave(d->server);
}

/* CANCELED: its server died. */
static enum err command_end(struct script *t, struct command *c)
{
    expect(t, sim_run_until(t->sim, command_over, c, 600 * NS_PER_S));
    return c->done ? c->op.err : ERR_CANCELED;
}

static enum err command(struct script *t, struct process *d, void (*verb)(struct export_op *),
                        struct export_op op)
{
    struct command c = {.op = op};
    command_begin(&c, d, verb);
    return command_end(t, &c);
}

#define COMMAND(t, d, verb, ...) command(t, d, verb, (struct export_op){__VA_ARGS__})

static void manifest_of(struct script *t, const char *name, struct manifest *m)
{
    struct model_export named = {.sim = t->sim};
    snprintf(named.name, sizeof named.name, "%s", name);
    script_manifest(t, &named, m);
}

static bool nothing_is_copied(void *ctx)
{
    const struct client *c = ctx;
    return !c->copying;
}

static struct client *with_data(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    struct client *a = script_open(t, script_server(t, 0), *e);
    expect(t, script_write(t, a, 0, 32768, VOLUME_FUA) == ERR_OK);
    return a;
}

/* Every answered snapshot of it holds what it must. */
static void check_snapshots(struct script *t, struct process *d, struct model_export *e, size_t expected)
{
    size_t n = 0;
    LIST_EACH(&e->copies, k)
    {
        struct model_export *fork = process_fork(d, e, CONTAINER_OF(k, struct model_copy, link));
        while (d->removing)
            script_run(t, 1);
        expect(t, d->remove.err == ERR_OK);
        struct client *c = script_open(t, d, fork);
        expect(t, c->session->verified && script_close(t, c) == ERR_OK);
        n++;
    }
    expect(t, n == expected);
}

/* ------------------------------------------------------------------------ live snapshots */

/* Its swap arrives when somebody else owns the export: refused, and it says so. */
static void zombie_snapshot_after_fence(struct script *t)
{
    struct model_export *e;
    struct client *a = with_data(t, &e);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, MANIFEST, a->process->server);
    client_copy(a, COPYING_SNAPSHOT);
    script_await_held(t, r, 1);
    script_sleep(a->process);
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_write(t, b, 0, 4096, VOLUME_FUA) == ERR_OK);
    rule_release(t->bucket, r);
    script_wake(a->process);
    expect(t, sim_run_until(t->sim, nothing_is_copied, a, 600 * NS_PER_S));
    expect(t, list_empty(&e->copies) && a->lost);
    struct manifest m;
    script_manifest(t, e, &m);
    expect(t, m.snapshot_count == 0);
    script_forget(&m);
}

/* It was made, nobody heard of it, and the next owner replaced the manifest: found there, it is answered
 * OK. */
static void snapshot_found_after_takeover(struct script *t)
{
    struct model_export *e;
    struct client *a = with_data(t, &e);
    rule_add_times(t->bucket, RULE_LOSE_ANSWER, PUT, MANIFEST, a->process->server, 0, 1);
    struct rule *back = rule_add_times(t->bucket, RULE_HOLD, GET, MANIFEST, a->process->server, 0, 1);
    client_copy(a, COPYING_SNAPSHOT);
    script_await_held(t, back, 1);
    script_sleep(a->process);
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_write(t, b, 0, 4096, VOLUME_FUA) == ERR_OK);
    rule_release(t->bucket, back);
    script_wake(a->process);
    expect(t, sim_run_until(t->sim, nothing_is_copied, a, 600 * NS_PER_S));
    script_run(t, 10);
    expect(t, a->lost);
    expect(t, script_close(t, b) == ERR_OK);
    check_snapshots(t, b->process, e, 1);
}

static void snapshot_crash_before_swap(struct script *t)
{
    struct model_export *e;
    struct client *a = with_data(t, &e);
    struct manifest m;
    expect(t, script_write(t, a, 4096, 4096, 0) == ERR_OK);
    rule_add_times(t->bucket, RULE_CRASH_BEFORE, PUT, MANIFEST, NULL, 0, 1);
    client_copy(a, COPYING_SNAPSHOT);
    script_run(t, 60);
    expect(t, a->died);
    struct client *b = script_open(t, script_server(t, 0), e);
    script_manifest(t, e, &m);
    expect(t, m.snapshot_count == 0);
    script_forget(&m);
    client_copy(b, COPYING_SNAPSHOT);
    expect(t, sim_run_until(t->sim, nothing_is_copied, b, 600 * NS_PER_S));
    rule_add_times(t->bucket, RULE_CRASH_AFTER, PUT, MANIFEST, NULL, 0, 1);
    client_copy(b, COPYING_SNAPSHOT);
    script_run(t, 60);
    expect(t, b->died);
    script_manifest(t, e, &m);
    expect(t, m.snapshot_count == 2);
    script_forget(&m);
    struct process *d = script_server(t, 0);
    check_snapshots(t, d, e, 1); /* only one was answered */
}

/* A full log cuts the flush short: the snapshot waits for the next checkpoint, and holds all that was
 * answered. Another export's checkpoint has the reserve until the snapshot was asked for. */
static void snapshot_when_the_log_is_full(struct script *t)
{
    struct model_export *e, *other = script_export(t, "other", NULL);
    t->config.limits.log_records_max = 4;
    t->config.limits.checkpoint_log_records = 4;
    struct client *a = with_data(t, &e), *b = script_open(t, a->process, other);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "maps/*", NULL);
    for (int i = 0; i < 4; i++)
        expect(t, script_write(t, b, (uint64_t)i * 8192, 4096, VOLUME_FUA) == ERR_OK);
    script_await_held(t, r, 1);
    for (int i = 0; i < 3; i++)
        expect(t, script_write(t, a, (uint64_t)i * 8192, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, script_write(t, a, 65536, 4096, 0) == ERR_OK);
    client_copy(a, COPYING_SNAPSHOT);
    script_run(t, 5);
    expect(t, a->copying);
    rule_release(t->bucket, r);
    expect(t, sim_run_until(t->sim, nothing_is_copied, a, 600 * NS_PER_S));
    check_snapshots(t, a->process, e, 1);
}

/* --------------------------------------------------------------------------- at rest */

/* Whoever runs it dies at the n-th change of the bucket, before or after it; run again, it finishes. */
static void crash_everywhere(struct script *t, void (*verb)(struct export_op *), struct export_op op,
                             enum err already, void (*prepare)(struct script *, struct process *),
                             void (*check)(struct script *, bool crashed))
{
    for (unsigned n = 0; n < 10; n++) {
        struct process *d = script_server(t, 0);
        prepare(t, d);
        t->bucket->crash_at_mutation = 1 + n / 2;
        t->bucket->crash_after = n % 2;
        enum err err = command(t, d, verb, op);
        bool crashed = !d->server->alive;
        t->bucket->crash_at_mutation = 0;
        expect(t, crashed || err == ERR_OK);
        if (!crashed)
            script_stop(t, d);
        d = script_server(t, 0);
        err = command(t, d, verb, op);
        expect(t, err == ERR_OK || err == already);
        check(t, crashed);
        script_stop(t, d);
    }
}

static const struct export_params small = {.size = 65536, .block_size = 4096, .object_size = 16384};

static void prepare_rollback(struct script *t, struct process *d)
{
    enum err err = COMMAND(t, d, export_remove, .name = "plain");
    expect(t, err == ERR_OK || err == ERR_NOTFOUND);
    expect(t, COMMAND(t, d, export_create, .name = "plain", .params = &small) == ERR_OK);
    expect(t, COMMAND(t, d, export_snapshot, .name = "plain", .snapshot = "old") == ERR_OK);
    expect(t, COMMAND(t, d, export_resize, .name = "plain", .size = 131072) == ERR_OK);
}

static void check_rollback(struct script *t, bool crashed)
{
    struct manifest m;
    (void)crashed;
    manifest_of(t, "plain", &m);
    expect(t, m.state == MANIFEST_CLOSED && m.params.size == 65536);
    expect(t, m.snapshot_count == 2 && m.snapshots[1].size == 131072);
    script_forget(&m);
}

static void rollback_crash_at_every_step(struct script *t)
{
    crash_everywhere(t, export_rollback, (struct export_op){.name = "plain", .snapshot = "old"}, ERR_OK,
                     prepare_rollback, check_rollback);
}

static void prepare_fork(struct script *t, struct process *d)
{
    prepare_rollback(t, d);
    enum err err = COMMAND(t, d, export_remove, .name = "child");
    expect(t, err == ERR_OK || err == ERR_NOTFOUND);
}

static void check_fork(struct script *t, bool crashed)
{
    struct manifest m;
    (void)crashed;
    manifest_of(t, "child", &m);
    expect(t, m.state == MANIFEST_CLOSED && m.params.size == 131072 && strcmp(m.parent.name, "plain") == 0);
    script_forget(&m);
}

static void fork_crash_at_every_step(struct script *t)
{
    crash_everywhere(t, export_fork, (struct export_op){.name = "plain", .child = "child"}, ERR_CONFLICT,
                     prepare_fork, check_fork);
}

static void check_removed(struct script *t, bool crashed)
{
    struct manifest m;
    char id[ID_HEX];
    (void)crashed;
    manifest_of(t, "plain", &m);
    expect(t, m.state == MANIFEST_TOMBSTONE && !m.snapshot_count);
    memcpy(id, m.id, sizeof id);
    script_forget(&m);
    struct process *d = script_server(t, 1);
    expect(t, COMMAND(t, d, export_create, .name = "plain", .params = &small) == ERR_OK);
    manifest_of(t, "plain", &m);
    expect(t, m.state == MANIFEST_CLOSED && strcmp(m.id, id) != 0);
    script_forget(&m);
    script_stop(t, d);
}

static void rm_recreate_same_name(struct script *t)
{
    crash_everywhere(t, export_remove, (struct export_op){.name = "plain"}, ERR_NOTFOUND, prepare_rollback,
                     check_removed);
}

/* Between the reading of its parent and the child's last swap the parent is removed, and a collector runs:
 * it waits for the child, or aborts it; what the fork says is true. */
static void fork_slow_parent_removed(struct script *t)
{
    struct model_export *e;
    struct client *a = with_data(t, &e);
    struct process *d = a->process, *slow = script_server(t, 1);
    client_copy(a, COPYING_SNAPSHOT);
    expect(t, sim_run_until(t->sim, nothing_is_copied, a, 600 * NS_PER_S));
    expect(t, script_close(t, a) == ERR_OK);
    const struct model_copy *copy = CONTAINER_OF(list_first(&e->copies), struct model_copy, link);
    struct rule *r = rule_add_times(t->bucket, RULE_HOLD, PUT, "exports/*fork/manifest", slow->server, 1, 1);
    struct model_export *fork = process_fork(slow, e, copy);
    script_await_held(t, r, 1);
    process_remove(d, e->name);
    while (d->removing)
        script_run(t, 1);
    expect(t, d->remove.err == ERR_OK);
    e->opens = 0; /* it is not there to be opened in the end */
    process_collect(d, false, 300 * NS_PER_S);
    script_run(t, 400);
    rule_release(t->bucket, r);
    while (slow->removing)
        script_run(t, 1);
    enum err err = script_collected(t, d);
    expect(t, err == ERR_OK || err == ERR_CANCELED);
    expect(t, slow->remove.err == ERR_OK || slow->remove.err == ERR_CONFLICT ||
                  slow->remove.err == ERR_NOTFOUND);
    if (slow->remove.err)
        return;
    script_collect(t, d);
    struct client *c = script_open(t, d, fork);
    expect(t, c->session->verified && script_close(t, c) == ERR_OK);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "copies", #name, name                                                                                \
    }
const struct scenario scenarios_copies[] = {
    S(zombie_snapshot_after_fence),   S(snapshot_found_after_takeover), S(snapshot_crash_before_swap),
    S(snapshot_when_the_log_is_full), S(rollback_crash_at_every_step),  S(fork_crash_at_every_step),
    S(rm_recreate_same_name),         S(fork_slow_parent_removed),      {0}};
