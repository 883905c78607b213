#include "base/hash.h"

#include <assert.h>
#include <gnutls/crypto.h>

struct sha256 sha256_of(const void *bytes, size_t n)
{
    struct sha256 h;
    int r = gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes, n, h.bytes);
    assert(r == 0);
    (void)r;
    return h;
}

struct sha256 sha256_of_iov(const struct iovec *iov, size_t n)
{
    struct sha256_state s;
    sha256_init(&s);
    for (size_t i = 0; i < n; i++)
        sha256_update(&s, iov[i].iov_base, iov[i].iov_len);
    return sha256_finish(&s);
}

void sha256_init(struct sha256_state *s)
{
    gnutls_hash_hd_t handle;
    int r = gnutls_hash_init(&handle, GNUTLS_DIG_SHA256);
    assert(r == 0);
    (void)r;
    s->handle = handle;
}

void sha256_update(struct sha256_state *s, const void *bytes, size_t n)
{
    int r = gnutls_hash(s->handle, bytes, n);
    assert(r == 0);
    (void)r;
}

struct sha256 sha256_finish(struct sha256_state *s)
{
    struct sha256 h;
    gnutls_hash_deinit(s->handle, h.bytes);
    s->handle = NULL;
    return h;
}

struct sha256 hmac_sha256(const void *key, size_t key_bytes, const void *bytes, size_t n)
{
    struct sha256 h;
    int r = gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, key_bytes, bytes, n, h.bytes);
    assert(r == 0);
    (void)r;
    return h;
}
