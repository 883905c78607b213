/* check.h - whether everything that the bucket's exports refer to is there and whole.
 *
 * First all objects are listed, then all exports, snapshots and pins are gone through (volume/gc/roots.h):
 * every page is read and checked once, every piece must lie within an object that is there. What was not
 * listed is looked for again: it may have been stored meanwhile. With `read_data` every object that is
 * referred to is read and compared with its name. When something is wrong, the maps of all exports and
 * snapshots are gone through once more, and the ranges are told that cannot be read.
 *
 * Nothing is written. Memory: 56 bytes an object, 44 a page.
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include "cli/runtime.h"

struct check_result {
    uint64_t exports, snapshots, pages, objects; /* looked at; objects: referred to */
    uint64_t bytes_read;
    uint64_t missing, damaged; /* objects */
    uint64_t doubts;           /* what cannot be read at all: pages, manifests, records */
    uint64_t bad_ranges, bad_bytes;
};

/* Says on standard output what is wrong. An error comes with a complaint; CANCELED when interrupted. */
MUST_CHECK enum err check_run(struct runtime *, bool read_data, struct check_result *, struct complaint *);

#endif
