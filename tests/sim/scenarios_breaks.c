/* Breaks and batches: what a crash may lose, and who is told. */
#include "scenario.h"

#include "base/mem.h"
#include "coverage.h"

#define RECORDS "exports/disk/*/*/*"
#define PUT     RULE_VERB(OBJSTORE_PUT)

static struct client *owner(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    return script_open(t, script_server(t, 0), *e);
}

/* A flush that needs several records; the server dies with the last one missing: it counts as a whole, so not
 * at all. */
static void crash_between_records_of_a_batch(struct script *t)
{
    static const struct export_params p = {.size = 4 << 20, .block_size = 65536, .object_size = 65536};
    struct model_export *e = script_export(t, "disk", &p);
    t->config.write_buffer_bytes = 256 << 20;
    t->config.inline_bytes = 64 << 20;
    struct client *a = script_open(t, script_server(t, 0), e);
    uint64_t before = coverage_count("batch-of-records");
    expect(t, script_write(t, a, 0, 512, VOLUME_FUA) == ERR_OK);
    for (uint64_t i = 0; i < 65536; i++) /* extents without data: only a record can hold them */
        client_submit(a, VOLUME_ZERO, i % 2 ? VOLUME_NO_HOLE : 0, i * 64, 8, NULL, false);
    script_run(t, 1);
    size_t slots = script_slots(t, e);
    struct rule *last = rule_add_times(t->bucket, RULE_HOLD, PUT, RECORDS, NULL, 1, UINT64_MAX);
    struct client_op *f = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
    script_await_held(t, last, 1);
    script_run(t, 1);
    expect(t, script_slots(t, e) == slots + 1 && f->stage == OP_SUBMITTED);
    expect(t, coverage_count("batch-of-records") > before);
    t->sim->faults.orphan_lost = 1000;
    server_crash(a->process->server);
    expect(t, script_wait(t, f) == ERR_CANCELED);
    last->left = 0; /* the others stay where they are */
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, b->session->verified);
}

static void fua_after_unflushed_writes(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    for (uint64_t i = 0; i < 5; i++)
        expect(t, script_write(t, a, i * 3000, 4096, 0) == ERR_OK);
    expect(t, script_trim(t, a, 4096, 1000, VOLUME_FUA) == ERR_OK);
    expect(t, a->session->durable == 6);
    server_crash(a->process->server);
    script_open(t, script_server(t, 0), e);
}

static void steady_writes_do_not_starve_flush(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    t->sim->faults.latency_min_ns = t->sim->faults.latency_max_ns = 50 * NS_PER_MS;
    expect(t, script_write(t, a, 0, 4096, 0) == ERR_OK);
    struct client_op *f = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
    for (uint64_t i = 0; i < 400 && f->stage != OP_DONE; i++) {
        client_submit(a, VOLUME_WRITE, 0, i % 60 * 4096, 4096, NULL, false);
        script_run(t, 0.005);
    }
    expect(t, f->stage == OP_DONE);
    expect(t, script_wait(t, f) == ERR_OK);
}

/* Newer dirty data hides what a checkpoint folds: the folded bytes are those that were logged. */
static void checkpoint_keeps_hidden_logged_extent(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, script_close(t, a) == ERR_OK);
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    a = script_open(t, script_server(t, 1), e);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    struct rule *records = rule_add_times(t->bucket, RULE_HOLD, PUT, RECORDS, NULL, 1, UINT64_MAX);
    struct rule *map = rule_add(t->bucket, RULE_HOLD, PUT, "maps/*", NULL);
    script_await_held(t, map, 1);
    expect(t, script_write(t, a, 0, 2048, 0) == ERR_OK); /* hides it, and is never flushed */
    expect(t, script_read(t, a, 0, 4096) == ERR_OK);
    rule_release(t->bucket, map);
    script_run(t, 3);
    server_crash(a->process->server);
    rule_release(t->bucket, records);
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_read(t, b, 0, 4096) == ERR_OK);
}

static void unreadable_piece_does_not_stop_checkpoints(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 0, 65536, 0) == ERR_OK);
    expect(t, script_close(t, a) == ERR_OK);
    while (bucket_count(t->bucket, "blocks/"))
        bucket_delete(t->bucket, bucket_nth(t->bucket, "blocks/", 0)->key);
    e->trouble = 1;
    t->config.checkpoint_interval_ns = 3 * NS_PER_S;
    struct client *b = script_open(t, script_server(t, 1), e);
    for (uint64_t i = 0; i < 12; i++) /* small ones into one block: it would be consolidated */
        expect(t, script_write(t, b, 100 + i * 300, 100, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, e);
    script_run(t, 10);
    expect(t, script_slots(t, e) == 0);
    expect(t, script_read(t, b, 0, 4096) == ERR_CORRUPT);
    expect(t, script_read(t, b, 100, 100) == ERR_OK);
    expect(t, script_read(t, b, 65536, 65536) == ERR_OK);
    expect(t, script_close(t, b) == ERR_OK);
}

