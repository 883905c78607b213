/* Data: block objects that are slow, missing, overtaken. */
#include "scenario.h"

#include "base/bytes.h"

#define PUT RULE_VERB(OBJSTORE_PUT)

static struct client *owner(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    return script_open(t, script_server(t, 0), *e);
}

/* Its record must not be sent before the object is stored; the next owner finds neither. */
static void object_slow_then_takeover(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "blocks/*", NULL);
    struct client_op *w = script_begin(a, VOLUME_WRITE, 0, 65536, 0);
    script_await_held(t, r, 1);
    struct client_op *f = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
    script_run(t, 5);
    expect(t, f->stage == OP_SUBMITTED && script_slots(t, e) == 0);
    script_sleep(a->process);
    struct client *b = script_open(t, script_server(t, 1), e);
    rule_release(t->bucket, r);
    script_wake(a->process);
    expect(t, script_wait(t, w) == ERR_OK);
    expect(t, script_wait(t, f) == ERR_FENCED);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
}

/* Stored in an object of its own, then taken away. */
static void lose_an_object(struct script *t, struct model_export *e, struct client *a)
{
    expect(t, script_write(t, a, 131072, 16384, 0) == ERR_OK);
    expect(t, script_close(t, a) == ERR_OK);
    expect(t, bucket_count(t->bucket, "blocks/") >= 1);
    while (bucket_count(t->bucket, "blocks/"))
        bucket_delete(t->bucket, bucket_nth(t->bucket, "blocks/", 0)->key);
    e->trouble = 1;
}

static void missing_object_is_eio_for_its_blocks(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    lose_an_object(t, e, a);
    struct client *b = script_open(t, script_server(t, 1), e);
    expect(t, script_read(t, b, 131072, 4096) == ERR_CORRUPT);
    expect(t, script_read(t, b, 0, 131072) == ERR_OK);
    expect(t, script_write(t, b, 131072, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, script_read(t, b, 131072, 4096) == ERR_OK);
    expect(t, script_read(t, b, 135168, 4096) == ERR_CORRUPT);
}

/* What is written while a checkpoint is under way is not in it, and is not lost either. */
static void checkpoint_cut_with_newer_dirty_data(struct script *t)
{
    struct model_export *e;
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 0, 16384, VOLUME_FUA) == ERR_OK);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "exports/disk/manifest", NULL);
    script_await_held(t, r, 1);
    expect(t, script_write(t, a, 4096, 4096, VOLUME_FUA) == ERR_OK);
    expect(t, script_write(t, a, 8192, 4096, 0) == ERR_OK);
    expect(t, script_read(t, a, 0, 16384) == ERR_OK);
    rule_release(t->bucket, r);
    script_run(t, 2);
    expect(t, script_read(t, a, 0, 16384) == ERR_OK);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, b, 0, 16384) == ERR_OK);
}

/* Many small writes all over large blocks: pages stay bounded by writing whole blocks. */
static void page_cap_random_4k(struct script *t)
{
    static const struct export_params p = {.size = 16 << 20, .block_size = 131072, .object_size = 1 << 20};
    struct model_export *e = script_export(t, "disk", &p);
    t->config.checkpoint_interval_ns = 2 * NS_PER_S;
    t->config.cache_bytes = 4 << 20;
    struct client *a = script_open(t, script_server(t, 0), e);
    for (int i = 0; i < 1500; i++) {
        uint64_t at = sim_below(t->sim, (16 << 20) / 4096 - 1) * 4096 + (sim_below(t->sim, 4) ? 0 : 512);
        expect(t, script_write(t, a, at, 4096, i % 50 == 0 ? VOLUME_FUA : 0) == ERR_OK);
        if (i % 100 == 99)
            script_run(t, 3);
    }
    expect(t, script_flush(t, a) == ERR_OK);
    script_run(t, 10);
    for (size_t i = 0; i < bucket_count(t->bucket, "maps/"); i++)
        expect(t, bucket_nth(t->bucket, "maps/", i)->bytes <= 1 << 20);
    server_crash(a->process->server);
    script_open(t, script_server(t, 0), e);
}

static void change_while_uploading(struct script *t, enum volume_verb verb)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "blocks/*", NULL);
    expect(t, script_write(t, a, 0, 65536, 0) == ERR_OK);
    script_await_held(t, r, 1);
    expect(t, script_wait(t, script_begin(a, verb, 6000, 20000, 0)) == ERR_OK);
    expect(t, script_read(t, a, 0, 65536) == ERR_OK);
    struct client_op *f = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
    script_run(t, 1);
    rule_release(t->bucket, r);
    expect(t, script_wait(t, f) == ERR_OK);
    expect(t, script_read(t, a, 0, 65536) == ERR_OK);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 0), e);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
}

static void overwrite_while_uploading(struct script *t)
{
    change_while_uploading(t, VOLUME_WRITE);
}

static void trim_while_uploading(struct script *t)
{
    change_while_uploading(t, VOLUME_TRIM);
}

static void flush_during_outage_of_hours(struct script *t)
{
    struct model_export *e;
    struct client *a = owner(t, &e);
    expect(t, script_write(t, a, 0, 8192, VOLUME_FUA) == ERR_OK);
    expect(t, script_write(t, a, 4096, 8192, 0) == ERR_OK);
    bucket_outage(t->bucket, NULL, "", false, 3 * 3600 * NS_PER_S);
    struct client_op *f = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
    expect(t, !script_answered_within(t, f, 3 * 3600 * NS_PER_S - NS_PER_S));
    expect(t, script_wait(t, f) == ERR_OK);
    expect(t, !a->lost);
    server_crash(a->process->server);
    script_open(t, script_server(t, 0), e);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "data", #name, name                                                                                  \
    }
const struct scenario scenarios_data[] = {S(object_slow_then_takeover),
                                          S(missing_object_is_eio_for_its_blocks),
                                          S(checkpoint_cut_with_newer_dirty_data),
                                          S(page_cap_random_4k),
                                          S(overwrite_while_uploading),
                                          S(trim_while_uploading),
                                          S(flush_during_outage_of_hours),
                                          {0}};
