/* objstore_conformance.h - every rule of objstore.h, tried against any store.
 *
 * Used by the unit tests of mem and dir, and by the program objstore_conformance, which takes a store's URL.
 * Leaves nothing behind below the prefix, except after a failure.
 */
#ifndef OBJSTORE_CONFORMANCE_H
#define OBJSTORE_CONFORMANCE_H

#include <stdbool.h>

#include "objstore/objstore.h"

struct conformance {
    struct loop *loop; /* a uv_loop, not running */
    struct objstore *store;
    const char *prefix; /* "" or ends in '/'; nothing is stored below it */
    /* Called for each rule when it has been tried; failure is NULL when it holds. */
    void (*report)(struct conformance *, const char *rule, const char *failure);

    char failure[1024]; /* the suite's own from here on */
    unsigned under_way;
    bool submitting;
};

/* The number of rules that do not hold. */
unsigned conformance_run(struct conformance *);

#endif
