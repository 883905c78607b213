/* ram_volume.h - volume.h, exports.h and what of engine.h the server needs, with exports kept in memory.
 *
 * For tests of the protocol and the server only: nothing outlives the process. What the real engine does
 * seldom can be asked for at will.
 */
#ifndef TESTS_RAM_VOLUME_H
#define TESTS_RAM_VOLUME_H

#include "volume/exports.h"

struct ram_faults {
    const char *held;       /* opening the export of that name answers HELD */
    bool hold;              /* submitted requests are kept until ram_release */
    bool slow_reads;        /* volume_read_now never answers */
    uint64_t corrupt_below; /* reads that begin below answer CORRUPT */
    bool full;              /* admission and changes answer NOSPACE */
};

/* write_buffer_bytes bounds the payloads admitted and not yet submitted. */
struct engine *ram_engine_create(struct loop *, size_t write_buffer_bytes);
void ram_engine_destroy(struct engine *);
struct ram_faults *ram_faults(struct engine *);
void ram_release(struct engine *); /* answers what was kept */
/* The export was taken by another server. */
void ram_fence(struct engine *, const char *name);
size_t ram_open_volumes(const struct engine *);
size_t ram_payload_bytes(const struct engine *); /* admitted and not yet submitted or dropped */

#endif
