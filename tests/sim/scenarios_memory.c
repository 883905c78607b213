/* Memory: what a server may take, counted by its arena. */
#include "scenario.h"

#include "base/bytes.h"
#include "volume/engine_state.h"

/* Beside the cache and the two buffers (DESIGN: what it must cost). */
#define RESERVE_BYTES (64 * MIB)

static size_t allowed(const struct script *t)
{
    return t->config.cache_bytes + t->config.write_buffer_bytes + t->config.inline_bytes + RESERVE_BYTES;
}

static void measure_from_here(struct client *c)
{
    struct arena *a = &c->process->server->arena;
    a->bytes_max = a->bytes;
}

/* All blocks of a page, the largest there are, are written anew in one checkpoint. */
static void consolidation_in_bounded_memory(struct script *t)
{
    static const struct export_params p = {
        .size = 128 * MIB, .block_size = BLOCK_SIZE_MAX, .object_size = BLOCK_SIZE_MAX};
    struct model_export *e = script_export(t, "disk", &p);
    t->config.write_buffer_bytes = 8 * MIB;
    struct client *a = script_open(t, script_server(t, 0), e);
    for (uint64_t at = 0; at < p.size; at += p.block_size)
        expect(t, script_write(t, a, at, p.block_size, 0) == ERR_OK);
    expect(t, script_close(t, a) == ERR_OK);
    a = script_open(t, script_server(t, 0), e);
    for (uint64_t at = 0; at < p.size; at += p.block_size)
        for (uint64_t i = 0; i < 8; i++)
            expect(t, script_write(t, a, at + i * 8192, 512, i == 7 ? VOLUME_FUA : 0) == ERR_OK);
    measure_from_here(a);
    size_t objects = bucket_count(t->bucket, "blocks/");
    struct process *d = a->process;
    script_stop(t, d);
    expect(t, bucket_count(t->bucket, "blocks/") >= objects + p.size / p.block_size);
    expect(t, d->server->arena.bytes_max <= allowed(t));
}

/* Changes without data, a great many: they are in no budget but the one for the log. */
static void submit_tiny(struct client *c, uint64_t round)
{
    for (uint64_t i = 0; i < 4096; i++)
        client_submit(c, VOLUME_ZERO, i % 2 ? VOLUME_NO_HOLE : 0, (round * 4096 + i) * 64, 8, NULL, false);
}

static size_t inline_used(const struct client *c)
{
    return c->process->engine->inline_budget.used;
}

/* What says where logged data is takes memory as well: flushes wait before it is without a bound, and whoever
 * opens such a log is within it. */
static void many_small_changes_wait_for_a_checkpoint(struct script *t)
{
    static const struct export_params p = {.size = 4 * MIB, .block_size = 65536, .object_size = 65536};
    struct model_export *e = script_export(t, "disk", &p);
    struct client *a = script_open(t, script_server(t, 0), e);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_PUT), "maps/*", NULL);
    struct client_op *f = NULL;
    for (uint64_t round = 0; round < 16; round++) {
        submit_tiny(a, round);
        f = script_begin(a, VOLUME_FLUSH, 0, 0, 0);
        if (!script_answered_within(t, f, 10 * NS_PER_S))
            break;
        expect(t, script_wait(t, f) == ERR_OK);
        f = NULL;
        expect(t, inline_used(a) <= t->config.inline_bytes * 3 / 2);
    }
    expect(t, f != NULL);
    rule_release(t->bucket, r);
    expect(t, script_wait(t, f) == ERR_OK);
    server_crash(a->process->server);
    a = script_open(t, script_server(t, 0), e);
    expect(t, inline_used(a) <= t->config.inline_bytes * 3 / 2);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "memory", #name, name                                                                                \
    }
const struct scenario scenarios_memory[] = {
    S(consolidation_in_bounded_memory), S(many_small_changes_wait_for_a_checkpoint), {0}};
