#include "objstore/s3/pace.h"

#include <stdlib.h>
#include <string.h>

#define ENOUGH       32 /* samples to judge by */
#define RECKON_EVERY 16

void pace_init(struct pace *p)
{
    memset(p, 0, sizeof *p);
    p->width = PACE_WIDTH_MAX;
    p->twentieths = 20 * PACE_BURST;
    for (unsigned v = 0; v < PACE_VERBS; v++) {
        for (unsigned s = 0; s < PACE_SIZES; s++)
            p->classes[v][s].slow_ns = PACE_UNKNOWN_NS;
    }
}

static unsigned size_class(size_t bytes)
{
    return bytes <= 16 << 10 ? 0 : bytes <= 256 << 10 ? 1 : bytes <= 2 << 20 ? 2 : 3;
}

uint64_t pace_slow_ns(const struct pace *p, enum pace_verb v, size_t bytes)
{
    return p->classes[v][size_class(bytes)].slow_ns;
}

static int slowest_first(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

static void reckon(struct pace_class *c)
{
    uint32_t sorted[PACE_SAMPLE];
    memcpy(sorted, c->took_ms, c->count * sizeof *sorted);
    qsort(sorted, c->count, sizeof *sorted, slowest_first);
    uint64_t ns = 4 * (uint64_t)sorted[c->count / 100] * NS_PER_MS;
    c->slow_ns = ns < PACE_FLOOR_NS ? PACE_FLOOR_NS : ns;
}

void pace_note(struct pace *p, enum pace_verb v, size_t bytes, uint64_t took_ns)
{
    struct pace_class *c = &p->classes[v][size_class(bytes)];
    uint64_t ms = took_ns / NS_PER_MS;
    c->took_ms[c->next] = ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
    c->next = (c->next + 1) % PACE_SAMPLE;
    if (c->count < PACE_SAMPLE)
        c->count++;
    if (++c->since >= RECKON_EVERY && c->count >= ENOUGH) {
        c->since = 0;
        reckon(c);
    }
    if (p->twentieths < 20 * PACE_BURST)
        p->twentieths++;
}

bool pace_take_second(struct pace *p)
{
    if (p->twentieths < 20)
        return false;
    p->twentieths -= 20;
    return true;
}

void pace_answered(struct pace *p)
{
    if (p->width == PACE_WIDTH_MAX || ++p->answers < p->width)
        return;
    p->answers = 0;
    p->width++;
}

/* Requests already under way when the first was refused say nothing new: one halving in 100 ms. */
void pace_throttled(struct pace *p, uint64_t now_ns)
{
    p->answers = 0;
    if (p->narrowed_ns && now_ns - p->narrowed_ns < 100 * NS_PER_MS)
        return;
    p->narrowed_ns = now_ns;
    p->width = p->width / 2 < PACE_WIDTH_MIN ? PACE_WIDTH_MIN : p->width / 2;
}

uint64_t pace_backoff_ns(struct loop *l, unsigned tries, uint64_t base_ns, uint64_t cap_ns)
{
    uint64_t most = tries < 16 ? base_ns << tries : cap_ns, random;
    if (most > cap_ns)
        most = cap_ns;
    loop_random(l, &random, sizeof random);
    return random % (most + 1);
}
