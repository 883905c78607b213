/* target.h - where an export writes: a file, a block device or a stream. All but opening runs on worker
 * threads. */
#ifndef CLI_TARGET_H
#define CLI_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/err.h"

enum target_kind { TARGET_FILE, TARGET_DEVICE, TARGET_STREAM };

struct target {
    int fd;
    const char *shown; /* its name, for people */
    enum target_kind kind;
};

/* UNSUPPORTED with a complaint when something else than a file or a block device has that name. Touches
 * nothing. */
MUST_CHECK enum err target_check(const char *file, struct complaint *);
/* "-": standard output; a file is emptied and given its size, all hole. NOSPACE, DENIED, UNSUPPORTED with a
 * complaint. */
MUST_CHECK enum err target_open(struct target *, const char *file, uint64_t bytes, struct complaint *);

/* 0, or the errno. A stream's writes come in order, whatever the offset says. */
int target_write(struct target *, struct iovec *, int count, uint64_t offset);
/* Zeros; nothing to do in a file, which is all hole. */
int target_zero(struct target *, uint64_t bytes, uint64_t offset);
/* To the disk, and closed. */
int target_finish(struct target *, uint64_t bytes);

#endif
