/* The log: slots in order, gaps, lost answers, late retries. */
#include "scenario.h"

#include <string.h>

#include "base/mark.h"
#include "coverage.h"

#define RECORDS "exports/disk/*/*/*"
#define PUT     RULE_VERB(OBJSTORE_PUT)

static struct client *owner(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    struct client *c = script_open(t, script_server(t, 0), *e);
    expect(t, script_write(t, c, 0, 4096, VOLUME_FUA) == ERR_OK);
    return c;
}

static void crash_and_check(struct script *t, struct client *a)
{
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), a->export);
    expect(t, b->session->verified);
}

static void record_412_ours(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    uint64_t before = coverage_count("record-412-ours");
    struct rule *r = rule_add_times(t->bucket, RULE_LOSE_ANSWER, PUT, RECORDS, NULL, 0, 1);
    expect(t, script_write(t, a, 4096, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, r->hits == 1 && coverage_count("record-412-ours") > before);
    crash_and_check(t, a);
}

static void record_412_seal(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    uint32_t epoch = a->session->epoch;
    script_put_seal(t, e, script_slots(t, e));
    expect(t, script_write(t, a, 4096, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, a->session->epoch == epoch + 1);
    crash_and_check(t, a);
}

/* Its own record is refused, and gone when it looks: fenced; it takes a new epoch and writes the change
 * again. */
static void record_412_then_404(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct key slot;
    script_slot_key(t, e, script_slots(t, e), &slot);
    rule_add_times(t->bucket, RULE_LOSE_ANSWER, PUT, RECORDS, NULL, 0, 1);
    struct rule *look = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_GET), slot.text, NULL);
    struct client_op *op = script_begin(a, VOLUME_WRITE, 4096, 4096, VOLUME_FUA);
    script_await_held(t, look, 1);
    bucket_delete(t->bucket, slot.text);
    rule_release(t->bucket, look);
    expect(t, script_wait(t, op) == ERR_OK);
    crash_and_check(t, a);
}

static void retry_is_byte_identical(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct rule *r = rule_add_times(t->bucket, RULE_STALL, PUT, RECORDS, NULL, 0, 1);
    struct client_op *first = script_begin(a, VOLUME_WRITE, 4096, 4096, VOLUME_FUA);
    script_await_held(t, r, 1);
    expect(t, script_write(t, a, 4096, 2048, 0) == ERR_OK); /* newer data meanwhile */
    expect(t, script_wait(t, first) == ERR_OK);
    const struct bucket_op *sent = CONTAINER_OF(list_first(&r->held), struct bucket_op, held);
    const struct object *o = bucket_find(t->bucket, sent->key);
    expect(t, o && o->bytes == sent->body_bytes && memcmp(o->body, sent->body, o->bytes) == 0);
    crash_and_check(t, a);
}

static void ack_waits_for_predecessor(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    size_t before = script_slots(t, e);
    struct rule *r = rule_add_times(t->bucket, RULE_HOLD, PUT, RECORDS, NULL, 0, 1);
    struct client_op *first = script_begin(a, VOLUME_WRITE, 4096, 4096, VOLUME_FUA);
    script_await_held(t, r, 1);
    struct client_op *second = script_begin(a, VOLUME_WRITE, 8192, 4096, VOLUME_FUA);
    script_run(t, 5);
    expect(t,
           script_slots(t, e) == before + 1 && second->stage == OP_SUBMITTED && first->stage == OP_SUBMITTED);
    rule_release(t->bucket, r);
    expect(t, script_wait(t, second) == ERR_OK && script_wait(t, first) == ERR_OK);
    crash_and_check(t, a);
}

/* More records than one LIST shows, and a gap near the end with records behind it. */
static void list_over_1000_with_gap(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    for (int i = 0; i < 1100; i++)
        expect(t, script_write(t, a, (uint64_t)(i % 64) * 4096, 512, VOLUME_FUA) == ERR_OK);
    rule_add_times(t->bucket, RULE_DROP, PUT, RECORDS, NULL, 0, 1);
    struct client_op *ops[3];
    for (size_t i = 0; i < 3; i++) {
        ops[i] = script_begin(a, VOLUME_WRITE, i * 4096, 4096, VOLUME_FUA);
        script_run(t, 0.2);
    }
    expect(t, script_slots(t, e) > 1100);
    server_crash(a->process->server);
    for (size_t i = 0; i < 3; i++)
        expect(t, script_wait(t, ops[i]) == ERR_CANCELED);
    t->sim->faults.short_list = 300;
    script_open(t, script_server(t, 0), e);
}

/* Checkpoints cannot end: at 16,384 records FLUSH waits; a crash then replays them all. */
static void open_16384_records(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    rule_add(t->bucket, RULE_HOLD, PUT, "maps/*", a->process->server);
    struct client_op *op = NULL;
    for (int i = 0; i < 17000; i++) {
        op = script_begin(a, VOLUME_WRITE, (uint64_t)(i % 512) * 512, 512, VOLUME_FUA);
        if (!script_answered_within(t, op, 10 * NS_PER_S))
            break;
        expect(t, script_wait(t, op) == ERR_OK);
        op = NULL;
    }
    expect(t, op && script_slots(t, e) == 16384);
    server_crash(a->process->server);
    expect(t, script_wait(t, op) == ERR_CANCELED);
    script_open(t, script_server(t, 0), e);
}

/* Every request is applied twice, the second time up to a minute late, through checkpoints and owners. */
static void log_record_resurrected_by_late_retry(struct script *t)
{
    struct model_export *e;
    t->config.checkpoint_interval_ns = 4 * NS_PER_S;
    t->sim->faults.duplicated = 1000;
    t->sim->faults.late_max_ns = 60 * NS_PER_S;
    struct client *a = owner(t, &e);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 12; i++) {
            expect(t, script_write(t, a, (uint64_t)i * 2048, 4096, VOLUME_FUA) == ERR_OK);
            script_run(t, 2);
        }
        server_crash(a->process->server);
        a = script_open(t, script_server(t, 0), e);
    }
}

/* Whoever may not delete leaves rubbish behind, and nothing else suffers; once allowed, it is cleaned up. */
static void checkpoints_go_on_where_nothing_can_be_deleted(struct script *t)
{
    struct model_export *e;
    t->config.checkpoint_interval_ns = 3 * NS_PER_S;
    struct client *a = owner(t, &e);
    struct rule *r = rule_add(t->bucket, RULE_REFUSE, RULE_VERB(OBJSTORE_DELETE), "*", NULL);
    for (uint64_t i = 0; i < 4; i++) {
        expect(t, script_write(t, a, i * 4096, 4096, VOLUME_FUA) == ERR_OK);
        script_await_checkpoint(t, e);
    }
    expect(t, r->hits > 0 && script_slots(t, e) >= 4);
    rule_release(t->bucket, r);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, e);
    script_run(t, 20);
    expect(t, script_slots(t, e) == 0);
    crash_and_check(t, a);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "log", #name, name                                                                                   \
    }
const struct scenario scenarios_log[] = {S(record_412_ours),
                                         S(record_412_seal),
                                         S(record_412_then_404),
                                         S(retry_is_byte_identical),
                                         S(ack_waits_for_predecessor),
                                         S(list_over_1000_with_gap),
                                         S(open_16384_records),
                                         S(log_record_resurrected_by_late_retry),
                                         S(checkpoints_go_on_where_nothing_can_be_deleted),
                                         {0}};
