/* suggest.h - "did you mean": the nearest of a few names. */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

struct suggestion {
    const char *typed;
    const char *best; /* NULL: nothing is near */
    size_t distance;
};

/* Considers one more name. Start from {.typed = ...}. */
void suggest(struct suggestion *, const char *name);

#endif
