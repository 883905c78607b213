/* seal.h - seals as takers might have put them that were wrong about an owner, or late, and died. */
#ifndef SIM_SEAL_H
#define SIM_SEAL_H

#include "bucket.h"
#include "volume/format/manifest.h"

/* False when something is in that slot of the present owner's folder. */
bool seal_put(struct bucket *, const char *export_name, const struct manifest *, uint64_t slot);
/* The first gap in the export's log, or a slot that was that once and has been deleted since. */
void seal_something(struct sim *, const char *export_name);

#endif
