/* source.h - where an import reads: a file, a block device or a stream. Calls block, and run on worker
 * threads but for opening and source_next_data.
 */
#ifndef CLI_SOURCE_H
#define CLI_SOURCE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

struct source {
    int fd;
    const char *shown; /* its name, for people */
    bool stream;       /* read in order; its size is not known */
    uint64_t bytes;    /* 0 for a stream */
    uint64_t base;     /* where byte 0 of the image lies in the file */
    atomic_bool stop;  /* ends a read of a stream that does not come */
};

/* "-": standard input. INVALID, NOTFOUND, DENIED, UNSUPPORTED with a complaint. */
MUST_CHECK enum err source_open(struct source *, const char *file, struct complaint *);
void source_close(struct source *);

/* The first offset from `offset` on that may hold other than zeros, at most `end`. */
uint64_t source_next_data(const struct source *, uint64_t offset, uint64_t end);
/* Reads up to `bytes`; less only at the end (0: at the end already), or when stopped. -1: errno says why. */
ssize_t source_read(struct source *, void *, size_t bytes, uint64_t offset);

#endif
