/* remote.h - giving a command to the server that holds an export, over its control socket
 * (server/control.h). */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include "cli/edit.h"

/* Asks, and waits for the answer as long as that takes. What edit->op answers is filled in: err, complaint,
 * saved. UNAVAILABLE: nobody answers there. */
void remote_run(const char *socket_path, struct edit *);

#endif
