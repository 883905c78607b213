/* prng.h - xoshiro256** seeded by splitmix64: fast, reproducible, not for secrets. */
#ifndef BASE_PRNG_H
#define BASE_PRNG_H

#include <stddef.h>
#include <stdint.h>

struct prng {
    uint64_t s[4];
};

void prng_seed(struct prng *, uint64_t seed);
uint64_t prng_next(struct prng *);
uint64_t prng_below(struct prng *, uint64_t n); /* 0 .. n - 1; n > 0 */
void prng_fill(struct prng *, void *, size_t bytes);

#endif
