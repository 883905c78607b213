/* volume_run.h - opening, flushing and closing one volume, waited for; an interrupt ends each wait. */
#ifndef CLI_VOLUME_RUN_H
#define CLI_VOLUME_RUN_H

#include "cli/runtime.h"
#include "volume/volume.h"

/* create: NULL: it must exist; else it must not. CANCELED when interrupted. */
enum err volume_run_open(struct runtime *, const char *name, const struct export_params *create,
                         struct volume **, struct complaint *);
/* A clean close, given up at an interrupt (CANCELED). */
enum err volume_run_close(struct runtime *, struct volume *);
/* Drops what was not flushed. */
void volume_run_abandon(struct runtime *, struct volume *);

#endif
