#include "bucket.h"

#include <assert.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "base/mem.h"
#include "requests.h"

#define BUCKET_EPOCH_MS INT64_C(1767225600000) /* 2026-01-01 */

struct bucket *bucket_create(struct sim *s)
{
    struct bucket *b = calloc(1, sizeof *b);
    assert(b);
    b->sim = s;
    list_init(&b->rules);
    list_init(&b->strays);
    return b;
}

void bucket_destroy(struct bucket *b)
{
    while (!list_empty(&b->rules)) {
        struct rule *r = LIST_ENTRY(list_first(&b->rules), struct rule, link);
        LIST_EACH(&r->held, k)
        {
            list_remove(k);
        }
        list_remove(&r->link);
        free(r);
    }
    while (!list_empty(&b->strays))
        request_end(LIST_ENTRY(list_first(&b->strays), struct bucket_op, link));
    while (b->count)
        bucket_delete(b, b->objects[b->count - 1]->key);
    free(b->objects);
    free(b);
}

int64_t bucket_now_ms(const struct bucket *b)
{
    return BUCKET_EPOCH_MS + (int64_t)(sim_now_ns(b->sim) / NS_PER_MS);
}

void bucket_heal(struct bucket *b)
{
    memset(b->outages, 0, sizeof b->outages);
    b->nospace_until_ns = 0;
    b->crash_at_mutation = 0;
    while (!list_empty(&b->rules))
        rule_release(b, LIST_ENTRY(list_first(&b->rules), struct rule, link));
    LIST_EACH(&b->strays, k)
    {
        struct bucket_op *op = CONTAINER_OF(k, struct bucket_op, link);
        sim_at(b->sim, &op->timer, sim_spread(b->sim, NS_PER_MS, 10 * NS_PER_S));
    }
    for (size_t i = 0; i < b->sim->server_count; i++)
        LIST_EACH(&b->sim->servers[i]->requests, k)
        {
            struct bucket_op *op = CONTAINER_OF(k, struct bucket_op, link);
            if (timer_started(&op->timer) && op->timer.due_ns > sim_now_ns(b->sim) + NS_PER_S)
                sim_at(b->sim, &op->timer, sim_spread(b->sim, NS_PER_MS, NS_PER_S));
        }
}

/* ---------------------------------------------------------------------- interference */

struct rule *rule_add_times(struct bucket *b, enum rule_action action, unsigned verbs, const char *pattern,
                            const struct server *from, uint64_t skip, uint64_t times)
{
    struct rule *r = calloc(1, sizeof *r);
    assert(r);
    r->action = action;
    r->verbs = verbs;
    snprintf(r->pattern, sizeof r->pattern, "%s", pattern);
    r->from = from;
    r->skip = skip;
    r->left = times;
    list_init(&r->held);
    list_push(&b->rules, &r->link);
    return r;
}

struct rule *rule_add(struct bucket *b, enum rule_action action, unsigned verbs, const char *pattern,
                      const struct server *from)
{
    return rule_add_times(b, action, verbs, pattern, from, 0, UINT64_MAX);
}

void rule_let_through(struct bucket *b, struct rule *r)
{
    LIST_EACH(&r->held, k)
    {
        struct bucket_op *op = CONTAINER_OF(k, struct bucket_op, held);
        list_remove(k);
        request_go_on(b, op);
    }
}

void rule_release(struct bucket *b, struct rule *r)
{
    list_remove(&r->link);
    rule_let_through(b, r);
    free(r);
}

size_t rule_held(const struct rule *r)
{
    size_t n = 0;
    LIST_EACH(&r->held, k)
    {
        n++;
    }
    return n;
}

static bool rule_matches(const struct rule *r, const struct bucket_op *op)
{
    if (!(r->verbs & RULE_VERB(op->verb)) || (r->from && r->from != op->from))
        return false;
    if (op->verb != OBJSTORE_DELETE)
        return fnmatch(r->pattern, op->key, 0) == 0;
    for (size_t i = 0; i < op->key_count; i++)
        if (fnmatch(r->pattern, op->keys[i], 0) == 0)
            return true;
    return false;
}

struct rule *rule_for(struct bucket *b, const struct bucket_op *op)
{
    LIST_EACH(&b->rules, k)
    {
        struct rule *r = CONTAINER_OF(k, struct rule, link);
        if (!r->left || !rule_matches(r, op))
            continue;
        if (r->skip) {
            r->skip--;
            continue;
        }
        r->left--;
        r->hits++;
        if (r->action != RULE_COUNT)
            return r;
    }
    return NULL;
}

void bucket_outage(struct bucket *b, const struct server *from, const char *prefix, bool denied, uint64_t ns)
{
    uint64_t now = sim_now_ns(b->sim);
    for (size_t i = 0; i < OUTAGES_MAX; i++) {
        struct outage *o = &b->outages[i];
        if (o->until_ns > now)
            continue;
        o->until_ns = now + ns;
        o->from = from;
        o->denied = denied;
        snprintf(o->prefix, sizeof o->prefix, "%s", prefix);
        mark_hit("sim.outage");
        sim_trace(b->sim, "outage for %.1f s, server %d, prefix '%s'", (double)ns / 1e9,
                  from ? (int)from->number : -1, prefix);
        return;
    }
}

const struct outage *outage_for(const struct bucket *b, const struct bucket_op *op)
{
    for (size_t i = 0; i < OUTAGES_MAX; i++) {
        const struct outage *o = &b->outages[i];
        const char *key = op->verb == OBJSTORE_DELETE ? op->keys[0] : op->key;
        if (o->until_ns > sim_now_ns(b->sim) && (!o->from || o->from == op->from) &&
            strncmp(key, o->prefix, strlen(o->prefix)) == 0)
            return o;
    }
    return NULL;
}

void bucket_nospace(struct bucket *b, uint64_t ns)
{
    mark_hit("sim.nospace");
    sim_trace(b->sim, "no space for %.1f s", (double)ns / 1e9);
    b->nospace_until_ns = sim_now_ns(b->sim) + ns;
}
