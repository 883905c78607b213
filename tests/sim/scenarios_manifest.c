/* The manifest: replaced by compare-and-swap, whatever becomes of the answers. */
#include "scenario.h"

#include <string.h>

#define MANIFEST "exports/disk/manifest"
#define PUT      RULE_VERB(OBJSTORE_PUT)

static struct client *owner(struct script *t, struct model_export **e)
{
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    *e = script_export(t, "disk", NULL);
    struct client *c = script_open(t, script_server(t, 0), *e);
    expect(t, script_write(t, c, 0, 8192, VOLUME_FUA) == ERR_OK);
    return c;
}

static void checkpoint_swap_lost_answer(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct rule *r = rule_add_times(t->bucket, RULE_LOSE_ANSWER, PUT, MANIFEST, NULL, 0, 1);
    script_await_checkpoint(t, e);
    script_run(t, 20);
    expect(t, r->hits == 1 && !a->lost);
    expect(t, script_slots(t, e) == 0); /* it was recognised as ours, and the log deleted */
    expect(t, script_write(t, a, 4096, 4096, VOLUME_FUA) == ERR_OK);
}

static void zombie_checkpoint_against_takeover(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, MANIFEST, a->process->server);
    script_await_held(t, r, 1);
    script_sleep(a->process);
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_write(t, b, 0, 4096, VOLUME_FUA) == ERR_OK);
    rule_release(t->bucket, r);
    script_wake(a->process);
    script_run(t, 30);
    script_write(t, a, 12288, 512, 0);
    expect(t, script_flush(t, a) == ERR_FENCED);
    expect(t, script_read(t, b, 0, 16384) == ERR_OK);
    server_crash(b->process->server);
    script_open(t, script_server(t, 1), e);
}

static void crash_between_swap_and_delete(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    rule_add_times(t->bucket, RULE_CRASH_BEFORE, RULE_VERB(OBJSTORE_DELETE), "exports/*", NULL, 0, 1);
    script_run(t, 60);
    expect(t, a->died);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, b, 0, 16384) == ERR_OK);
    expect(t, script_write(t, b, 4096, 4096, VOLUME_FUA) == ERR_OK);
}

static void manifest_replaced_between_get_and_list(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    server_crash(a->process->server);
    script_run(t, 60);
    struct process *slow = script_server(t, 1);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_LIST), "exports/disk/*", slow->server);
    struct client *late = process_open(slow, e);
    script_await_held(t, r, 1);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_write(t, b, 0, 4096, VOLUME_FUA) == ERR_OK);
    script_run(t, 30); /* folded, and the old log deleted */
    rule_release(t->bucket, r);
    expect(t, script_opened(t, late, 600 * NS_PER_S) && late->state == CLIENT_ENDED && late->err == ERR_HELD);
    expect(t, script_write(t, b, 4096, 4096, VOLUME_FUA) == ERR_OK);
}

static void loser_deletes_nothing(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    server_crash(a->process->server);
    script_run(t, 60);
    struct process *loser = script_server(t, 1);
    struct rule *swap = rule_add(t->bucket, RULE_HOLD, PUT, MANIFEST, loser->server);
    struct rule *deletes =
        rule_add(t->bucket, RULE_COUNT, RULE_VERB(OBJSTORE_DELETE), "exports/*", loser->server);
    struct client *late = process_open(loser, e);
    script_await_held(t, swap, 1);
    script_open(t, script_server(t, 0), e);
    rule_release(t->bucket, swap);
    expect(t, script_opened(t, late, 600 * NS_PER_S) && late->err == ERR_HELD);
    script_run(t, 60);
    expect(t, deletes->hits == 0);
}

#define VERSIONS 12

static void etag_never_repeats(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    char nonces[VERSIONS][ID_HEX];
    uint64_t serial = 0;
    for (int i = 0; i < VERSIONS; i++) {
        struct manifest m;
        expect(t, script_trim(t, a, 0, 4096, VOLUME_FUA) == ERR_OK); /* the same state again and again */
        expect(t, script_write(t, a, 4096, 512, VOLUME_FUA) == ERR_OK);
        script_await_checkpoint(t, e);
        script_manifest(t, e, &m);
        expect(t, m.serial > serial);
        serial = m.serial;
        memcpy(nonces[i], m.nonce, ID_HEX);
        script_forget(&m);
        for (int k = 0; k < i; k++)
            expect(t, strcmp(nonces[k], nonces[i]) != 0);
    }
}

/* The closing swap is stuck; the server dies. Whether it arrives before or after the next owner, nothing is
 * lost. */
static void owner_acknowledges_after_close_sent(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 16384, 4096, 0) == ERR_OK);
    expect(t, script_flush(t, a) == ERR_OK);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, MANIFEST, a->process->server);
    client_close(a);
    script_await_held(t, r, 1);
    script_sleep(a->process);
    struct client *b = script_open(t, script_server(t, 1), e);
    rule_release(t->bucket, r);
    script_wake(a->process);
    script_run(t, 60);
    expect(t, a->state == CLIENT_ENDED && a->err == ERR_FENCED);
    expect(t, script_read(t, b, 0, 32768) == ERR_OK);
}

static void swap_race_answers_500(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    rule_add_times(t->bucket, RULE_REFUSE, PUT, MANIFEST, NULL, 0, 3);
    script_await_checkpoint(t, e);
    expect(t, !a->lost);
    struct process *d = script_server(t, 1);
    t->sim->faults.loser_500 = 800;
    script_sleep(a->process);
    struct client *b = script_open(t, d, e);
    script_wake(a->process);
    script_write(t, a, 12288, 512, 0);
    expect(t, script_flush(t, a) == ERR_FENCED);
    expect(t, script_write(t, b, 12288, 512, VOLUME_FUA) == ERR_OK);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "manifest", #name, name                                                                              \
    }
const struct scenario scenarios_manifest[] = {S(checkpoint_swap_lost_answer),
                                              S(zombie_checkpoint_against_takeover),
                                              S(crash_between_swap_and_delete),
                                              S(manifest_replaced_between_get_and_list),
                                              S(loser_deletes_nothing),
                                              S(etag_never_repeats),
                                              S(owner_acknowledges_after_close_sent),
                                              S(swap_race_answers_500),
                                              {0}};
