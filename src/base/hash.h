/* hash.h - SHA-256 (FIPS 180-4), by GnuTLS. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

struct sha256 {
    uint8_t bytes[32];
};

#define SHA256_HEX 65 /* with its NUL */

struct sha256 sha256_of(const void *bytes, size_t n);
struct sha256 sha256_of_iov(const struct iovec *, size_t n);

/* In steps. finish gives the digest and frees the state. */
struct sha256_state {
    void *handle;
};
void sha256_init(struct sha256_state *);
void sha256_update(struct sha256_state *, const void *bytes, size_t n);
struct sha256 sha256_finish(struct sha256_state *);

struct sha256 hmac_sha256(const void *key, size_t key_bytes, const void *bytes, size_t n);

static inline bool sha256_equal(const struct sha256 *a, const struct sha256 *b)
{
    return memcmp(a->bytes, b->bytes, 32) == 0;
}

#endif
