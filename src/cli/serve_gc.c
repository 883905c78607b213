#include "cli/serve_gc.h"

#include "base/bytes.h"
#include "base/log.h"

#define FIRST_NS (600 * NS_PER_S) /* not while everything is being started */

static void again_in(struct serve_gc *g, uint64_t ns)
{
    uint32_t random;
    if (g->stopping) {
        runtime_wake(g->runtime);
        return;
    }
    loop_random(g->runtime->loop, &random, sizeof random);
    timer_start(g->runtime->loop, &g->timer, ns + (ns / 8) * (random % 256) / 256);
}

static void collected(struct collect *q)
{
    struct serve_gc *g = CONTAINER_OF(q, struct serve_gc, collect);
    g->collecting = false;
    if (q->err && q->err != ERR_CANCELED && q->err != ERR_CONFLICT)
        log_warn("gc", "%s", q->complaint.text);
    else if (!q->err)
        log_info("gc", "deleted %llu objects, %llu bytes; %llu objects remain, %llu bytes",
                 (unsigned long long)q->counts.deleted_objects, (unsigned long long)q->counts.deleted_bytes,
                 (unsigned long long)q->counts.objects, (unsigned long long)q->counts.bytes);
    again_in(g, g->interval_ns);
}

static void looked(struct objstore_req *r)
{
    struct serve_gc *g = CONTAINER_OF(r, struct serve_gc, look);
    int64_t age_ms = r->date_ms - r->modified_ms;
    uint64_t interval_ms = g->interval_ns / NS_PER_MS;
    bool known = r->err == ERR_OK && r->date_ms && age_ms >= 0;
    g->looking = false;
    if (g->stopping || (r->err && r->err != ERR_NOTFOUND)) {
        again_in(g, MIN(g->interval_ns, FIRST_NS));
    } else if (known && (uint64_t)age_ms < interval_ms) {
        again_in(g, (interval_ms - (uint64_t)age_ms) * NS_PER_MS);
    } else {
        g->collecting = true;
        g->collect = (struct collect){.engine = g->runtime->engine, .done = collected};
        collect_start(&g->collect);
    }
}

static void due(struct timer *t)
{
    struct serve_gc *g = CONTAINER_OF(t, struct serve_gc, timer);
    g->looking = true;
    g->look = (struct objstore_req){.verb = OBJSTORE_HEAD,
                                    .priority = OBJSTORE_BACKGROUND,
                                    .key = "gc/state",
                                    .patience_ns = RUNTIME_PATIENCE_NS,
                                    .done = looked};
    objstore_submit(g->runtime->store, &g->look);
}

void serve_gc_start(struct serve_gc *g, struct runtime *r, uint64_t interval_ns)
{
    *g = (struct serve_gc){.runtime = r, .interval_ns = interval_ns, .timer = {.fire = due}};
    if (interval_ns)
        again_in(g, MIN(interval_ns, FIRST_NS));
}

void serve_gc_stop(struct serve_gc *g)
{
    g->stopping = true;
    timer_stop(&g->timer);
    if (g->looking)
        objstore_cancel(&g->look);
    else if (g->collecting)
        collect_cancel(&g->collect);
    if (g->looking || g->collecting)
        runtime_wait(g->runtime);
}
