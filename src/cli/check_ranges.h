/* check_ranges.h - whom damage concerns: the ranges of exports and snapshots that cannot be read. For
 * check.c. */
#ifndef CLI_CHECK_RANGES_H
#define CLI_CHECK_RANGES_H

#include "cli/check.h"
#include "volume/gc/condemned.h"
#include "volume/gc/roots.h"
#include "volume/map/walk.h"

struct check_object {
    struct object_name name; /* first: they are looked up by it */
    bool referred, bad;
    uint64_t bytes;
};

struct check_objects {
    struct check_object *objects; /* sorted by name */
    size_t count, room;
};

/* A map that is to be gone through. */
struct check_root {
    char *name;
    struct map_root root;
    uint32_t block_size;
    uint64_t size;
};

struct check {
    struct runtime *runtime;
    struct check_result *result;
    struct complaint *why;
    struct check_objects there[2], suspects[2]; /* by kind; suspects: those that are missing, in the end */
    struct digests suspected[2];
    struct roots roots;
    bool in_roots, canceled;
    enum err read_err;
    struct objstore_req list;
    unsigned pending;

    struct check_root *maps;
    size_t map_count, map_room;
    const struct check_root *at;
    struct walk walk;
    struct place place; /* a piece that lies in a damaged object, and has to be looked at */
    bool doubtful;
    struct fetch fetch;
    uint64_t bad_start, bad_end; /* the range at hand */
};

struct check_object *check_find(const struct check_objects *, const struct object_name *);

void check_ranges_note(struct check *, const char *name, const struct manifest *);
MUST_CHECK enum err check_ranges_tell(struct check *);
void check_ranges_finish(struct check *);

#endif
