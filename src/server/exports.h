/* exports.h - the exports that are open: a name to a volume that its connections share.
 *
 *              first join                    opened                      last leave
 *      (none) -----------> EXPORT_OPENING -----------> EXPORT_OPEN -----------> EXPORT_CLOSING --> (none)
 *                                |  failed: all who wait are told  |                 |
 *                                +--> (none)                       lost: users told  +--> OPENING
 *                                                                                         when somebody waits
 *
 * A join while the export is closing, or is lost and not yet closed, waits for that and opens it again.
 */
#ifndef SERVER_EXPORTS_H
#define SERVER_EXPORTS_H

#include "base/list.h"
#include "loop/loop.h"
#include "volume/volume.h"

enum export_state { EXPORT_OPENING, EXPORT_OPEN, EXPORT_CLOSING };

struct exports {
    struct loop *loop;
    struct engine *engine;
    const struct export_params *auto_create; /* NULL: never */
    void (*emptied)(struct exports *);       /* the last one is closed */
    struct list open;
    struct list waiters; /* struct exports_waiter */
    size_t count;
};

/* Waits for an export to be closed. */
struct exports_waiter {
    struct link link;
    const char *name;
    struct task task;
    void (*idle)(struct exports_waiter *);
};

struct export
{
    struct exports *exports;
    struct link link;
    char *name;
    enum export_state state;
    bool lost;
    struct list users, waiting;
    struct task tell; /* those who joined an open export */
    struct volume *volume;
    struct volume_open opening;
    struct volume_close closing;
};

/* One connection's share. Embedded and zeroed at first. */
struct export_user {
    struct link link;
    struct export *export; /* NULL: none */
    bool waits;
    /* From the loop. OK: user->export->volume is open. Else nothing was joined. */
    void (*joined)(struct export_user *, enum err, const struct complaint *);
    void (*lost)(struct export_user *); /* answer what is under way, then leave */
};

void exports_init(struct exports *, struct loop *, struct engine *, const struct export_params *auto_create,
                  void (*emptied)(struct exports *));
void exports_join(struct exports *, const char *name, struct export_user *);
/* No request of the user is under way. Harmless when not joined; while waiting, joined is not called any
 * more. */
void exports_leave(struct export_user *);
/* The open volume of that name; NULL when there is none. */
struct volume *exports_find(const struct exports *, const char *name);
/* How many have joined it, or wait for that. */
size_t exports_users(const struct exports *, const char *name);
/* w->idle is called, from the loop, when nothing of that name (the caller's until then) is open here. */
void exports_when_idle(struct exports *, const char *name, struct exports_waiter *);
/* Ends the wait for the store of whatever is opening or closing. */
void exports_abandon(struct exports *);

#endif
