/* Meetings: two things an owner does at once, each of them right by itself. */
#include "scenario.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define RECORDS "exports/disk/*/*/*"
#define PUT     RULE_VERB(OBJSTORE_PUT)
#define GET     RULE_VERB(OBJSTORE_GET)

static struct client *owner(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    return script_open(t, script_server(t, 0), *e);
}

/* Fenced between a checkpoint's cut and its swap: what was logged behind the cut in the folder of before
 * stays named. */
static void new_epoch_in_mid_checkpoint(struct script *t)
{
    struct model_export *e;
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 0, 16384, VOLUME_FUA) == ERR_OK);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "maps/*", NULL);
    script_await_held(t, r, 1);
    uint32_t epoch = a->session->epoch;
    for (uint64_t i = 0; i < 3; i++)
        expect(t, script_write(t, a, (i + 1) * 4096, 2048, VOLUME_FUA) == ERR_OK);
    script_put_seal(t, e, script_slots(t, e));
    expect(t, script_write(t, a, 30000, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, a->session->epoch > epoch);
    struct rule *deletions = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_DELETE), "*", NULL);
    struct map_root before;
    struct manifest m;
    script_manifest(t, e, &m);
    before = m.root;
    expect(t, m.segment_count == 1 && m.segments[0].from == 0 && m.segments[0].to == 4);
    script_forget(&m);
    rule_release(t->bucket, r);
    script_run(t, 2);
    script_manifest(t, e, &m);
    expect(t, memcmp(&m.root.tree.page.hash, &before.tree.page.hash, sizeof before.tree.page.hash) != 0);
    expect(t, m.segment_count == 1 && m.segments[0].from == 1 && m.segments[0].to == 4 && m.position == 0);
    script_forget(&m);
    server_crash(a->process->server);
    rule_release(t->bucket, deletions);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
}

/* A folder that was sealed in mid batch ends before the batch, for every later reader as well. */
static void segment_ends_before_a_torn_batch(struct script *t)
{
    struct model_export *e;
    t->config.limits.record_bytes = 2048;
    t->config.limits.inline_batch_bytes = 1024;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 0, 512, VOLUME_FUA) == ERR_OK);
    for (uint64_t i = 0; i < 200; i++)
        client_submit(a, VOLUME_ZERO, i % 2 ? VOLUME_NO_HOLE : 0, i * 64, 8, NULL, false);
    script_run(t, 1);
    struct rule *r = rule_add_times(t->bucket, RULE_DROP, PUT, RECORDS, NULL, 1, UINT64_MAX);
    struct client_op *f = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
    script_await_hits(t, r, 1);
    script_run(t, 1);
    expect(t, f->stage == OP_SUBMITTED && script_slots(t, e) == 2);
    server_crash(a->process->server);
    expect(t, script_wait(t, f) == ERR_CANCELED);
    r->left = 0;
    struct client *b = script_open(t, script_server(t, 0), e);
    struct manifest m;
    script_manifest(t, e, &m);
    expect(t, m.segment_count == 1 && m.segments[0].from == 0 && m.segments[0].to == 1);
    script_forget(&m);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
}

/* As many segments as a manifest holds, and fenced with a flush under way: nothing goes into the log before a
 * checkpoint has made room, or the next owner could not name it. */
static void new_epoch_with_all_segments_used(struct script *t)
{
    struct model_export *e = script_export(t, "disk", NULL);
    t->config.limits.segments_max = 2;
    struct client *a = script_open(t, script_server(t, 0), e);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_write(t, b, 4096, 4096, VOLUME_FUA) == ERR_OK);
    script_put_seal(t, e, script_slots(t, e));
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "maps/*", NULL);
    struct client_op *w = script_begin(b, VOLUME_WRITE, 8192, 4096, VOLUME_FUA);
    script_await_held(t, r, 1);
    script_run(t, 5);
    struct manifest m;
    script_manifest(t, e, &m);
    expect(t, m.segment_count == 2);
    script_forget(&m);
    expect(t, w->stage == OP_SUBMITTED && script_slots(t, e) == 0);
    rule_release(t->bucket, r);
    expect(t, script_wait(t, w) == ERR_OK);
    server_crash(b->process->server);
    script_open(t, script_server(t, 0), e);
}

/* The same while it is being closed: the last checkpoint cannot wait for a flush that waits for a checkpoint.
 */
