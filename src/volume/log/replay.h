/* replay.h - reading one folder of an export's log, in order, and sealing its end (DESIGN §4.3).
 *
 * With `to` known (a segment) exactly [from, to) is read. Without, the log ends at the first gap, which is
 * sealed: a listing is only a hint of how far to read ahead. A seal that finds a record reads it and goes
 * on; one that finds a seal is done. A batch whose end is missing does not count.
 */
#ifndef VOLUME_REPLAY_H
#define VOLUME_REPLAY_H

#include "volume/volume_state.h"

#define REPLAY_AHEAD 64u

struct replay_get;

struct replay {
    struct volume *volume;
    const struct log_folder *folder;
    uint64_t from, to;
    bool seal; /* to is not known: find the end and seal it */
    bool look; /* lay nothing over volume->logged: only where the log ends is of interest */
    void (*done)(struct replay *);

    enum err err; /* OK; NOTFOUND: a record that is listed or named is gone; CORRUPT UNSUPPORTED CANCELED
                     NOSPACE */
    uint64_t end; /* behind the last record that counts */
    uint64_t records, bytes; /* that count */

    int state; /* private from here */
    uint64_t listed_to, next_get, next_apply;
    unsigned getting;
    struct replay_get *gets; /* a ring, by slot */
    size_t largest;
    uint64_t batch_first, batch_records, batch_bytes;
    bool in_batch, sealed, canceled;
    struct extents batch; /* of a batch whose end has not come yet */
    struct objstore_req req;
    struct key key;
    char after[OBJSTORE_KEY_MAX];
    uint8_t seal_bytes[128];
    struct iovec body;
    struct timer timer;
};

void replay_start(struct replay *);
void replay_cancel(struct replay *); /* done follows */

#endif
