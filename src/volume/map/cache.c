#include "volume/map/cache.h"

#include <assert.h>

#include "base/bytes.h"
#include "base/list.h"
#include "base/mem.h"

struct entry {
    struct link recent;
    struct entry *next; /* in its bucket */
    struct buf *buf;
    struct sha256 hash;
};

struct cache {
    size_t bytes_max;
    struct list recent;     /* the least recently used first */
    struct entry **buckets; /* a power of two of them; NULL until something is put in */
    size_t bucket_count;
    struct cache_stats stats;
};

enum { BUCKETS_MIN = 64 };

struct cache *cache_create(size_t bytes_max)
{
    struct cache *c = MEM_NEW(struct cache);
    c->bytes_max = bytes_max;
    list_init(&c->recent);
    return c;
}

void cache_destroy(struct cache *c)
{
    if (!c)
        return;
    for (struct link *k; (k = list_pop(&c->recent));) {
        struct entry *e = CONTAINER_OF(k, struct entry, recent);
        buf_unref(e->buf);
        mem_free(e);
    }
    mem_free(c->buckets);
    mem_free(c);
}

static struct entry **bucket_of(const struct cache *c, const struct sha256 *hash)
{
    return &c->buckets[get_le64(hash->bytes) & (c->bucket_count - 1)];
}

/* The pointer to the entry, or to the NULL at the end of its bucket. */
static struct entry **place_of(const struct cache *c, const struct sha256 *hash)
{
    struct entry **at = bucket_of(c, hash);
    while (*at && !sha256_equal(&(*at)->hash, hash))
        at = &(*at)->next;
    return at;
}

static struct entry *find(const struct cache *c, const struct sha256 *hash)
{
    return c->buckets ? *place_of(c, hash) : NULL;
}

static void touch(struct cache *c, struct entry *e)
{
    list_remove(&e->recent);
    list_push(&c->recent, &e->recent);
}

struct buf *cache_get(struct cache *c, const struct sha256 *hash)
{
    struct entry *e = find(c, hash);
    if (!e) {
        c->stats.misses++;
        return NULL;
    }
    c->stats.hits++;
    touch(c, e);
    return buf_ref(e->buf);
}

bool cache_has(const struct cache *c, const struct sha256 *hash)
{
    return find(c, hash) != NULL;
}

static size_t cost_of(const struct buf *buf)
{
    return sizeof(struct entry) + buf_cost(buf->bytes);
}

static void evict(struct cache *c)
{
    struct link *oldest = list_pop(&c->recent);
    assert(oldest);
    struct entry *e = CONTAINER_OF(oldest, struct entry, recent);
    *place_of(c, &e->hash) = e->next;
    c->stats.used_bytes -= cost_of(e->buf);
    c->stats.entries--;
    c->stats.evictions++;
    buf_unref(e->buf);
    mem_free(e);
}

static void make_room(struct cache *c, size_t bytes)
{
    while (c->stats.used_bytes > c->bytes_max - bytes)
        evict(c);
}

/* Longer chains rather than a table that leaves no room for what is to be kept. */
static void grow(struct cache *c, size_t needed)
{
    size_t count = c->buckets ? 2 * c->bucket_count : BUCKETS_MIN;
    size_t more = (count - c->bucket_count) * sizeof(struct entry *);
    if (more > c->bytes_max || needed > c->bytes_max - more)
        return;
    make_room(c, more + needed);
    mem_free(c->buckets);
    c->buckets = MEM_ARRAY(struct entry *, count);
    c->bucket_count = count;
    c->stats.used_bytes += more;
    LIST_EACH(&c->recent, k)
    {
        struct entry *e = CONTAINER_OF(k, struct entry, recent), **bucket = bucket_of(c, &e->hash);
        e->next = *bucket;
        *bucket = e;
    }
}

void cache_put(struct cache *c, const struct sha256 *hash, struct buf *buf)
{
    struct entry *there = find(c, hash);
    if (there) {
        touch(c, there);
        return;
    }
    size_t cost = cost_of(buf), table = c->bucket_count * sizeof(struct entry *);
    if (cost > c->bytes_max || table > c->bytes_max - cost)
        return;
    if (c->stats.entries >= c->bucket_count)
        grow(c, cost);
    if (!c->buckets)
        return;
    make_room(c, cost);
    struct entry *e = MEM_NEW(struct entry);
    e->hash = *hash;
    e->buf = buf_ref(buf);
    struct entry **bucket = bucket_of(c, hash);
    e->next = *bucket;
    *bucket = e;
    list_push(&c->recent, &e->recent);
    c->stats.used_bytes += cost;
    c->stats.entries++;
}

void cache_stats(const struct cache *c, struct cache_stats *out)
{
    *out = c->stats;
}
