#include "volume/format/envelope.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"

enum { AT_VERSION = 4, AT_LENGTH = 8, AT_CHECKSUM = 16 };

static struct sha256 checksum_of(const uint8_t *bytes, size_t n)
{
    struct sha256_state s;
    sha256_init(&s);
    sha256_update(&s, bytes, AT_CHECKSUM);
    sha256_update(&s, bytes + ENVELOPE_BYTES, n - ENVELOPE_BYTES);
    return sha256_finish(&s);
}

void envelope_close(uint8_t *bytes, size_t n, const char magic[4])
{
    assert(n >= ENVELOPE_BYTES && n <= UINT32_MAX);
    memcpy(bytes, magic, 4);
    put_le16(bytes + AT_VERSION, ENVELOPE_VERSION);
    put_le32(bytes + AT_LENGTH, (uint32_t)n);
    struct sha256 sum = checksum_of(bytes, n);
    memcpy(bytes + AT_CHECKSUM, sum.bytes, sizeof sum.bytes);
}

enum err envelope_check(const uint8_t *bytes, size_t n, const char magic[4])
{
    if (n < ENVELOPE_BYTES || memcmp(bytes, magic, 4) != 0 || get_le32(bytes + AT_LENGTH) != n)
        return ERR_CORRUPT;
    struct sha256 sum = checksum_of(bytes, n);
    if (memcmp(bytes + AT_CHECKSUM, sum.bytes, sizeof sum.bytes) != 0)
        return ERR_CORRUPT;
    return get_le16(bytes + AT_VERSION) == ENVELOPE_VERSION ? ERR_OK : ERR_UNSUPPORTED;
}
