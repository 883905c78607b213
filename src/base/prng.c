#include "base/prng.h"

#include "base/bytes.h"

#include <assert.h>
#include <string.h>

void prng_seed(struct prng *p, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        p->s[i] = z ^ (z >> 31);
    }
}

static uint64_t rotl(uint64_t v, int k)
{
    return v << k | v >> (64 - k);
}

uint64_t prng_next(struct prng *p)
{
    uint64_t *s = p->s;
    uint64_t result = rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t prng_below(struct prng *p, uint64_t n)
{
    assert(n > 0);
    return (uint64_t)(((uint128)prng_next(p) * n) >> 64);
}

void prng_fill(struct prng *p, void *to, size_t bytes)
{
    unsigned char *out = to;
    while (bytes) {
        uint64_t v = prng_next(p);
        size_t n = bytes < sizeof v ? bytes : sizeof v;
        memcpy(out, &v, n);
        out += n;
        bytes -= n;
    }
}
