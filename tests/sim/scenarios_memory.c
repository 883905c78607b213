/* Memory: what a server may take, counted by its arena. */
#include "scenario.h"

#include <stdio.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "coverage.h"
#include "volume/engine_state.h"
#include "volume/map/pack.h"

static size_t allowed(const struct script *t)
{
    return t->config.cache_bytes + t->config.write_buffer_bytes + t->config.inline_bytes;
}

static void measure_from_here(struct client *c)
{
    struct arena *a = &c->process->server->arena;
    a->bytes_max = a->bytes;
}

/* All blocks of a page, the largest there are, are made one piece each in one checkpoint. */
static void consolidate_large_blocks(struct script *t, uint32_t object_size)
{
    struct export_params p = {.size = 48 * MIB, .block_size = BLOCK_SIZE_MAX, .object_size = object_size};
    struct model_export *e = script_export(t, "disk", &p);
    t->config.write_buffer_bytes = 8 * MIB;
    struct client *a = script_open(t, script_server(t, 0), e);
    for (uint64_t at = 0; at < p.size; at += p.block_size)
        for (uint64_t i = 0; i < 8; i++)
            expect(t,
                   script_write(t, a, at + i * (p.block_size / 8), 512, i == 7 ? VOLUME_FUA : 0) == ERR_OK);
    measure_from_here(a);
    uint64_t before = coverage_count("block-consolidated");
    struct process *d = a->process;
    script_stop(t, d);
    expect(t, coverage_count("block-consolidated") >= before + p.size / p.block_size);
    expect(t, d->server->arena.bytes_max <= allowed(t) + PACK_LOADED_MAX + 2 * p.block_size);
}

static void consolidation_in_bounded_memory(struct script *t)
{
    consolidate_large_blocks(t, BLOCK_SIZE_MAX);
}

/* An object that is larger than what may be in memory is not filled. */
static void consolidation_into_the_largest_objects(struct script *t)
{
    uint64_t before = coverage_count("pack-memory-bound");
    consolidate_large_blocks(t, OBJECT_SIZE_MAX);
    expect(t, coverage_count("pack-memory-bound") > before);
}

#define TINY 1024 /* changes without data: they are in no budget but the one for the log */

static void submit_tiny(struct client *c, uint64_t round)
{
    for (uint64_t i = 0; i < TINY; i++)
        client_submit(c, VOLUME_ZERO, i % 2 ? VOLUME_NO_HOLE : 0, (round * TINY + i) * 64, 8, NULL, false);
}

static size_t inline_used(const struct client *c)
{
    return c->process->engine->inline_budget.used;
}

/* What says where logged data is takes memory as well: flushes wait before it is without a bound, and whoever
 * opens such a log is within it. */
static void many_small_changes_wait_for_a_checkpoint(struct script *t)
{
    static const struct export_params p = {.size = MIB, .block_size = 65536, .object_size = 65536};
    struct model_export *e = script_export(t, "disk", &p);
    t->config.inline_bytes = 256 * KIB;
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

/* Who asks for one extent of a large range does not pay for all that are in memory. */
static void status_looks_at_what_is_asked_for(struct script *t)
{
    static const struct export_params p = {.size = MIB, .block_size = 65536, .object_size = 65536};
    struct model_export *e = script_export(t, "disk", &p);
    struct client *a = script_open(t, script_server(t, 0), e);
    for (uint64_t round = 0; round < 4; round++)
        submit_tiny(a, round);
    script_run(t, 1);
    struct arena *memory = &a->process->server->arena;
    measure_from_here(a);
    expect(t, script_wait(t, script_begin(a, VOLUME_STATUS, 0, p.size, VOLUME_REQ_ONE)) == ERR_OK);
    expect(t, memory->bytes_max - memory->bytes <= 64 * KIB);
    measure_from_here(a);
    expect(t, script_wait(t, script_begin(a, VOLUME_STATUS, 0, p.size, 0)) == ERR_OK);
    expect(t, memory->bytes_max - memory->bytes <= MIB);
}

/* Blocks of 4 KiB in an object of 64 MiB: it is filled in the background, before any flush. */
static void background_fills_the_largest_object_of_the_smallest_blocks(struct script *t)
{
    static const struct export_params p = {
        .size = 68 * MIB, .block_size = BLOCK_SIZE_MIN, .object_size = OBJECT_SIZE_MAX};
    struct model_export *e = script_export(t, "disk", &p);
    t->config.write_buffer_bytes = 256 * MIB;
    struct client *a = script_open(t, script_server(t, 0), e);
    for (uint64_t at = 0; at < p.object_size; at += MIB)
        expect(t, script_write(t, a, at, MIB, 0) == ERR_OK);
    script_run(t, 30);
    expect(t, bucket_count(t->bucket, "blocks/") == 1 && script_slots(t, e) == 0);
    expect(t, bucket_nth(t->bucket, "blocks/", 0)->bytes == p.object_size);
}

#ifdef __SANITIZE_ADDRESS__
#define SLOW true
#else
#define SLOW false
#endif

/* Many exports share one budget for logged data; what is over it stays in the log and is read from there. */
static void budget_10k_exports_inline(struct script *t)
{
    enum { EXPORTS = SLOW ? 1000 : SCRIPT_EXPORTS_MAX };
    static const struct export_params p = {.size = 8192, .block_size = 4096, .object_size = 4096};
    t->config.inline_bytes = EXPORTS * 400;
    struct client **clients = MEM_ARRAY(struct client *, EXPORTS);
    struct process *d = script_server(t, 0);
    char name[16];
    for (unsigned i = 0; i < EXPORTS; i++) {
        snprintf(name, sizeof name, "disk-%05u", i);
        clients[i] = script_open(t, d, script_export(t, name, &p));
    }
    struct arena *memory = &d->server->arena;
    size_t open_bytes = memory->bytes;
    memory->bytes_max = open_bytes;
    uint64_t over = coverage_count("inline-over-budget");
    rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_PUT), "maps/*", d->server);
    for (unsigned i = 0; i < EXPORTS; i++)
        expect(t, script_write(t, clients[i], 1024, 2048, VOLUME_FUA) == ERR_OK);
    expect(t, coverage_count("inline-over-budget") >= over + EXPORTS / 2);
    expect(t, d->engine->inline_budget.used <= t->config.inline_bytes * 3 / 2);
    expect(t, memory->bytes_max - open_bytes <= t->config.cache_bytes + t->config.write_buffer_bytes +
                                                    t->config.inline_bytes * 3 / 2 + 4 * MIB);
    for (unsigned i = 0; i < EXPORTS; i += 97)
        expect(t, script_read(t, clients[i], 0, 8192) == ERR_OK);
    mem_free(clients);
    server_crash(d->server);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "memory", #name, name                                                                                \
    }
const struct scenario scenarios_memory[] = {S(consolidation_in_bounded_memory),
                                            S(consolidation_into_the_largest_objects),
                                            S(many_small_changes_wait_for_a_checkpoint),
                                            S(status_looks_at_what_is_asked_for),
                                            S(background_fills_the_largest_object_of_the_smallest_blocks),
                                            S(budget_10k_exports_inline),
                                            {0}};
