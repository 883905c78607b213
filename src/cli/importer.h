/* importer.h - moves an image into an open volume that is all holes: what is zero in the source stays a hole.
 *
 * Several chunks are under way at once. Memory: IMPORT_SLOTS chunks beside what the engine's write buffer
 * admits.
 */
#ifndef CLI_IMPORTER_H
#define CLI_IMPORTER_H

#include "cli/progress.h"
#include "cli/runtime.h"
#include "cli/source.h"
#include "volume/volume.h"

#define IMPORT_SLOTS 16
#define IMPORT_CHUNK (UINT32_C(1) << 20) /* or a block, where that is larger */

struct importer;

struct import_slot {
    struct importer *importer;
    struct job job;
    struct volume_req req;
    uint8_t *bytes;
    bool zero[IMPORT_CHUNK / BLOCK_SIZE_MIN]; /* block by block */
    uint64_t offset;
    size_t asked, length, at; /* of the read; what came; how far of that is written */
    int error;                /* errno of the read */
    bool more;                /* the stream goes on behind the end of the disk */
    bool busy, waiting;       /* at work; for admission of req */
};

struct importer {
    struct runtime *runtime;
    struct source *source;
    struct volume *volume;
    uint64_t size; /* of the export */
    uint32_t chunk_bytes, block_bytes;
    uint64_t next;                   /* what lies before it is dealt with or under way */
    uint64_t data_bytes, read_bytes; /* written to the volume; from a stream */
    unsigned busy;
    bool reading, at_end, stopping, flushing;
    struct import_slot slots[IMPORT_SLOTS];
    struct volume_req flush;
    struct progress progress;
    bool unfinished;
    enum err err;
    struct complaint complaint;
};

/* Runs to the flush of everything. CANCELED when interrupted; other errors have a complaint. With
 * `unfinished` set requests are still under way, and the process can only end. */
enum err importer_run(struct importer *, struct runtime *, struct source *, struct volume *);

#endif
