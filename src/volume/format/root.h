/* root.h - the root of a map in a JSON document (docs/FORMAT.md: Manifest): manifest.c and heartbeat.c. */
#ifndef VOLUME_ROOT_H
#define VOLUME_ROOT_H

#include "volume/format/document.h"
#include "volume/format/stored.h"

json_t *root_encode(const struct map_root *);
/* What is wrong is refused as in document.h. */
void read_root(const struct reader *, struct map_root *);
/* It is one there can be for so many bytes. */
bool root_holds(const struct map_root *, uint32_t block_size, uint64_t size);

#endif
