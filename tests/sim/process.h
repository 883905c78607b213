/* process.h - a server with an engine in it, and the exports its clients have open. */
#ifndef SIM_PROCESS_H
#define SIM_PROCESS_H

#include "client.h"
#include "volume/collect.h"
#include "volume/exports.h"

enum process_state {
    PROCESS_JOINING,
    PROCESS_UP,
    PROCESS_REFUSED /* join failed */,
    PROCESS_LEAVING,
    PROCESS_DOWN
};

struct process {
    struct link link; /* for the caller's list */
    struct server *server;
    struct engine *engine;
    enum process_state state;
    enum err err; /* of the join */
    struct engine_step step;
    struct collect collect;
    struct export_op remove;
    bool collecting, removing;
    struct list clients; /* open or on the way */
    struct list ended;   /* clients of the past */
};

/* Small buffers and short intervals: every bound is met soon. */
void process_config_random(struct sim *, struct engine_config *);
void process_config_plain(struct engine_config *);

/* Starts a process there and joins. */
struct process *process_start(struct sim *, unsigned machine, unsigned boot, const struct engine_config *);
/* No client may be left: leaves, ends the process, checks that nothing is leaked. */
void process_stop(struct process *);
void process_destroy(struct process *); /* DOWN */

/* Opens the export there, creating it when it does not exist. */
struct client *process_open(struct process *, struct model_export *);
/* Clean close; nothing may be in flight. */
void client_close(struct client *);
void client_abandon(struct client *);

#endif
