/* collecting.h - a server's collector, and exports removed: for directed tests and random runs. */
#ifndef SIM_COLLECTING_H
#define SIM_COLLECTING_H

#include "process.h"

/* A collector in that process; it has none yet. collecting is false again when it has ended. */
void process_collect(struct process *, bool once, uint64_t patience_ns);
void process_collect_stop(struct process *);

/* Removes the export; d->removing is false again when that has ended with d->remove_err. */
void process_remove(struct process *, const char *name); /* kept by the caller until it is done */

/* What is in the bucket beside format, gc/state, manifests and heartbeats; NULL: nothing. */
const char *bucket_leftover(struct bucket *);

#endif
