/* roots.h - everything that anything in the bucket refers to: the manifests and logs of all exports, their
 * snapshots, the pages of all their maps (each read once, however many share it), and what servers have
 * pinned. For the collector, and for whoever counts or checks.
 *
 * Guarantees (DESIGN §5.4)
 *   1. Exports are listed and read until a listing shows no name with an id that was not read. Of each the
 *      log is read before the manifest (export_tour.h).
 *   2. With abort_forks an export that is being born is waited for, then aborted by If-Match; without, it is
 *      passed over.
 *   3. Heartbeats are read for their pins after all manifests.
 *   4. What cannot be read is counted in `doubts`, told and logged: what it refers to is then not known.
 * Requests go out in the background; memory: page_tour.h, 44 bytes an export, and ROOTS_EXPORTS exports with
 * their manifests at once.
 */
#ifndef VOLUME_GC_ROOTS_H
#define VOLUME_GC_ROOTS_H

#include "volume/gc/export_tour.h"
#include "volume/gc/page_tour.h"

#define ROOTS_EXPORTS 8u

struct roots;

struct roots_slot {
    struct roots *roots;
    struct export_tour tour;
    bool busy, fresh; /* fresh: not known before */
};

struct roots {
    struct engine *engine;
    bool abort_forks;
    void *ctx;
    /* Any of them may be NULL. */
    void (*export)(struct roots *, const char *name, const struct manifest *); /* OPEN or CLOSED */
    void (*page)(struct roots *, const struct page_ref *);                     /* see page_tour.h */
    void (*piece)(struct roots *, const struct piece_ref *);                   /* of pages and records */
    void (*doubt)(struct roots *, const char *what);
    void (*waits)(struct roots *, const char *what); /* for a person */
    void (*done)(struct roots *);

    enum err err; /* OK, also with doubts; UNAVAILABLE DENIED CANCELED */
    struct complaint complaint;
    uint64_t doubts, exports;
    struct page_tour pages;

    struct digests known; /* private from here: name and id, hashed */
    struct roots_slot slots[ROOTS_EXPORTS];
    unsigned under_way, passes;
    enum {
        ROOTS_LISTS,
        ROOTS_READS,
        ROOTS_PAUSES,
        ROOTS_LISTS_SERVERS,
        ROOTS_READS_SERVER,
        ROOTS_READS_PAGES,
        ROOTS_ENDED
    } state;
    struct objstore_req req;
    char after[OBJSTORE_KEY_MAX];
    struct objstore_entry *entries;
    size_t entry_count, entry;
    bool more, canceled;
    uint64_t found;        /* in this pass: not known before */
    uint64_t forking;      /* in this pass */
    uint64_t fork_seen_ns; /* when the first one was seen that is waited for; 0: none is */
    struct key key;
    struct swap swap;
    struct manifest tombstone;
    char fork[EXPORT_NAME_MAX + 1];
    bool aborting;
    struct timer timer;
    struct task task;
};

void roots_start(struct roots *);
void roots_cancel(struct roots *); /* done follows */
void roots_finish(struct roots *); /* frees; after done */

#endif
