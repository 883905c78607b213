/* snapshot_open.h - volume_open of NAME@SNAPSHOT: a volume without a log, which reads from a pinned root. */
#ifndef VOLUME_SNAPSHOT_OPEN_H
#define VOLUME_SNAPSHOT_OPEN_H

#include "volume/volume.h"

static inline bool names_snapshot(const char *name)
{
    while (*name && *name != '@')
        name++;
    return *name != '\0';
}

void snapshot_open(struct volume_open *);
void snapshot_open_cancel(struct volume_open *); /* done follows; harmless after it */

#endif
