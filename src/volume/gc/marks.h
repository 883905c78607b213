/* marks.h - which objects are referred to, and which part of each block object: the union over everything
 * that refers to it.
 *
 * Memory, for 100 million blocks of 128 KiB in objects of 4 MiB, 3.2 million of them, and 0.8 million pages:
 *
 *     block objects   3.2 M x 144 bytes (name, granule, 1,024 bits)                   461 MB
 *     finding them    8 M x 4 bytes                                                    34 MB
 *     map objects     at most one a page: 2 M slots of 8 bytes                         17 MB
 *     pages visited   0.8 M x 32 bytes, 2 M slots of 4 bytes (digests.h)               34 MB
 *     condemned       two lists of 2^20 names of 36 bytes, a set of 2^21 x 8            93 MB
 *
 * altogether under 700 MB; tests/unit/test_marks.c fills them.
 *
 * An object is known by 64 bits of its name: of two that share them both are kept. The live part is known in
 * 1,024 granules, each of 4 KiB (64 KiB in an object of 64 MiB): a granule counts as live when the piece that
 * has its first byte does, so that small pieces are counted neither too high nor too low by and large.
 */
#ifndef VOLUME_GC_MARKS_H
#define VOLUME_GC_MARKS_H

#include "volume/gc/condemned.h"

struct marks;

struct marks *marks_create(void);
void marks_destroy(struct marks *); /* NULL is fine */

void marks_piece(struct marks *, const struct piece_ref *);
void marks_map(struct marks *, const struct object_name *);

bool marks_has(const struct marks *, enum object_kind, const struct object_name *);
/* Of a block object of that size, the part that is referred to, nearly. */
uint64_t marks_live_bytes(const struct marks *, const struct object_name *, uint64_t object_bytes);
size_t marks_objects(const struct marks *); /* block objects */
size_t marks_bytes(const struct marks *);   /* allocated */

#endif
