/* faults.h - what may go wrong in a run, and how often. All zero: a kind world with small, even latencies. */
#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

struct faults {
    uint64_t latency_min_ns, latency_max_ns; /* one way */
    unsigned slow;                           /* per mille of one-way trips that take up to 50 times as long */
    unsigned lost_answer;                    /* applied, but reported failed */
    unsigned refused;                        /* 5xx, not applied, reported failed */
    unsigned throttled;                      /* refused unread */
    unsigned stalled;                        /* reported failed, applied at any later moment */
    unsigned duplicated;                     /* applied again at any later moment */
    unsigned loser_500;                      /* of refused conditions: reported failed instead */
    unsigned short_list;                     /* of LISTs: fewer entries than asked for, truncated */
    unsigned orphan_lost;                    /* of a crashed server's requests: never applied */
    unsigned orphan_late;                    /* of those: applied at any later moment */
    uint64_t late_max_ns;                    /* the latest "later moment" */
    uint64_t job_delay_max_ns;
    /* per million steps */
    unsigned crash, crash_at_mark, sleep, outage, nospace, damage;
    unsigned declared_dead; /* a server's heartbeat is taken away */
    unsigned sealed;        /* a taker that died long ago seals an export's log */
    uint64_t sleep_max_ns, outage_max_ns, nospace_max_ns;
    unsigned skew_max_ms; /* between a server's wall clock and the bucket's */
};

/* A kind world. */
void faults_none(struct faults *);
/* A random subset of faults at random rates. */
void faults_swarm(struct faults *, uint64_t seed);

#endif
