/* text.h - a string that grows, always ended by a NUL. A zeroed one is "", but at is NULL until something is
 * added. */
#ifndef OBJSTORE_S3_TEXT_H
#define OBJSTORE_S3_TEXT_H

#include <stddef.h>

#include "base/err.h"

struct text {
    char *at;
    size_t bytes, room;
};

void text_add_bytes(struct text *, const void *, size_t);
void text_add(struct text *, const char *);
PRINTF(2, 3) void text_addf(struct text *, const char *fmt, ...);
void text_clear(struct text *); /* keeps the memory */
void text_finish(struct text *);
/* Never NULL. */
const char *text_of(const struct text *);

#endif
