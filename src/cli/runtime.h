/* runtime.h - what every command that touches the store holds: a loop, the store, an engine and the signals.
 *
 * Commands are written as plain code: they start an operation, call runtime_wait, and its completion calls
 * runtime_wake. SIGINT and SIGTERM end the process with status 1 unless the command says what else they do.
 */
#ifndef CLI_RUNTIME_H
#define CLI_RUNTIME_H

#include "base/err.h"
#include "loop/loop.h"
#include "objstore/objstore.h"
#include "volume/engine.h"

/* How long a command waits for a store that does not answer before it gives up. */
#define RUNTIME_PATIENCE_NS (12 * NS_PER_S)

enum runtime_use { RUNTIME_LOOK, RUNTIME_WRITE };

struct runtime {
    struct loop *loop;
    struct objstore *store;
    struct host host;
    struct engine *engine;
    bool joined;
    /* Called for each SIGINT and SIGTERM, the first with 1; NULL: the process ends. */
    void (*interrupted)(struct runtime *, int count);
    void *interrupted_ctx;
    int interrupts;
    struct signal_watch sigint, sigterm;
};

/* Opens the store and looks at it or joins its servers. A status; what was wrong has been said, and nothing
 * is left open then. config's host is filled in here; NULL: the defaults. */
int runtime_open(struct runtime *, const char *url, enum runtime_use, struct engine_config *config);
/* Leaves the servers and closes everything. A status: status, or STATUS_FAILED when leaving failed. */
int runtime_close(struct runtime *, int status);

/* Runs the loop until runtime_wake is called by what it runs. */
void runtime_wait(struct runtime *);
void runtime_wake(struct runtime *);

#endif
