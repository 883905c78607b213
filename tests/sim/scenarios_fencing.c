/* Fencing: whoever lost an export acknowledges nothing, and loses nothing that it had acknowledged. */
#include "scenario.h"

#include <string.h>

#include "base/bytes.h"

#define RECORDS "exports/disk/*/*/*"

/* Server on machine 0 with the export open and two flushed records. */
static struct client *owner_with_log(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    struct client *c = script_open(t, script_server(t, 0), *e);
    for (int i = 0; i < 2; i++) {
        expect(t, script_write(t, c, (uint64_t)i * 4096, 4096, 0) == ERR_OK);
        expect(t, script_flush(t, c) == ERR_OK);
    }
    return c;
}

/* It slept through the takeover and through the deletion of all it had logged; its flush must not be answered
 * OK. */
static void stale_owner_wakes_after_seal_and_cleanup(struct script *t)
{
    struct model_export *e;
    struct client *a = owner_with_log(t, &e);
    struct key first;
    script_slot_key(t, e, 0, &first);
    script_sleep(a->process);
    t->config.checkpoint_interval_ns = NS_PER_S;
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_write(t, b, 8192, 4096, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, e);
    script_run(t, 60);
    expect(t, !bucket_find(t->bucket, first.text)); /* cleaned up */
    script_wake(a->process);
    script_write(t, a, 12288, 4096, 0);
    expect(t, script_flush(t, a) == ERR_FENCED);
    expect(t, a->lost);
    expect(t, script_read(t, a, 0, 4096) == ERR_FENCED);
    expect(t, script_close(t, a) == ERR_FENCED);
    expect(t, script_read(t, b, 0, 16384) == ERR_OK);
}

/* Records on their way when the log is sealed below them arrive behind the seal: they do not count. */
static void inflight_beyond_seal(struct script *t)
{
    struct model_export *e;
    struct client *a = owner_with_log(t, &e);
    struct rule *held = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_PUT), RECORDS, a->process->server);
    struct client_op *ops[3];
    for (size_t i = 0; i < 3; i++)
        ops[i] = script_begin(a, VOLUME_WRITE, 4096 * (i + 4), 4096, VOLUME_FUA);
    script_await_held(t, held, 1);
    script_sleep(a->process);
    struct client *b = script_open(t, script_server(t, 1), e);
    rule_release(t->bucket, held); /* slot 2 is a seal by now; what comes after lands behind it */
    script_wake(a->process);
    for (size_t i = 0; i < 3; i++)
        expect(t, script_wait(t, ops[i]) == ERR_FENCED);
    expect(t, script_close(t, a) == ERR_FENCED);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
}

/* The first of several records in flight never arrives, the later ones do: none of them was acknowledged. */
static void gap_then_later_records(struct script *t)
{
    struct model_export *e;
    struct client *a = owner_with_log(t, &e);
    size_t before = script_slots(t, e);
    struct rule *lost =
        rule_add_times(t->bucket, RULE_DROP, RULE_VERB(OBJSTORE_PUT), RECORDS, a->process->server, 0, 1);
    struct client_op *ops[4];
    for (size_t i = 0; i < 4; i++) {
        ops[i] = script_begin(a, VOLUME_WRITE, 4096 * (i + 4), 4096, VOLUME_FUA);
        script_run(t, 0.1);
    }
    expect(t, lost->hits == 1);
    expect(t, script_slots(t, e) > before);
    for (size_t i = 0; i < 4; i++)
        expect(t, ops[i]->stage != OP_DONE);
    server_crash(a->process->server);
    for (size_t i = 0; i < 4; i++)
        expect(t, script_wait(t, ops[i]) == ERR_CANCELED);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, b->session->verified);
}

/* A record sent twice comes back after the checkpoint deleted it: below the position it is rubbish. */
static void zombie_record_below_position(struct script *t)
{
    struct model_export *e;
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    struct client *a = owner_with_log(t, &e);
    struct key slot;
    script_slot_key(t, e, 0, &slot);
    struct object *o = bucket_find(t->bucket, slot.text);
    expect(t, o);
    uint8_t copy[8192];
    size_t bytes = o->bytes;
    expect(t, bytes <= sizeof copy);
    memcpy(copy, o->body, bytes);
    script_await_checkpoint(t, e);
    script_run(t, 20);
    expect(t, !bucket_find(t->bucket, slot.text));
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK); /* newer than what the zombie says */
    bucket_put(t->bucket, slot.text, copy, bytes);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, b, 0, 8192) == ERR_OK);
}

/* The same in the folder of an epoch that is over, after its successor has cleaned it up. */
static void zombie_record_after_cleanup(struct script *t)
{
    struct model_export *e;
    struct client *a = owner_with_log(t, &e);
    struct key slot;
    script_slot_key(t, e, 1, &slot);
    struct object *o = bucket_find(t->bucket, slot.text);
    expect(t, o);
    uint8_t copy[8192];
    size_t bytes = o->bytes;
    memcpy(copy, o->body, MIN(bytes, sizeof copy));
    server_crash(a->process->server);
    t->config.checkpoint_interval_ns = NS_PER_S;
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_write(t, b, 4096, 4096, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, e);
    script_run(t, 20);
    expect(t, !bucket_find(t->bucket, slot.text));
    bucket_put(t->bucket, slot.text, copy, bytes);
    expect(t, script_read(t, b, 0, 8192) == ERR_OK);
    server_crash(b->process->server);
    struct client *c = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, c, 0, 8192) == ERR_OK);
}

