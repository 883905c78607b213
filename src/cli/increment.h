/* increment.h - `export --since`: what makes one snapshot of another, as a stream (format/stream.h). */
#ifndef CLI_INCREMENT_H
#define CLI_INCREMENT_H

#include "cli/command.h"
#include "cli/runtime.h"

/* Takes the place of a snapshot for a stream that holds all there is. */
#define SINCE_NOTHING "nothing"

/* A status; what was wrong has been said. The runtime has joined. */
int increment_export(struct runtime *, const char *since, const char *name, const char *file);

#endif
