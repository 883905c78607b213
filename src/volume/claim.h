/* claim.h - the first manifest of an export: taking a name that nobody has.
 *
 * A name is free when nothing is there, when a tombstone is, and when a fork that will never be finished
 * is: one in state `forking` whose maker is dead, or is this server. What is there is replaced by If-Match,
 * so that the maker of a fork that was taken for dead finds out and gives up.
 */
#ifndef VOLUME_CLAIM_H
#define VOLUME_CLAIM_H

#include "volume/engine.h"
#include "volume/format/manifest.h"
#include "volume/membership/liveness.h"
#include "volume/swap.h"

struct claim {
    struct engine *engine;
    const char *name;      /* the caller's until done */
    struct manifest *next; /* what is to be there; serial and nonce are made here. The caller's */
    void (*done)(struct claim *);

    enum err err; /* OK; CONFLICT: an export exists; HELD: a fork is being made; else as swap.h says */
    struct complaint complaint;
    char etag[OBJSTORE_ETAG_MAX]; /* OK: of the version that is there now */

    unsigned rounds; /* private from here */
    enum { CLAIM_SWAPS, CLAIM_LOOKS } state;
    struct swap swap;
    struct liveness maker;
};

/* done follows, not from inside. */
void claim_start(struct claim *);

#endif
