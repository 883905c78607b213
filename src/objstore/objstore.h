/* objstore.h - SEAM 2: objects in a bucket, and nothing that only one kind of bucket can do.
 *
 * Behind it: mem (RAM), dir (a directory), s3, and the simulator's bucket. One request struct for every verb,
 * so that a store can be wrapped by another (counting, delaying, failing).
 *
 * Guarantees
 *   1. A store is linearizable for each key: a GET, HEAD or LIST begun after a PUT was answered OK sees
 *      that PUT or a later one.
 *   2. PUT is atomic: a reader sees the whole object or none of it. OK means durable.
 *   3. GET, HEAD, LIST, DELETE and PUT with OBJSTORE_ANY may be sent more than once below this interface,
 *      and what may pass (5xx, throttling, broken connections, time-outs, expired credentials) is retried
 *      there until it succeeds, is canceled, or the request's patience is over (UNAVAILABLE or DENIED).
 *      They are never answered UNKNOWN.
 *   4. A conditional PUT is sent once per call and answered
 *        OK        applied by this request
 *        CONFLICT  refused: the condition did not hold, nothing was applied by this request
 *        UNKNOWN   it may have been applied, or may be applied later: read back and compare
 *        NOSPACE, DENIED, UNAVAILABLE
 *                  certainly not applied (UNAVAILABLE: it never left, or was refused unread, for instance
 *                  by throttling)
 *      OBJSTORE_MATCH on a key that does not exist, or with an empty ETag, is CONFLICT.
 *   5. done is called exactly once for each submit, from the loop, never from inside objstore_submit. When
 *      it is called the store has let go of the request, its key and its body.
 */
#ifndef OBJSTORE_OBJSTORE_H
#define OBJSTORE_OBJSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"
#include "loop/loop.h"

/* Keys are relative to the store's prefix: UTF-8 without control characters, no empty, "." or ".." segments,
 * and no key is another one's folder. */
#define OBJSTORE_KEY_MAX    768 /* with its NUL; S3 allows 1,024 bytes, and a prefix goes before it */
#define OBJSTORE_ETAG_MAX   128
#define OBJSTORE_DELETE_MAX 1000
#define OBJSTORE_LIST_MAX   1000

enum objstore_verb { OBJSTORE_GET, OBJSTORE_PUT, OBJSTORE_HEAD, OBJSTORE_DELETE, OBJSTORE_LIST };

enum objstore_condition {
    OBJSTORE_ANY,    /* replace whatever is there */
    OBJSTORE_CREATE, /* only if the key does not exist (If-None-Match: *) */
    OBJSTORE_MATCH,  /* only if the key's ETag is req->etag (If-Match) */
};

/* Reads that somebody waits for go before write-back. */
enum objstore_priority { OBJSTORE_DEMAND, OBJSTORE_BACKGROUND };

struct objstore_entry {
    char *key; /* relative to the store's prefix; ends in '/' when it stands for a common prefix */
    uint64_t bytes;
    int64_t modified_ms; /* by the store's clock */
};

struct objstore_req {
    /* ------------------------------------------------ what is asked; the caller's, unchanged until done */
    enum objstore_verb verb;
    enum objstore_priority priority;
    const char *key;      /* LIST: the prefix of the keys wanted, "" for all */
    uint64_t patience_ns; /* give up on what may pass after this long; 0: never */
    void (*done)(struct objstore_req *);

    /* GET: `length` bytes from `offset`, or, with length 0, the whole object of at most `limit` bytes. An
     * object that is larger than limit, ends before the range does, or is on a disk that again and again
     * cannot read it, is CORRUPT. */
    uint64_t offset;
    size_t length, limit;

    /* PUT: the body in pieces. sha256, when given, is that of the whole body and saves hashing it. */
    const struct iovec *body;
    size_t body_count;
    const struct sha256 *sha256;
    enum objstore_condition condition;

    /* DELETE: 1 to OBJSTORE_DELETE_MAX keys. A key that does not exist is deleted. */
    const char *const *keys;
    size_t key_count;

    /* LIST: keys greater than `after` ("" or NULL: from the start), at most `list_limit` entries (1 to
     * OBJSTORE_LIST_MAX). With `delimited`, keys that have a '/' behind the prefix are folded into one entry
     * a common prefix, which ends in that '/', counts as a key of its own, and may be given as `after`. A
     * server whose pages lead back to each other, again and again, makes it CORRUPT. */
    const char *after;
    size_t list_limit;
    bool delimited;

    /* ------------------------------------------------------------------------------- what is answered */
    enum err err;
    struct complaint complaint; /* for a person; set when err is DENIED, UNAVAILABLE, NOSPACE or INVALID */
    struct buf *content; /* GET, OK: the bytes; the caller owns the reference. content->bytes is the length */
    /* PUT, HEAD, GET of a whole object: of the version read or written; a GET of a part may leave it empty.
     * MATCH takes it as input. Opaque; compare with strcmp only. */
    char etag[OBJSTORE_ETAG_MAX];
    uint64_t object_bytes; /* GET, HEAD: the whole object's size */
    int64_t modified_ms;   /* GET, HEAD: Last-Modified, by the store's clock */
    int64_t date_ms; /* the store's clock when it answered; 0 when it did not say (it does on HEAD and on GET
                      * of a whole object) */
    struct objstore_entry
        *entries; /* LIST, OK: in the order of their bytes; free with objstore_entries_free */
    size_t entry_count;
    bool truncated; /* LIST: there are more, after the last entry (a common prefix included) */

    /* --------------------------------------------------------------------------------- the store's own */
    struct objstore *store;
    struct task task;
    void *impl;
};

struct objstore_counters {
    uint64_t requests[5]; /* by verb, every attempt that went out */
    uint64_t retries, throttled, bytes_in, bytes_out;
};

struct objstore {
    const struct objstore_ops *ops;
    struct loop *loop;
    struct objstore_counters counters;
};

struct objstore_ops {
    void (*submit)(struct objstore *, struct objstore_req *);
    void (*cancel)(struct objstore *, struct objstore_req *);
    void (*destroy)(struct objstore *);
    /* A person's name for it: "s3://bucket/prefix", "file:/path". */
    const char *(*name)(const struct objstore *);
};

void objstore_submit(struct objstore *, struct objstore_req *);
/* Asks for an early end: done follows soon, with CANCELED or with what had happened by then. A conditional
 * PUT that was sent is then UNKNOWN. Harmless when done was called already. */
void objstore_cancel(struct objstore_req *);
const char *objstore_name(const struct objstore *);
/* No request may be under way. */
void objstore_destroy(struct objstore *);

/* For stores: the request is answered (err and results are set); lets go of it and calls done from the loop.
 */
void objstore_answer(struct objstore_req *);

void objstore_entries_free(struct objstore_entry *, size_t count);

#endif
