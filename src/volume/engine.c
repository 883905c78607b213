#include "volume/engine.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "volume/format/record.h"
#include "volume/map/fetch.h"
#include "volume/membership/pins.h"
#include "volume/swap.h"
#include "volume/volume_state.h"

void engine_config_defaults(struct engine_config *c)
{
    *c = (struct engine_config){
        .addresses = "",
        .cache_bytes = 256 * MIB,
        .write_buffer_bytes = 64 * MIB,
        .inline_bytes = 64 * MIB,
        .dedup_bytes = 8 * MIB,
        .flush_interval_ns = 5 * NS_PER_S,
        .checkpoint_interval_ns = 60 * NS_PER_S,
        .lease_ttl_ns = 30 * NS_PER_S,
        .limits = {.record_bytes = RECORD_BYTES_MAX,
                   .inline_batch_bytes = 768 * KIB,
                   .checkpoint_log_bytes = 64 * MIB,
                   .checkpoint_log_records = 4096,
                   .log_bytes_max = 256 * MIB,
                   .log_records_max = 16384,
                   .segments_max = MANIFEST_SEGMENTS_MAX},
    };
}

/* The write buffer has waiters or is filling up. */
static void pressure(struct task *t)
{
    struct engine *e = CONTAINER_OF(t, struct engine, pressure);
    budget_serve(&e->write_budget);
    if (e->store_full)
        volume_refuse_waiting(e, NULL, ERR_NOSPACE);
    write_back_pressure(e);
}

static void write_budget_room(struct budget *b)
{
    struct engine *e = CONTAINER_OF(b, struct engine, write_budget);
    loop_post(e->loop, &e->pressure);
}

static void lease_confirmed(struct engine *e)
{
    pins_confirmed(e);
    volume_release_answers(e);
    volume_gates_open(e);
    turns_look(&e->turns);
}

static void declared_dead(struct engine *e)
{
    turns_died(&e->turns);
    pins_died(e);
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        v->died = true;
        if (!v->opening && !v->snapshot)
            v->fenced = true;
    }
}

static void revived(struct engine *e)
{
    turns_revived(&e->turns);
    pins_confirmed(e);
}

/* Under the new id, and with the present turn known, what was held can be taken again. */
static void refreshed(struct engine *e)
{
    LIST_EACH(&e->volumes, k)
    {
        struct volume *v = CONTAINER_OF(k, struct volume, link);
        if (v->snapshot)
            continue;
        retake_start(v, "this server was declared dead");
        loop_post(e->loop, &v->pump);
    }
}

void engine_set_addresses(struct engine *e, const char *addresses)
{
    if ((size_t)snprintf(e->addresses, sizeof e->addresses, "%s", addresses) < sizeof e->addresses)
        return;
    char *last = strrchr(e->addresses, ','); /* it, or what is behind it, was cut */
    if (last)
        *last = '\0';
}

struct engine *engine_create(struct loop *loop, struct objstore *store, const struct engine_config *config)
{
    struct engine *e = MEM_NEW(struct engine);
    e->loop = loop;
    e->store = store;
    e->config = *config;
    engine_set_addresses(e, config->addresses ? config->addresses : "");
    if (config->control && strlen(config->control) < sizeof e->control)
        snprintf(e->control, sizeof e->control, "%s", config->control);
    random_id(loop, e->server_id);
    e->cache = cache_create(config->cache_bytes);
    e->dedup = dedup_create(config->dedup_bytes);
    list_init(&e->pins);
    list_init(&e->volumes);
    list_init(&e->uploads_waiting);
    list_init(&e->uploads_storing);
    list_init(&e->uploads_twins);
    list_init(&e->checkpoints_waiting);
    budget_init(&e->write_budget, config->write_buffer_bytes, write_budget_room);
    budget_init(&e->inline_budget, config->inline_bytes, NULL);
    e->pressure.run = pressure;
    fetches_init(&e->fetches);
    lease_init(&e->lease, e);
    turns_init(&e->turns, e);
    e->turns.refreshed = refreshed;
    e->lease.confirmed = lease_confirmed;
    e->lease.died = declared_dead;
    e->lease.revived = revived;
    return e;
}

void engine_destroy(struct engine *e)
{
    if (!e)
        return;
    assert(list_empty(&e->volumes) && list_empty(&e->pins));
    task_cancel(&e->pressure);
    fetches_finish(&e->fetches);
    lease_finish(&e->lease);
    turns_finish(&e->turns);
    cache_destroy(e->cache);
    dedup_destroy(e->dedup);
    mem_free(e);
}

const char *engine_server_id(const struct engine *e)
{
    return e->server_id;
}

void engine_stats(const struct engine *e, struct engine_stats *s)
{
    *s = (struct engine_stats){.write_buffer_used = e->write_budget.used,
                               .inline_used = e->inline_budget.used,
                               .dedup_hits = e->dedup_hits,
                               .blocks_stored = e->blocks_stored,
                               .block_bytes_stored = e->block_bytes_stored,
                               .lease_held = lease_holds(&e->lease, loop_fresh_ns(e->loop))};
    struct cache_stats c;
    cache_stats(e->cache, &c);
    s->cache_used = c.used_bytes;
    s->cache_hits = c.hits;
    s->cache_misses = c.misses;
    s->cache_evictions = c.evictions;
    struct dedup_stats d;
    dedup_stats(e->dedup, &d);
    s->dedup_entries = d.entries;
}
