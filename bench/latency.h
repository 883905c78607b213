/* latency.h - a histogram of durations: 64 buckets a power of two, so that a quantile is off by at most 2
 * %. */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H

#include <stdint.h>

#define LATENCY_BUCKETS (40u * 64u)

struct latency {
    uint64_t counts[LATENCY_BUCKETS], total;
};

static inline unsigned latency_bucket(uint64_t ns)
{
    if (ns < 64)
        return (unsigned)ns;
    unsigned power = 63u - (unsigned)__builtin_clzll(ns) - 6;
    unsigned bucket = power * 64 + (unsigned)(ns >> power);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

static inline void latency_add(struct latency *l, uint64_t ns)
{
    l->counts[latency_bucket(ns)]++;
    l->total++;
}

static inline double latency_us(const struct latency *l, double quantile)
{
    uint64_t wanted = (uint64_t)((double)l->total * quantile), seen = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += l->counts[i];
        if (seen > wanted || (seen == l->total && seen)) {
            unsigned power = i < 128 ? 0 : i / 64 - 1;
            return (double)((uint64_t)(i - power * 64) << power) / 1e3;
        }
    }
    return 0;
}

#endif
