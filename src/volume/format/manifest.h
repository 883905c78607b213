/* manifest.h - the small mutable objects, encoded: manifests and heartbeats (docs/FORMAT.md: Manifest,
 * Heartbeat).
 *
 * JSON whose first line carries the SHA-256 of all that follows it. Every version has a serial one higher and
 * a fresh nonce, so that no two are byte-equal and a writer whose answer was lost recognises its own.
 */
#ifndef VOLUME_MANIFEST_H
#define VOLUME_MANIFEST_H

#include "base/buf.h"
#include "volume/engine.h"
#include "volume/format/stored.h"
#include "volume/volume.h"

#define MANIFEST_BYTES_MAX     (UINT32_C(2) << 20)
#define MANIFEST_SEGMENTS_MAX  64u
#define MANIFEST_SNAPSHOTS_MAX 1000u

enum manifest_state {
    MANIFEST_OPEN,      /* owner may write; what its log holds from `position` on is not folded in yet */
    MANIFEST_CLOSED,    /* root says all there is; no log */
    MANIFEST_TOMBSTONE, /* removed; the name may be created again under a new id */
    MANIFEST_FORKING,   /* being born; not to be opened */
};

struct manifest_snapshot {
    char *name;
    uint64_t size;
    int64_t created_ms;
    struct map_root root;
    char id[ID_HEX]; /* of what it holds: two with the same one hold the same bytes; "": unknown */
};

/* What a fork was made from; name is NULL when it is none. */
struct manifest_parent {
    char *name;
    char id[ID_HEX];
    char *snapshot; /* NULL: from what the parent held then */
};

struct manifest {
    uint64_t serial;
    char nonce[ID_HEX];
    char id[ID_HEX]; /* of the export: never reused */
    enum manifest_state state;
    struct export_params params;
    int64_t created_ms;
    uint32_t epoch;     /* 0: never opened */
    char owner[ID_HEX]; /* server id; "" when nobody. FORKING: who makes it */
    /* taken by the collector from that server, when this was the nonce; "": not */
    char fenced_owner[ID_HEX], fenced_nonce[ID_HEX];
    char folder[FOLDER_HEX]; /* nonce of the owner's log folder; "" when epoch is 0 */
    uint64_t position;       /* OPEN: the first slot of the owner's folder that is not folded in */
    uint32_t breaks;
    struct map_root root;
    struct segment *segments; /* OPEN: older folders still to be replayed before the owner's, in order */
    size_t segment_count;
    struct manifest_snapshot *snapshots;
    size_t snapshot_count;
    struct manifest_parent parent;
};

/* All of the struct's own memory; the struct can be used again. A zeroed one is fine. */
void manifest_finish(struct manifest *);
void manifest_copy(struct manifest *to, const struct manifest *from); /* `to` is uninitialised or finished */

/* The one of that name; NULL: there is none. */
struct manifest_snapshot *manifest_snapshot(const struct manifest *, const char *name);
/* Of its root and size as they are. CONFLICT: there is one of that name. INVALID: the name, or too many. The
 * complaint names `export`. */
MUST_CHECK enum err manifest_add_snapshot(struct manifest *, const char *export, const char *name,
                                          int64_t created_ms, struct complaint *);
MUST_CHECK enum err manifest_remove_snapshot(struct manifest *, const char *export, const char *name,
                                             struct complaint *); /* NOTFOUND */

void manifest_set_parent(struct manifest *, const char *name, const char *id, const char *snapshot);
/* What a tombstone needs none of: root, log, snapshots, parent, owner. */
void manifest_strip(struct manifest *);

struct buf *manifest_encode(const struct manifest *);
/* CORRUPT (checksum, syntax, a field missing or out of bounds), UNSUPPORTED (a newer version; complaint says
 * so). `m` is untouched on failure. Unknown members are ignored. */
MUST_CHECK enum err manifest_parse(const void *bytes, size_t n, struct manifest *m, struct complaint *);

/* ------------------------------------------------------------------------- */

/* What a server reads without owning it (DESIGN §5): the collector keeps all that the root leads to. */
struct heartbeat_pin {
    char name[VOLUME_NAME_MAX + 1]; /* for people */
    uint32_t block_size;
    struct map_root root;
};

#define HEARTBEAT_PINS_MAX 500u

struct heartbeat {
    uint64_t serial;
    char nonce[ID_HEX];
    struct process_id process;
    char addresses[200];
    char control[CONTROL_PATH_MAX]; /* its control socket; "": none */
    uint64_t lease_ttl_ms;
    uint32_t turn; /* the collector's turn acknowledged */
    /* To be encoded, the caller's; heartbeat_parse leaves them empty. */
    const struct heartbeat_pin *pins;
    size_t pin_count;
    bool dead; /* written by the collector: that server is declared dead */
};

#define HEARTBEAT_BYTES_MAX (UINT32_C(1) << 20)
struct buf *heartbeat_encode(const struct heartbeat *);
MUST_CHECK enum err heartbeat_parse(const void *bytes, size_t n, struct heartbeat *, struct complaint *);
/* The pins alone, for the collector: *pins is the caller's, for mem_free. CORRUPT: what that server reads
 * is not known. */
MUST_CHECK enum err heartbeat_pins(const void *bytes, size_t n, struct heartbeat_pin **pins, size_t *count,
                                   struct complaint *);

/* The object `format`: what it must say. UNSUPPORTED with a complaint for another version. */
#define FORMAT_BYTES_MAX 4096u
struct buf *format_encode(void);
MUST_CHECK enum err format_parse(const void *bytes, size_t n, struct complaint *);

#endif
