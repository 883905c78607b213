/* serve_gc.h - collecting garbage while serving, now and then.
 *
 * Every server asks how old gc/state is; whoever finds that nobody has collected for the interval begins. Two
 * that begin at once are safe (volume/collect.h), and the slower one leaves it to the other.
 */
#ifndef CLI_SERVE_GC_H
#define CLI_SERVE_GC_H

#include "cli/runtime.h"
#include "volume/collect.h"

struct serve_gc {
    struct runtime *runtime;
    uint64_t interval_ns;

    struct timer timer; /* private from here */
    struct objstore_req look;
    struct collect collect;
    bool looking, collecting, stopping;
};

/* interval_ns 0: never. */
void serve_gc_start(struct serve_gc *, struct runtime *, uint64_t interval_ns);
/* Ends what is under way, and waits for that. */
void serve_gc_stop(struct serve_gc *);

#endif