static void close_with_all_segments_used(struct script *t)
{
    struct model_export *e = script_export(t, "disk", NULL);
    t->config.limits.segments_max = 2;
    struct client *a = script_open(t, script_server(t, 0), e);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_write(t, b, 4096, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, script_write(t, b, 8192, 4096, 0) == ERR_OK);
    script_put_seal(t, e, script_slots(t, e));
    expect(t, script_close(t, b) == ERR_OK);
    struct client *c = script_open(t, script_server(t, 1), e);
    expect(t, script_read(t, c, 0, 16384) == ERR_OK);
}

/* More in flight than the log may hold: closing waits for no flush that waits for a checkpoint. */
static void close_fills_the_log(struct script *t)
{
    struct model_export *e = script_export(t, "disk", NULL);
    t->config.limits.log_records_max = 3;
    t->config.flush_interval_ns = NS_PER_S / 20;
    struct client *a = script_open(t, script_server(t, 0), e);
    struct rule *r = rule_add_times(t->bucket, RULE_HOLD, PUT, RECORDS, NULL, 0, 1);
    for (uint64_t i = 0; i < 7; i++) {
        expect(t, script_write(t, a, i * 4096, 4096, 0) == ERR_OK);
        script_run(t, 0.1);
    }
    expect(t, rule_held(r) == 1 && script_slots(t, e) == 3);
    client_close(a);
    script_run(t, 1);
    rule_release(t->bucket, r);
    expect(t, script_close(t, a) == ERR_OK);
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_read(t, b, 0, 32768) == ERR_OK);
}

static struct rule *hold_reading_of(struct script *t, const struct model_export *e, uint64_t slot)
{
    struct key key;
    script_slot_key(t, e, slot, &key);
    return rule_add(t->bucket, RULE_HOLD, GET, key.text, NULL);
}

