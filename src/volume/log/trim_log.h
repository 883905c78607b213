/* trim_log.h - deleting log records that the confirmed manifest no longer needs (DESIGN §3.4).
 *
 * Only after the swap was confirmed, and only by the server that wrote it: first the slots of one folder
 * below the manifest's position; then, once for an owner, everything in folders of *lower* epochs that the
 * manifest does not name. Seals are never deleted while the export exists: a sleeping server could create
 * the slot again and acknowledge into nowhere. What cannot be deleted now is left: below the manifest's
 * position it is rubbish.
 */
#ifndef VOLUME_TRIM_LOG_H
#define VOLUME_TRIM_LOG_H

#include "volume/volume_state.h"

struct trim_log {
    struct volume *volume;
    const struct log_folder *folder;
    uint64_t from, to; /* slots of it to delete; from is moved on as they go */
    bool older_epochs; /* list and clean folders of epochs below the manifest's */
    void (*done)(struct trim_log *);
    bool complete; /* everything was deleted */

    int state; /* private from here */
    char **keys;
    size_t key_count;
    struct objstore_req req;
    struct key prefix;
    char after[OBJSTORE_KEY_MAX];
    bool more, canceled;
    struct task task;
};

void trim_log_start(struct trim_log *);
void trim_log_cancel(struct trim_log *); /* done follows */

#endif
