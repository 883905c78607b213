/* amend.h - editing the manifest of an export that nobody has open.
 *
 * GET, edit, If-Match. A manifest that is not closed belongs to a server, or did: while it lives, HELD
 * names it; else the export is opened and closed cleanly first, as any server would that it is served by
 * next. Refused by somebody who was faster, it starts over from what is there then, a bounded number of
 * times.
 */
#ifndef VOLUME_AMEND_H
#define VOLUME_AMEND_H

#include "volume/engine.h"
#include "volume/format/manifest.h"
#include "volume/swap.h"
#include "volume/volume.h"

struct amend {
    struct engine *engine;
    const char *name;  /* the caller's until done */
    const char *doing; /* for complaints: "removing export" */
    /* Edits a manifest that is closed (with as_it_is: or open); a plain function of what it is given. May be
     * asked again. An error ends it, with the complaint. */
    enum err (*edit)(struct amend *, struct manifest *);
    /* `found` followed upon what was sent, which was refused or whose answer was lost: was it there? OK: it
     * was. CONFLICT: it was not. UNKNOWN: who knows; that is the answer then, and nothing is tried again.
     * */
    enum err (*was_made)(struct amend *, const struct manifest *found);
    bool as_it_is;  /* an export that somebody has open is edited as its manifest is */
    bool look_only; /* OK from edit is the end: nothing is swapped */
    void (*done)(struct amend *);

    /* OK, what edit said; NOTFOUND HELD CORRUPT UNSUPPORTED UNAVAILABLE DENIED NOSPACE; UNKNOWN; CONFLICT: it
     * keeps changing */
    enum err err;
    struct complaint complaint;

    struct manifest next; /* private from here */
    unsigned rounds;
    enum { AMEND_GETS, AMEND_OPENS, AMEND_CLOSES, AMEND_SWAPS } state;
    struct manifest_get get;
    struct volume_open open;
    struct volume_close close;
    struct swap swap;
};

/* done follows, not from inside. */
void amend_start(struct amend *);

/* Puts the store's own words behind what could not be done. */
enum err complain_store(struct complaint *, enum err, const char *doing, const char *name,
                        const struct complaint *why);

#endif