/* Bytes that are stored in an object of their own. */
static void store_apart(struct script *t, struct client *c, uint64_t offset, uint64_t bytes)
{
    expect(t, script_write(t, c, offset, bytes, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, c->export);
}

/* A block of many parts with damage among them: what lies before the damage becomes one piece, and so does
 * what lies behind it. */
static void consolidation_around_damage(struct script *t)
{
    struct model_export *e;
    t->config.checkpoint_interval_ns = 3 * NS_PER_S;
    struct client *a = owner(t, &e);
    store_apart(t, a, 6144, 512);
    expect(t, bucket_count(t->bucket, "blocks/") == 1);
    char *damaged = mem_strdup(bucket_nth(t->bucket, "blocks/", 0)->key);
    store_apart(t, a, 4096, 1024);
    store_apart(t, a, 5120, 1024);
    expect(t, script_close(t, a) == ERR_OK);
    bucket_delete(t->bucket, damaged);
    mem_free(damaged);
    e->trouble = 1;
    uint64_t before = coverage_count("consolidated-around-damage");
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_write(t, b, 0, 512, 0) == ERR_OK); /* in the block before */
    for (uint64_t i = 0; i < 6; i++)
        expect(t, script_write(t, b, 6656 + i * 256, 128, i == 5 ? VOLUME_FUA : 0) == ERR_OK);
    script_await_checkpoint(t, e);
    script_run(t, 5);
    expect(t, coverage_count("consolidated-around-damage") > before);
    expect(t, script_slots(t, e) == 0);
    expect(t, script_read(t, b, 4096, 2048) == ERR_OK && script_read(t, b, 6656, 1536) == ERR_OK);
    expect(t, script_read(t, b, 6144, 512) == ERR_CORRUPT);
    expect(t, script_close(t, b) == ERR_OK);
}

static void break_counted_once_per_takeover(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    expect(t, a->session->breaks == 0);
    for (uint32_t i = 1; i <= 3; i++) {
        expect(t, script_write(t, a, 0, 512, 0) == ERR_OK);
        server_crash(a->process->server);
        a = script_open(t, script_server(t, 0), e);
        expect(t, a->session->breaks == i);
    }
    script_put_seal(t, e, script_slots(t, e)); /* a new epoch of its own making is none */
    expect(t, script_write(t, a, 0, 512, VOLUME_FUA) == ERR_OK);
    expect(t, script_close(t, a) == ERR_OK); /* nor is a clean close */
    a = script_open(t, script_server(t, 0), e);
    expect(t, a->session->breaks == 3);
}

static void outage_longer_than_lease_takes_nobody_over(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct process *b = script_server(t, 1);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    bucket_outage(t->bucket, NULL, "", false, 120 * NS_PER_S);
    script_run(t, 119);
    enum err err;
    expect(t, !script_try_open(t, b, e, &err) && err == ERR_HELD);
    expect(t, script_write(t, a, 4096, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, !a->lost);
}

static void holder_without_heartbeat_holds_replies(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    bucket_outage(t->bucket, a->process->server, "servers/", false, 100 * NS_PER_S);
    script_run(t, 50);
    struct client_op *w = script_begin(a, VOLUME_WRITE, 4096, 4096, 0);
    struct client_op *r = script_begin(a, VOLUME_READ, 0, 4096, 0);
    expect(t, !script_answered_within(t, w, 40 * NS_PER_S) && r->stage == OP_SUBMITTED);
    expect(t, script_wait(t, w) == ERR_OK && script_wait(t, r) == ERR_OK);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "breaks", #name, name                                                                                \
    }
const struct scenario scenarios_breaks[] = {S(crash_between_records_of_a_batch),
                                            S(fua_after_unflushed_writes),
                                            S(steady_writes_do_not_starve_flush),
                                            S(checkpoint_keeps_hidden_logged_extent),
                                            S(unreadable_piece_does_not_stop_checkpoints),
                                            S(consolidation_around_damage),
                                            S(break_counted_once_per_takeover),
                                            S(outage_longer_than_lease_takes_nobody_over),
                                            S(holder_without_heartbeat_holds_replies),
                                            {0}};
