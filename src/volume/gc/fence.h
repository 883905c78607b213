/* fence.h - an export taken from a server that was declared dead, and given to nobody (DESIGN §5.3).
 *
 * As in a takeover the first gap of its log is sealed, and the manifest swapped: the same root, one segment
 * more, an epoch more, another folder. There is no owner then, and the count of breaks is the same: `fenced`
 * says whose it was, and which manifest was replaced, so that this very server, when it comes back, may go
 * on, and whoever else opens the export counts the break.
 */
#ifndef VOLUME_GC_FENCE_H
#define VOLUME_GC_FENCE_H

#include "volume/log/replay.h"
#include "volume/swap.h"

struct fence {
    struct engine *engine;
    const char *name;          /* kept by the caller until done */
    struct manifest *manifest; /* as read: OPEN. Likewise */
    char etag[OBJSTORE_ETAG_MAX];
    void (*done)(struct fence *);

    enum err err; /* OK; CONFLICT: it has changed, look again; CORRUPT: its log cannot be read; CANCELED */

    struct volume *volume; /* private from here: of no engine's list */
    struct replay replay;
    struct manifest next;
    struct swap swap;
    bool swapping;
};

void fence_start(struct fence *);
void fence_cancel(struct fence *); /* done follows */

#endif
