/* names.h - a growing list of object names, in which one can be looked up once it is sorted. */
#ifndef VOLUME_GC_NAMES_H
#define VOLUME_GC_NAMES_H

#include "volume/format/stored.h"

struct names {
    struct object_name *names;
    size_t count, room;
};

/* A zeroed one is empty. */
void names_add(struct names *, const struct object_name *);
void names_sort(struct names *);
bool names_has(const struct names *, const struct object_name *); /* sorted */
void names_finish(struct names *);

#endif
