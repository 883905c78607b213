/* cache.h - pieces and pages in memory, by the SHA-256 of their content: what is found here needs no check
 * and no request. Least recently used goes first.
 *
 * Guarantees
 *   1. What the cache holds never takes more than its bound: the buffers with their headers, and its own
 *      entries and table. A buffer that somebody else holds as well counts in full.
 *   2. Which buffers it holds depends on the calls made and on nothing else.
 *
 * One loop thread owns it. A buffer's charge to a budget is left as it is: who hands over a charged buffer
 * moves the charge (buf_recharge) when the budget is not to wait for the cache.
 */
#ifndef VOLUME_CACHE_H
#define VOLUME_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"

struct cache;

struct cache *cache_create(size_t bytes_max);
void cache_destroy(struct cache *); /* NULL is fine */

/* One reference, the caller's, or NULL. */
struct buf *cache_get(struct cache *, const struct sha256 *);
/* True when cache_get would find it; counts nothing and changes no order. */
bool cache_has(const struct cache *, const struct sha256 *);
/* Takes a reference of its own. What is there already under that hash stays, as just used. A buffer larger
 * than the cache is not kept. */
void cache_put(struct cache *, const struct sha256 *, struct buf *);

struct cache_stats {
    size_t used_bytes, entries;
    uint64_t hits, misses, evictions;
};
void cache_stats(const struct cache *, struct cache_stats *);

#endif
