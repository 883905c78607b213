/* progress.h - a bar on standard error while bytes are moved; nothing at all when that is no terminal. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "loop/loop.h"

struct progress {
    struct loop *loop;
    const char *verb; /* "import" */
    uint64_t total, done;
    uint64_t started_ns;
    bool shown;
    struct timer timer;
};

void progress_start(struct progress *, struct loop *, const char *verb, uint64_t total);
/* Counts bytes of the disk that are dealt with, holes included. */
void progress_add(struct progress *, uint64_t bytes);
/* Wipes the bar. Harmless when never started. */
void progress_stop(struct progress *);
uint64_t progress_elapsed_ns(const struct progress *);

#endif
