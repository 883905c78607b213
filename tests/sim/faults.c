#include "faults.h"

#include <string.h>

#include "base/prng.h"
#include "loop/loop.h"

void faults_none(struct faults *f)
{
    memset(f, 0, sizeof *f);
    f->latency_min_ns = NS_PER_MS / 2;
    f->latency_max_ns = 2 * NS_PER_MS;
    f->late_max_ns = NS_PER_S;
    f->job_delay_max_ns = NS_PER_MS / 10;
}

static unsigned maybe(struct prng *r, unsigned most)
{
    if (prng_below(r, 2))
        return 0;
    unsigned rate = (unsigned)prng_below(r, most) + 1;
    return prng_below(r, 3) ? rate / 8 + 1 : rate;
}

static uint64_t one_of(struct prng *r, const uint64_t *values, size_t n)
{
    return values[prng_below(r, n)];
}

void faults_swarm(struct faults *f, uint64_t seed)
{
    static const uint64_t latencies[] = {NS_PER_MS / 10, 5 * NS_PER_MS, 40 * NS_PER_MS, 400 * NS_PER_MS};
    static const uint64_t lates[] = {NS_PER_S, 60 * NS_PER_S, 3600 * NS_PER_S, 40000 * NS_PER_S};
    static const uint64_t jobs[] = {0, NS_PER_MS / 10, 5 * NS_PER_MS, 300 * NS_PER_MS};
    static const uint64_t spans[] = {5 * NS_PER_S, 40 * NS_PER_S, 600 * NS_PER_S, 20000 * NS_PER_S};
    struct prng r;
    prng_seed(&r, seed ^ UINT64_C(0x5741524d));
    faults_none(f);
    f->latency_max_ns = one_of(&r, latencies, 4);
    f->latency_min_ns = f->latency_max_ns / (1 + prng_below(&r, 20));
    f->slow = maybe(&r, 60);
    f->lost_answer = maybe(&r, 150);
    f->refused = maybe(&r, 150);
    f->throttled = maybe(&r, 200);
    f->stalled = maybe(&r, 80);
    f->duplicated = maybe(&r, 80);
    f->loser_500 = maybe(&r, 900);
    f->short_list = maybe(&r, 600);
    f->orphan_lost = (unsigned)prng_below(&r, 600);
    f->orphan_late = (unsigned)prng_below(&r, 900);
    f->late_max_ns = one_of(&r, lates, 4);
    f->job_delay_max_ns = one_of(&r, jobs, 4);
    f->crash = maybe(&r, 2500);
    f->crash_at_mark = maybe(&r, 4000);
    f->sleep = maybe(&r, 2500);
    f->declared_dead = prng_below(&r, 3) ? 0 : maybe(&r, 2000);
    f->outage = maybe(&r, 1500);
    f->nospace = maybe(&r, 1200);
    f->damage = prng_below(&r, 8) ? 0 : maybe(&r, 600);
    f->sleep_max_ns = one_of(&r, spans, 4);
    f->outage_max_ns = one_of(&r, spans, 4);
    f->nospace_max_ns = one_of(&r, spans, 3);
    f->skew_max_ms = (unsigned)prng_below(&r, 3) * 400000;
    f->sealed = prng_below(&r, 3) ? 0 : maybe(&r, 4000);
}
