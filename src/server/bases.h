/* bases.h - the snapshots that clients compare with: each is opened once, for all connections that name it,
 * from the first that does to the last that leaves.
 */
#ifndef SERVER_BASES_H
#define SERVER_BASES_H

#include "base/list.h"
#include "volume/volume.h"

struct bases {
    struct engine *engine;
    void (*emptied)(struct bases *); /* the last one is closed */
    struct list all;                 /* struct base */
};

struct base {
    struct bases *bases;
    struct link link;
    struct volume_base_open opening;
    struct volume_base *volume_base; /* NULL: not open yet */
    char name[VOLUME_NAME_MAX + 1];
    struct list waiting; /* struct base_user */
    unsigned users;
};

/* One connection's share in one of them. Zeroed at first. */
struct base_user {
    struct link link;
    struct base *base; /* NULL: none */
    void *ctx;         /* the caller's */
    /* From the loop. OK: base->volume_base is there until bases_leave. Else nothing was joined. */
    void (*joined)(struct base_user *, enum err, const struct complaint *);
};

void bases_init(struct bases *, struct engine *, void (*emptied)(struct bases *));
/* name: EXPORT@SNAPSHOT, copied. True: joined; joined is not called. */
bool bases_join(struct bases *, const char *name, struct base_user *);
/* Harmless when not joined; while waiting, joined is not called any more. */
void bases_leave(struct base_user *);

#endif
