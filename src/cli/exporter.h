/* exporter.h - moves an open volume into a file: holes are walked over, data is read in parallel, and a
 * stream gets its bytes in order.
 */
#ifndef CLI_EXPORTER_H
#define CLI_EXPORTER_H

#include "cli/progress.h"
#include "cli/runtime.h"
#include "cli/target.h"
#include "volume/volume.h"

#define EXPORT_SLOTS      16
#define EXPORT_CHUNK      (UINT64_C(1) << 20)
#define EXPORT_ZERO_CHUNK (UINT64_C(1) << 30)
#define EXPORT_WALK       (UINT64_C(64) << 30) /* how much of the map is asked for at a time */

struct exporter;

enum export_slot_state { EXPORT_IDLE, EXPORT_READING, EXPORT_READ, EXPORT_WRITING };

struct export_slot {
    struct exporter *exporter;
    enum export_slot_state state;
    struct volume_req req;
    struct job job;
    uint64_t offset, bytes;
    bool zero;
    int error;
};

/* A stretch of the disk that is all data or all zeros. */
struct export_stretch {
    uint64_t end;
    bool zero;
};

struct exporter {
    struct runtime *runtime;
    struct volume *volume;
    struct target *target;
    uint64_t size, next, data_bytes;
    uint64_t written;                 /* a stream: how far it got */
    struct export_stretch *stretches; /* from `next` on */
    size_t stretch, stretch_count;
    struct volume_req walk;
    bool walking, stopping;
    unsigned busy;
    struct export_slot slots[EXPORT_SLOTS];
    struct progress progress;
    bool unfinished; /* requests are still under way: the process can only end */
    enum err err;
    struct complaint complaint;
};

/* Runs until everything is written, but not yet synced. CANCELED when interrupted; other errors have a
 * complaint. */
enum err exporter_run(struct exporter *, struct runtime *, struct volume *, struct target *);

#endif
