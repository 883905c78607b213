/* copying.h - clients that take snapshots, fork, remove snapshots and grow exports while others write.
 *
 * A snapshot or a fork holds the history of its session up to some change between the last that was
 * answered when it was asked for and the last that had been submitted when it was answered (volume.h). What
 * that means is checked when it is opened: a fork is a model_export whose first session starts from there.
 */
#ifndef SIM_COPYING_H
#define SIM_COPYING_H

#include "process.h"

enum copying_verb { COPYING_SNAPSHOT, COPYING_FORK, COPYING_REMOVE, COPYING_GROW, COPYING_VERBS };

#define COPY_NAME_MAX 80

struct copying;

/* Of the i-th attempt with that export. */
void copy_name(const struct model_export *, unsigned i, char name[COPY_NAME_MAX]);

/* Begins one; the client is open, verified, not lost, and does nothing else of the kind. It counts as in
 * flight. */
void client_copy(struct client *, enum copying_verb);
void client_copy_forget(struct client *); /* its server died */

/* At rest: a fork of that snapshot, as a child of its export. `process->remove` runs it; see its err. */
struct model_export *process_fork(struct process *, struct model_export *, const struct model_copy *);

#endif
