/* objstore_kit.h - requests to a store, one call each, for tests: submitted, and the loop run until all are
 * answered. */
#ifndef OBJSTORE_KIT_H
#define OBJSTORE_KIT_H

#include "objstore_conformance.h"

/* Fails the rule, which is a void function with a `struct conformance *c`. */
#define CHECK(condition, ...)                                                                                \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            kit_fail(c, __FILE__, __LINE__, __VA_ARGS__);                                                    \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)
#define CHECK_FAILED()                                                                                       \
    do {                                                                                                     \
        if (c->failure[0])                                                                                   \
            return;                                                                                          \
    } while (0)

PRINTF(4, 5) void kit_fail(struct conformance *, const char *file, int line, const char *fmt, ...);

/* Submits; kit_wait runs the loop until everything submitted was answered. */
void kit_submit(struct conformance *, struct objstore_req *);
void kit_wait(struct conformance *);

/* A key below the suite's prefix; good until 64 more were asked for. */
const char *kit_key(struct conformance *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

struct kit_put {
    struct objstore_req req;
    struct iovec body;
};
/* Prepares; etag is for OBJSTORE_MATCH. */
void kit_put_init(struct kit_put *, const char *key, const void *, size_t, enum objstore_condition,
                  const char *etag);

/* In one call. etag, when given, is the expected one on the way in (MATCH) and the new one on the way out. */
enum err kit_put(struct conformance *, const char *key, const void *, size_t, enum objstore_condition,
                 char *etag);
enum err kit_get(struct conformance *, const char *key, size_t limit, struct buf **content, char *etag);
enum err kit_range(struct conformance *, const char *key, uint64_t offset, size_t length,
                   struct buf **content);
enum err kit_delete(struct conformance *, const char *const *keys, size_t count);
enum err kit_delete_one(struct conformance *, const char *key);
/* The entries stay in req until objstore_entries_free. */
enum err kit_list(struct conformance *, struct objstore_req *, const char *prefix, const char *after,
                  size_t limit, bool delimited);
/* True when the key holds exactly those bytes. */
bool kit_holds(struct conformance *, const char *key, const void *, size_t);
/* Bytes that differ from place to place and from seed to seed. */
void kit_pattern(uint8_t *, size_t, uint64_t seed);

#endif
