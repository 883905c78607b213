/* apply.h - `import --apply`: a stream (volume/format/stream.h) onto the export that holds its base.
 *
 *   1. The base is known by the identity of its snapshot. What the export holds must be that snapshot, byte
 *      by byte as far as the maps tell; else nothing is changed.
 *   2. Before the first byte is changed a snapshot "applying-{id}" marks that it was so. Begun and broken
 *      off, the same stream is applied again: it then finds the mark. What was changed besides is found,
 *      and refused.
 *   3. When all is written and the stream was whole, one swap of the manifest adds the stream's snapshot,
 *      with its identity, and removes the mark.
 */
#ifndef CLI_APPLY_H
#define CLI_APPLY_H

#include "cli/command.h"
#include "cli/runtime.h"

/* A status; what was wrong has been said. The runtime has joined. */
int apply_stream(struct runtime *, const char *file, const char *name);

#endif
