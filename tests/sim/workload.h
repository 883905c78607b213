/* workload.h - what clients might do: random requests on random places, with hot spots, runs, duplicates and
 * zeros. */
#ifndef SIM_WORKLOAD_H
#define SIM_WORKLOAD_H

#include "client.h"

struct workload {
    struct sim *sim;
    struct prng rng;
    unsigned depth;                                        /* requests in flight on one export */
    unsigned weights[7];                                   /* by volume_verb */
    unsigned fua, aligned, hot, zero_data, duplicate, run; /* per mille */
    size_t bytes_max;
    uint64_t submitted;
    uint64_t which;     /* of the recurring blocks */
    uint64_t run_at;    /* where the last sequential request ended, in the model */
    unsigned recurring; /* per mille: data that was written before, perhaps long ago */
    uint8_t *last;      /* what was written last, to write it again elsewhere */
    size_t last_bytes;
};

void workload_init(struct workload *, struct sim *, uint64_t seed);
void workload_finish(struct workload *);
/* One more request, if the client can take it. */
void workload_submit(struct workload *, struct client *);

#endif
