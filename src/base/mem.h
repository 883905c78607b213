/* mem.h - heap memory that is there or the process ends.
 *
 * What is bounded (payloads, caches) is admitted by a budget (base/budget.h) before it is allocated, so a
 * failing allocation is no condition to handle: the process ends with a message, and what was flushed is
 * safe.
 *
 * Everything below src/cli allocates through here and not through malloc: the simulator links its own mem.c,
 * which puts each simulated server into an arena of its own and drops it whole when the server crashes.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stddef.h>

/* Never NULL. mem_calloc zeroes and checks the product for overflow. */
void *mem_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_calloc(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull));
void *mem_realloc(void *, size_t bytes) __attribute__((returns_nonnull));
void mem_free(void *); /* NULL is fine */

char *mem_strdup(const char *) __attribute__((malloc, returns_nonnull));
void *mem_dup(const void *, size_t bytes) __attribute__((malloc, returns_nonnull));

#define MEM_NEW(type)      ((type *)mem_calloc(1, sizeof(type)))
#define MEM_ARRAY(type, n) ((type *)mem_calloc((n), sizeof(type)))

#endif
