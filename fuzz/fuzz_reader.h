/* fuzz_reader.h - reads what the server sent, as a strict client: ends the process at the first byte out of
 * place. */
#ifndef FUZZ_READER_H
#define FUZZ_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "nbd/proto.h"

struct reader {
    const uint8_t *at, *end;
};

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition);                         \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->at);
}

static inline const uint8_t *reader_take(struct reader *r, size_t n)
{
    EXPECT(reader_left(r) >= n);
    r->at += n;
    return r->at - n;
}

static inline uint32_t reader_take32(struct reader *r)
{
    return get_be32(reader_take(r, 4));
}

static inline uint64_t reader_take64(struct reader *r)
{
    return get_be64(reader_take(r, 8));
}

static inline uint16_t reader_take16(struct reader *r)
{
    return get_be16(reader_take(r, 2));
}

static inline void read_greeting(struct reader *r)
{
    EXPECT(reader_take64(r) == NBD_MAGIC);
    EXPECT(reader_take64(r) == NBD_IHAVEOPT);
    EXPECT(reader_take16(r) == 3);
}

/* One reply to an option. True when it is the last one to it. */
static inline bool read_option_reply(struct reader *r, uint32_t option, uint32_t *rep)
{
    EXPECT(reader_take64(r) == NBD_REP_MAGIC);
    EXPECT(reader_take32(r) == option);
    *rep = reader_take32(r);
    uint32_t bytes = reader_take32(r);
    EXPECT(bytes <= 2 * NBD_STRING_MAX + 4);
    reader_take(r, bytes);
    if (*rep == NBD_REP_ACK)
        EXPECT(bytes == 0);
    EXPECT(*rep >= NBD_REP_ERR(0) || *rep <= NBD_REP_META_CONTEXT);
    return *rep == NBD_REP_ACK || *rep >= NBD_REP_ERR(0);
}

#endif