/* Overwritten, folded, deleted from the log. */
static void fold_something_newer(struct script *t, struct client *c, uint64_t at)
{
    expect(t, script_write(t, c, at, 4096, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, c->export);
    script_run(t, 2);
}

/* Data that lies in the log alone is overwritten and deleted before it could be read, and again while it is
 * looked for where it went. */
static void read_overtaken_by_two_checkpoints(struct script *t)
{
    struct model_export *e;
    t->config.inline_bytes = 3000; /* for the extents, not for their data */
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    struct client *a = owner(t, &e);
    uint32_t epoch = a->session->epoch;
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    struct rule *first = hold_reading_of(t, e, 0);
    struct client_op *read = script_begin(a, VOLUME_READ, 0, 4096, 0);
    script_await_held(t, first, 1);
    fold_something_newer(t, a, 0);
    expect(t, script_write(t, a, 0, 4096, VOLUME_FUA) == ERR_OK);
    struct rule *second = hold_reading_of(t, e, 2);
    rule_release(t->bucket, first);
    script_await_held(t, second, 1);
    fold_something_newer(t, a, 0);
    rule_release(t->bucket, second);
    expect(t, script_wait(t, read) == ERR_OK);
    expect(t, a->session->epoch == epoch);
}

/* What is written again over a lost object is stored again, not found to be there already. */
static void writing_again_mends_a_lost_object(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    uint8_t *data = malloc(16384), *again = malloc(16384);
    assert(data && again);
    model_stamp(e, data, 131072, 16384);
    memcpy(again, data, 16384);
    t->config.cache_bytes = 0;
    struct client_op *w = client_submit(a, VOLUME_WRITE, VOLUME_FUA, 131072, 16384, data, true);
    expect(t, script_wait(t, w) == ERR_OK);
    expect(t, script_close(t, a) == ERR_OK);
    struct client *b = script_open(t, script_server(t, 1), e);
    while (bucket_count(t->bucket, "blocks/"))
        bucket_delete(t->bucket, bucket_nth(t->bucket, "blocks/", 0)->key);
    e->trouble = 1;
    expect(t, script_read(t, b, 131072, 16384) == ERR_CORRUPT);
    w = client_submit(b, VOLUME_WRITE, 0, 131072, 16384, again, true);
    expect(t, script_wait(t, w) == ERR_OK);
    expect(t, script_close(t, b) == ERR_OK);
    struct client *c = script_open(t, script_server(t, 2), e);
    expect(t, script_read(t, c, 131072, 16384) == ERR_OK);
}

struct trimmer {
    struct client *client;
    struct timer timer;
    unsigned left;
};

static void trimmed(struct client_op *op)
{
    struct trimmer *s = op->ctx;
    if (op->stage == OP_DONE)
        sim_at(s->client->export->sim, &s->timer, NS_PER_MS);
}

static void trim_again(struct timer *k)
{
    struct trimmer *s = CONTAINER_OF(k, struct trimmer, timer);
    if (s->left && s->left--)
        client_submit_then(s->client, VOLUME_TRIM, 131072 + (s->left % 16) * 8192, 4096, trimmed, s);
}

/* A write that is larger than the buffer is let in when nothing is dirty; a client that trims all the time
 * must not put that off for ever. */
static void large_write_among_steady_trims(struct script *t)
{
    struct model_export *e = script_export(t, "disk", NULL);
    t->config.write_buffer_bytes = 32 * KIB;
    struct client *a = script_open(t, script_server(t, 0), e);
    struct trimmer trimmers[8];
    for (size_t i = 0; i < COUNT_OF(trimmers); i++) {
        trimmers[i] = (struct trimmer){.client = a, .timer.fire = trim_again, .left = 30000};
        sim_at(t->sim, &trimmers[i].timer, i);
    }
    script_run(t, 1);
    struct client_op *w = script_begin(a, VOLUME_WRITE, 0, 65536, 0);
    expect(t, script_answered_within(t, w, 10 * NS_PER_S));
    expect(t, script_wait(t, w) == ERR_OK);
    for (size_t i = 0; i < COUNT_OF(trimmers); i++)
        trimmers[i].left = 0;
    script_run(t, 1);
    expect(t, script_read(t, a, 0, 262144) == ERR_OK);
}

static void edges_of(struct script *t, uint32_t block_size, uint32_t object_size)
{
    struct export_params p = {.size = INT64_MAX, .block_size = block_size, .object_size = object_size};
    struct model_export *e = model_export_create(t->sim, "largest", &p, true);
    t->config.checkpoint_interval_ns = NS_PER_S;
    t->config.write_buffer_bytes = t->config.inline_bytes = 16 * MIB;
    struct process *d = script_server(t, 0);
    struct client *a = script_open(t, d, e);
    const struct island *last = &e->islands[e->island_count - 1];
    expect(t, script_write(t, a, e->islands[0].at, MIN(e->islands[0].bytes, 3000), VOLUME_FUA) == ERR_OK);
    expect(t, script_write(t, a, last->at, last->bytes, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, e);
    for (int i = 0; i < 4; i++) {
        uint64_t from = (uint64_t)i << 60;
        enum volume_verb verb = i % 2 ? VOLUME_TRIM : VOLUME_ZERO;
        unsigned flags = i == 2 ? VOLUME_NO_HOLE : 0;
        expect(t, script_wait(t, script_begin(a, verb, from, p.size - from, flags)) == ERR_OK);
        expect(t, script_write(t, a, last->at, last->bytes, VOLUME_FUA) == ERR_OK);
        script_run(t, 5);
        expect(t, script_read(t, a, last->at, last->bytes) == ERR_OK);
        expect(t, script_wait(t, script_begin(a, VOLUME_STATUS, last->at, last->bytes, 0)) == ERR_OK);
        server_crash(d->server);
        d = script_server(t, 0);
        a = script_open(t, d, e);
    }
    expect(t, script_close(t, a) == ERR_OK);
    script_stop(t, d);
    model_export_destroy(e);
}

/* 2^63 - 1 bytes, from end to end, in the smallest and the largest blocks and objects. */
static void largest_export(struct script *t)
{
    edges_of(t, 4096, 4096);
}

static void largest_export_largest_blocks(struct script *t)
{
    edges_of(t, BLOCK_SIZE_MAX, OBJECT_SIZE_MAX);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "meetings", #name, name                                                                              \
    }
const struct scenario scenarios_meetings[] = {S(new_epoch_in_mid_checkpoint),
                                              S(segment_ends_before_a_torn_batch),
                                              S(new_epoch_with_all_segments_used),
                                              S(close_with_all_segments_used),
                                              S(close_fills_the_log),
                                              S(read_overtaken_by_two_checkpoints),
                                              S(writing_again_mends_a_lost_object),
                                              S(large_write_among_steady_trims),
                                              S(largest_export),
                                              S(largest_export_largest_blocks),
                                              {0}};
