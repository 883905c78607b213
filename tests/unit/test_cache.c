#include "volume/map/cache.h"

#include "base/bytes.h"
#include "base/mem.h"
#include "base/prng.h"

#include "unit.h"

static struct sha256 hash_of(uint64_t v)
{
    return sha256_of(&v, sizeof v);
}

static void put(struct cache *c, uint64_t v, size_t bytes)
{
    struct buf *b = buf_create(bytes);
    memcpy(b->data, &v, sizeof v);
    struct sha256 hash = hash_of(v);
    cache_put(c, &hash, b);
    buf_unref(b);
}

static bool has(struct cache *c, uint64_t v)
{
    struct sha256 hash = hash_of(v);
    return cache_has(c, &hash);
}

static bool get(struct cache *c, uint64_t v)
{
    struct sha256 hash = hash_of(v);
    struct buf *b = cache_get(c, &hash);
    if (!b)
        return false;
    assert_memory_equal(b->data, &v, sizeof v);
    buf_unref(b);
    return true;
}

static size_t entry_bytes(void)
{
    struct cache *c = cache_create(1 << 20);
    struct cache_stats before, after;
    put(c, 1, 100);
    cache_stats(c, &before);
    put(c, 2, 100);
    cache_stats(c, &after);
    cache_destroy(c);
    return after.used_bytes - before.used_bytes - buf_cost(100);
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct cache_stats s;
    size_t each = entry_bytes() + buf_cost(1000), table = 64 * sizeof(void *);
    struct cache *c = cache_create(4 * each + table);
    for (uint64_t v = 0; v < 4; v++)
        put(c, v, 1000);
    cache_stats(c, &s);
    assert_int_equal(s.used_bytes, 4 * each + table);
    assert_true(s.entries == 4 && s.evictions == 0);
    assert_true(get(c, 0));
    put(c, 1, 1000); /* there already: as just used */
    put(c, 4, 1000);
    assert_true(has(c, 0) && has(c, 1) && !has(c, 2) && has(c, 3) && has(c, 4));
    put(c, 5, 2000);
    assert_true(!has(c, 3) && !has(c, 0) && has(c, 1) && has(c, 4) && has(c, 5));
    assert_false(get(c, 0));
    cache_stats(c, &s);
    assert_true(s.hits == 1 && s.misses == 1 && s.evictions == 3 && s.entries == 3);
    cache_destroy(c);
}

static void what_is_too_large_is_not_kept(void **state)
{
    (void)state;
    struct cache *c = cache_create(10000);
    put(c, 1, 5000);
    put(c, 2, 10000);
    assert_true(has(c, 1) && !has(c, 2));
    put(c, 3, 10000 - entry_bytes() - buf_cost(0) - 64 * sizeof(void *));
    assert_true(!has(c, 1) && has(c, 3));
    cache_destroy(c);
    for (size_t bytes = 0; bytes < 700; bytes++) {
        c = cache_create(bytes);
        put(c, 1, 8);
        struct cache_stats s;
        cache_stats(c, &s);
        assert_true(s.used_bytes <= bytes);
        get(c, 1);
        cache_destroy(c);
    }
    cache_destroy(NULL);
}

static void a_reference_outlives_the_entry(void **state)
{
    (void)state;
    struct cache *c = cache_create(3000);
    put(c, 1, 1000);
    struct sha256 hash = hash_of(1);
    struct buf *b = cache_get(c, &hash);
    put(c, 2, 1500);
    assert_false(has(c, 1));
    uint64_t v = 1;
    assert_memory_equal(b->data, &v, sizeof v);
    buf_unref(b);
    cache_destroy(c);
}

/* Against the plainest model there is: an array in order of use. */
static void random_use_agrees_with_a_model(void **state)
{
    (void)state;
    enum { KEYS = 600 };
    const size_t max = 200000;
    struct prng p;
    prng_seed(&p, 30);
    struct cache *c = cache_create(max);
    uint64_t order[KEYS];
    size_t sizes[KEYS], count = 0, entry = entry_bytes();
    for (size_t i = 0; i < KEYS; i++)
        sizes[i] = 8 + prng_below(&p, i % 50 ? 600 : 9000);
    for (int round = 0; round < 50000; round++) {
        uint64_t v = prng_below(&p, KEYS);
        bool is_put = prng_below(&p, 2);
        size_t at = 0;
        while (at < count && order[at] != v)
            at++;
        bool known = at < count;
        if (known) {
            memmove(order + at, order + at + 1, (count - at - 1) * sizeof *order);
            order[count - 1] = v;
        }
        if (is_put)
            put(c, v, sizes[v]);
        else
            assert_int_equal(get(c, v), known);
        if (is_put && !known)
            order[count++] = v;
        struct cache_stats s;
        cache_stats(c, &s);
        assert_true(s.used_bytes <= max);
        size_t gone = count - s.entries, used = 0;
        memmove(order, order + gone, s.entries * sizeof *order);
        count = s.entries;
        for (size_t i = 0; i < count; i++)
            used += entry + buf_cost(sizes[order[i]]);
        assert_true(used <= s.used_bytes && s.used_bytes - used <= 1024 * sizeof(void *));
        assert_true(gone == 0 || s.used_bytes + 9000 + 10000 > max);
        if (round % 100 == 0)
            for (size_t i = 0; i < count; i++)
                assert_true(has(c, order[i]));
    }
    cache_destroy(c);
}

RUN_TESTS(cmocka_unit_test(the_least_recently_used_goes_first),
          cmocka_unit_test(what_is_too_large_is_not_kept), cmocka_unit_test(a_reference_outlives_the_entry),
          cmocka_unit_test(random_use_agrees_with_a_model))
