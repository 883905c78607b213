/* comparison.h - two roots, each of an export or a snapshot, pinned and compared (volume/map/diff.h). */
#ifndef CLI_COMPARISON_H
#define CLI_COMPARISON_H

#include "cli/runtime.h"
#include "volume/map/diff.h"
#include "volume/pinned.h"

struct comparison {
    struct runtime *runtime;
    struct pinned sides[2];
    struct diff diff;
    bool (*found)(void *ctx, const struct difference *); /* false: enough */
    void *ctx;
    bool dead;
};

/* Pins both; the runtime has joined. Of differing block sizes: INVALID. An error comes with a complaint,
 * and nothing is left then. CANCELED when interrupted. */
MUST_CHECK enum err comparison_open(struct comparison *, struct runtime *, const char *const names[2],
                                    struct complaint *);
uint64_t comparison_size(const struct comparison *); /* of the larger one */
/* Tells what differs from `start` on, in order. FENCED: this process was declared dead meanwhile. */
MUST_CHECK enum err comparison_run(struct comparison *, uint64_t start,
                                   bool (*found)(void *ctx, const struct difference *), void *ctx);
void comparison_close(struct comparison *);

#endif
