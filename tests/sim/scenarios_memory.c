/* Memory: what a server may take, counted by its arena. */
#include "scenario.h"

#include "base/bytes.h"

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

#define S(name)                                                                                              \
    {                                                                                                        \
        "memory", #name, name                                                                                \
    }
const struct scenario scenarios_memory[] = {S(consolidation_in_bounded_memory), {0}};