/* The seal of a taker that died long ago arrives in a living owner's folder: it goes on in an epoch of its
 * own making, and nothing is lost, neither what was answered nor what was flushed. */
static void zombie_seal_fences_live_owner(struct script *t)
{
    struct model_export *e;
    struct client *a = owner_with_log(t, &e);
    uint32_t epoch = a->session->epoch;
    expect(t, script_write(t, a, 20480, 4096, 0) == ERR_OK);
    script_put_seal(t, e, script_slots(t, e));
    expect(t, script_write(t, a, 24576, 4096, 0) == ERR_OK);
    expect(t, script_flush(t, a) == ERR_OK);
    expect(t, a->session->epoch > epoch && !a->lost);
    expect(t, script_read(t, a, 0, 65536) == ERR_OK);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
}

/* A taker seals and dies before it swaps the manifest. The owner was asleep; awake, it is fenced by the seal
 * alone, and the manifest is still its own. */
static void sealer_dies_before_swap(struct script *t)
{
    struct model_export *e;
    struct client *a = owner_with_log(t, &e);
    uint32_t epoch = a->session->epoch;
    script_sleep(a->process);
    struct process *taker = script_server(t, 1);
    struct rule *swap = rule_add(t->bucket, RULE_CRASH_BEFORE, RULE_VERB(OBJSTORE_PUT),
                                 "exports/disk/manifest", taker->server);
    while (taker->server->alive) {
        enum err err;
        script_try_open(t, taker, e, &err);
        script_run(t, 5);
    }
    rule_release(t->bucket, swap);
    script_wake(a->process);
    expect(t, script_write(t, a, 20480, 4096, 0) == ERR_OK);
    expect(t, script_flush(t, a) == ERR_OK);
    expect(t, a->session->epoch > epoch && !a->lost);
    expect(t, script_close(t, a) == ERR_OK);
}

/* The same with requests in flight and writes not yet flushed: all of them end well. */
static void fenced_owner_takes_new_epoch_itself(struct script *t)
{
    struct model_export *e;
    struct client *a = owner_with_log(t, &e);
    struct rule *held = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_PUT), RECORDS, a->process->server);
    struct client_op *ops[4];
    size_t slot = script_slots(t, e);
    for (size_t i = 0; i < 3; i++)
        ops[i] = script_begin(a, VOLUME_WRITE, 4096 * (i + 4), 4096, VOLUME_FUA);
    ops[3] = script_begin(a, VOLUME_TRIM, 0, 2048, 0);
    script_await_held(t, held, 1);
    script_put_seal(t, e, slot);
    rule_release(t->bucket, held);
    for (size_t i = 0; i < 4; i++)
        expect(t, script_wait(t, ops[i]) == ERR_OK);
    expect(t, script_flush(t, a) == ERR_OK);
    expect(t, !a->lost);
    server_crash(a->process->server);
    script_open(t, script_server(t, 0), e);
}

/* What is ready for the log while a fenced owner takes a new epoch waits for that: behind the seal nothing of
 * it would count, and its old slots are about to be forgotten. */
static void fenced_owner_sends_nothing_meanwhile(struct script *t)
{
    struct model_export *e = script_export(t, "disk", NULL);
    struct client *a = script_open(t, script_server(t, 0), e);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    struct rule *record = rule_add_times(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_PUT), RECORDS, NULL, 0, 1);
    struct client_op *first = script_begin(a, VOLUME_WRITE, 8192, 512, VOLUME_FUA);
    script_await_held(t, record, 1);
    script_put_seal(t, e, script_slots(t, e));
    struct rule *blocks = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_PUT), "blocks/*", NULL);
    expect(t, script_write(t, a, 65536, 65536, 0) == ERR_OK);
    struct client_op *second = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
    script_await_held(t, blocks, 1);
    struct rule *manifest =
        rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_GET), "exports/disk/manifest", NULL);
    rule_release(t->bucket, record);
    script_await_held(t, manifest, 1);
    struct rule *sent = rule_add(t->bucket, RULE_COUNT, RULE_VERB(OBJSTORE_PUT), RECORDS, NULL);
    rule_release(t->bucket, blocks);
    script_run(t, 5);
    expect(t, sent->hits == 0);
    rule_release(t->bucket, manifest);
    expect(t, script_wait(t, first) == ERR_OK && script_wait(t, second) == ERR_OK);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, b, 65536, 65536) == ERR_OK);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "fencing", #name, name                                                                               \
    }
const struct scenario scenarios_fencing[] = {S(stale_owner_wakes_after_seal_and_cleanup),
                                             S(inflight_beyond_seal),
                                             S(gap_then_later_records),
                                             S(zombie_record_below_position),
                                             S(zombie_record_after_cleanup),
                                             S(zombie_seal_fences_live_owner),
                                             S(sealer_dies_before_swap),
                                             S(fenced_owner_takes_new_epoch_itself),
                                             S(fenced_owner_sends_nothing_meanwhile),
                                             {0}};
