/* sealed.h - gives what the fuzzer made up a right checksum and length, so that the checks behind them are
 * reached. */
#ifndef SEALED_H
#define SEALED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                         \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* A copy of exactly that size; docs/FORMAT.md: Envelope. */
static inline uint8_t *sealed_binary(const uint8_t *data, size_t n)
{
    uint8_t *copy = mem_alloc(n ? n : 1);
    if (n)
        memcpy(copy, data, n);
    if (n < 48)
        return copy;
    put_le32(copy + 8, (uint32_t)n);
    struct iovec parts[] = {{copy, 16}, {copy + 48, n - 48}};
    struct sha256 sum = sha256_of_iov(parts, 2);
    memcpy(copy + 16, sum.bytes, sizeof sum.bytes);
    return copy;
}

#define SEALED_LINE 78

/* The first line, and the data behind it; docs/FORMAT.md: Documents. */
static inline uint8_t *sealed_document(const uint8_t *data, size_t n)
{
    uint8_t *copy = mem_alloc(SEALED_LINE + n);
    char line[SEALED_LINE + 1], hex[SHA256_HEX];
    struct sha256 sum = sha256_of(data, n);
    hex_encode(sum.bytes, sizeof sum.bytes, hex);
    snprintf(line, sizeof line, "{\"sha256\":\"%s\",\n", hex);
    memcpy(copy, line, SEALED_LINE);
    if (n)
        memcpy(copy + SEALED_LINE, data, n);
    return copy;
}

#endif
