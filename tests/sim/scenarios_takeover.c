/* Takeover: whoever comes next finds all that was acknowledged, and only one comes next. */
#include "scenario.h"

#define RECORDS  "exports/disk/*/*/*"
#define MANIFEST "exports/disk/manifest"
#define PUT      RULE_VERB(OBJSTORE_PUT)

static struct client *owner(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    struct client *c = script_open(t, script_server(t, 0), *e);
    expect(t, script_write(t, c, 0, 8192, VOLUME_FUA) == ERR_OK);
    expect(t, script_write(t, c, 8192, 512, VOLUME_FUA) == ERR_OK);
    return c;
}

/* It is overdue for everybody who looks from now on. */
static void put_to_sleep(struct script *t, struct client *a)
{
    script_sleep(a->process);
    script_run(t, 60);
}

/* The seal comes too late by a record that was on its way: it is read, replayed, and the next slot is sealed.
 */
static void seal_loses_to_live_record(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct rule *record = rule_add(t->bucket, RULE_HOLD, PUT, RECORDS, a->process->server);
    struct client_op *op = script_begin(a, VOLUME_WRITE, 16384, 4096, VOLUME_FUA);
    script_await_held(t, record, 1);
    put_to_sleep(t, a);
    struct process *b = script_server(t, 1);
    struct rule *seal = rule_add_times(t->bucket, RULE_HOLD, PUT, RECORDS, b->server, 0, 1);
    struct client *c = process_open(b, e);
    script_await_held(t, seal, 1);
    rule_release(t->bucket, record);
    rule_release(t->bucket, seal);
    expect(t, script_opened(t, c, 600 * NS_PER_S) && c->state == CLIENT_OPEN);
    script_wake(a->process);
    script_wait(t, op); /* either answer is true: it is stored, and the export is lost */
    script_flush(t, a);
    expect(t, script_write(t, a, 0, 512, VOLUME_FUA) == ERR_FENCED);
    expect(t, script_read(t, c, 0, 65536) == ERR_OK);
}

static void race(struct script *t, unsigned takers, unsigned loser_500)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    put_to_sleep(t, a);
    struct process *d[4];
    struct client *c[4];
    unsigned won = 0;
    for (unsigned i = 0; i < takers; i++)
        d[i] = script_server(t, 1 + i);
    t->sim->faults.loser_500 = loser_500;
    for (unsigned i = 0; i < takers; i++)
        c[i] = process_open(d[i], e);
    for (unsigned i = 0; i < takers; i++) {
        expect(t, script_opened(t, c[i], 600 * NS_PER_S));
        won += c[i]->state == CLIENT_OPEN;
        expect(t, c[i]->state == CLIENT_OPEN || c[i]->err == ERR_HELD);
    }
    expect(t, won == 1);
    script_wake(a->process);
    script_write(t, a, 0, 512, 0);
    expect(t, script_flush(t, a) == ERR_FENCED);
}

static void two_takers_one_seal(struct script *t)
{
    race(t, 2, 0);
}

static void three_takers_race(struct script *t)
{
    race(t, 3, 800);
}

/* Its swap arrives when somebody else has taken it already. */
static void taker_sleeps_before_swap(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    put_to_sleep(t, a);
    struct process *b = script_server(t, 1);
    struct rule *swap = rule_add(t->bucket, RULE_HOLD, PUT, MANIFEST, b->server);
    struct client *late = process_open(b, e);
    script_await_held(t, swap, 1);
    script_sleep(b);
    struct client *c = script_open(t, script_server(t, 2), e);
    expect(t, script_write(t, c, 4096, 4096, VOLUME_FUA) == ERR_OK);
    rule_release(t->bucket, swap);
    script_wake(b);
    expect(t, script_opened(t, late, 600 * NS_PER_S) && late->state == CLIENT_ENDED && late->err == ERR_HELD);
    expect(t, script_write(t, c, 4096, 4096, VOLUME_FUA) == ERR_OK);
}

/* A taker dies with its swap on the way; it arrives before the next one looks: an epoch of which nobody ever
 * heard. */
static void zombie_takeover_of_dead_server(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    put_to_sleep(t, a);
    struct process *b = script_server(t, 1);
    struct rule *swap = rule_add(t->bucket, RULE_HOLD, PUT, MANIFEST, b->server);
    process_open(b, e);
    script_await_held(t, swap, 1);
    server_crash(b->server);
    rule_release(t->bucket, swap);
    struct client *c = script_open(t, script_server(t, 2), e);
    expect(t, c->session->epoch == 3);
    expect(t, script_write(t, c, 4096, 4096, VOLUME_FUA) == ERR_OK);
    script_wake(a->process);
    script_write(t, a, 0, 512, 0);
    expect(t, script_flush(t, a) == ERR_FENCED);
}

static void takeover_crash_loop(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    server_crash(a->process->server);
    for (int i = 0; i < 6; i++) {
        struct process *d = script_server(t, 0);
        struct rule *r =
            rule_add(t->bucket, i % 2 ? RULE_CRASH_BEFORE : RULE_CRASH_AFTER, PUT, MANIFEST, d->server);
        process_open(d, e);
        script_run(t, 5);
        expect(t, !d->server->alive);
        rule_release(t->bucket, r);
    }
    struct client *c = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, c, 0, 65536) == ERR_OK);
}

/* Its predecessor's process is gone from this machine: nobody waits for a lease to run out. */
static void same_host_restart(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    server_crash(a->process->server);
    uint64_t before = sim_now_ns(t->sim);
    enum err err;
    expect(t, script_try_open(t, script_server(t, 0), e, &err) != NULL);
    expect(t, sim_now_ns(t->sim) - before < 2 * NS_PER_S);
}

static void manifest_owner_heartbeat_missing(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    server_crash(a->process->server);
    expect(t, bucket_count(t->bucket, "servers/") == 1);
    bucket_delete(t->bucket, bucket_nth(t->bucket, "servers/", 0)->key);
    uint64_t before = sim_now_ns(t->sim);
    enum err err;
    expect(t, script_try_open(t, script_server(t, 1), e, &err) != NULL);
    expect(t, sim_now_ns(t->sim) - before < 5 * NS_PER_S);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "takeover", #name, name                                                                              \
    }
const struct scenario scenarios_takeover[] = {S(seal_loses_to_live_record),
                                              S(two_takers_one_seal),
                                              S(three_takers_race),
                                              S(taker_sleeps_before_swap),
                                              S(zombie_takeover_of_dead_server),
                                              S(takeover_crash_loop),
                                              S(same_host_restart),
                                              S(manifest_owner_heartbeat_missing),
                                              {0}};
