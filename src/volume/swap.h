/* swap.h - replacing a manifest by compare-and-swap, whatever becomes of the answer (DESIGN §4.8).
 *
 * After a refused or lost answer the manifest is read back and the nonce compared: ours there means done, the
 * former version there (with `create`: nothing there) means send the very same bytes again after a jittered
 * pause, anything else means somebody was faster. Never decides from an error code alone. Waits for what may
 * pass.
 *
 * CONFLICT is final: the version that `next` would have replaced is gone and never comes back. But `next` may
 * have been there for a while, before whoever was faster replaced it; what was found tells.
 */
#ifndef VOLUME_SWAP_H
#define VOLUME_SWAP_H

#include "objstore/objstore.h"
#include "volume/engine.h"
#include "volume/format/manifest.h"

struct swap {
    struct engine *engine;
    const char *name;            /* of the export; the caller's until done */
    const struct manifest *next; /* serial and nonce are already fresh; the caller's until done */
    bool create;                 /* nothing was there before; else `etag` and `former_nonce` say what was */
    char etag[OBJSTORE_ETAG_MAX];
    char former_nonce[ID_HEX];
    uint64_t patience_ns; /* 0: waits for ever; NOSPACE is then waited out as well */
    void (*done)(struct swap *);

    enum err err; /* OK; CONFLICT: another version is there, see found; CORRUPT UNSUPPORTED: likewise, but
                   * it cannot be read; NOSPACE DENIED UNAVAILABLE CANCELED: not applied, never will be;
                   * UNKNOWN (patience over or canceled: may have been applied, may be later) */
    struct complaint complaint;
    /* OK: etag is the new version's. CONFLICT: what is there now, its etag in `etag` (missing: found.serial
     * is 0); finish it. */
    struct manifest found;

    struct objstore_req req; /* private from here */
    struct key key;
    struct buf *body;
    struct iovec iov;
    struct timer timer;
    enum swap_state { SWAP_PUT, SWAP_PAUSE, SWAP_READ_BACK, SWAP_READ_PAUSE } state;
    unsigned attempts;
    uint64_t started_ns;
    bool canceled, maybe_applied;
};

void swap_start(struct swap *);
void swap_cancel(struct swap *); /* done follows */

/* Reading one: GET and parse. */
struct manifest_get {
    struct engine *engine;
    const char *name;
    uint64_t patience_ns;
    void (*done)(struct manifest_get *);

    enum err err; /* OK NOTFOUND CORRUPT UNSUPPORTED UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    struct manifest manifest; /* OK: the caller finishes it */
    char etag[OBJSTORE_ETAG_MAX];

    struct objstore_req req; /* private from here */
    struct key key;
};

void manifest_get_start(struct manifest_get *);
void manifest_get_cancel(struct manifest_get *);

/* Serial one higher, a fresh nonce: before every swap. */
void manifest_renew(struct manifest *, struct loop *);
/* 128 or 64 random bits as hex. */
void random_id(struct loop *, char out[ID_HEX]);
void random_folder(struct loop *, char out[FOLDER_HEX]);

#endif
