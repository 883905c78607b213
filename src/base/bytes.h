/* bytes.h - integers in byte strings (ashlar's own formats are little-endian, NBD is big-endian), hex, sizes.
 * */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 uint128;
#include <string.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

#define MIN(a, b)       ((a) < (b) ? (a) : (b))
#define MAX(a, b)       ((a) > (b) ? (a) : (b))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define BYTES_ACCESS(name, type, swap)                                                                       \
    static inline void put_##name(void *to, type v)                                                          \
    {                                                                                                        \
        v = swap(v);                                                                                         \
        memcpy(to, &v, sizeof v);                                                                            \
    }                                                                                                        \
    static inline type get_##name(const void *from)                                                          \
    {                                                                                                        \
        type v;                                                                                              \
        memcpy(&v, from, sizeof v);                                                                          \
        return swap(v);                                                                                      \
    }
#define BYTES_AS_IS(v) (v)
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bytes.h wants the swaps the other way round here");
BYTES_ACCESS(le16, uint16_t, BYTES_AS_IS)
BYTES_ACCESS(le32, uint32_t, BYTES_AS_IS)
BYTES_ACCESS(le64, uint64_t, BYTES_AS_IS)
BYTES_ACCESS(be16, uint16_t, __builtin_bswap16)
BYTES_ACCESS(be32, uint32_t, __builtin_bswap32)
BYTES_ACCESS(be64, uint64_t, __builtin_bswap64)

/* Writes 2 * n lower-case digits and a NUL. */
void hex_encode(const void *bytes, size_t n, char *out);
/* True when text is exactly 2 * n lower-case digits followed by NUL. */
bool hex_decode(const char *text, void *bytes, size_t n);

/* True when all n bytes are zero. */
bool bytes_are_zero(const void *, size_t n);

/* "10G", "1.5TiB", "128K", "4096" (units are powers of 1024). False on anything else, on a fraction of a
 * byte, and past 2^63 - 1. */
bool size_parse(const char *text, uint64_t *bytes);
/* "10 GiB", "1.5 TiB", "4096 B": what a person reads. */
#define SIZE_TEXT_MAX 24
const char *size_format(uint64_t bytes, char out[SIZE_TEXT_MAX]);
/* "5s", "250ms", "2m", "1h", "30" (seconds). False on anything else and past 10 years. */
bool duration_parse(const char *text, uint64_t *ns);

#endif
