/* verdict.h - what an answer, or the lack of one, means: a pure function.
 *
 * For a conditional PUT the one question is whether it may have been applied. Certainly not: it never left,
 * it was refused by name before it was read (throttling, credentials, clock, region, bucket, checksum), or
 * another conditional request was under way (409 ConditionalRequestConflict, OperationAborted: AWS asks for
 * it to be sent again). A 412 is the answer asked for, and any other 4xx was refused for what it says.
 * Everything else, every other 5xx included, may have been applied: Ceph RGW gives the loser of a race 500
 * UnknownError, and MinIO says SlowDown when it wrote to too few of its disks.
 */
#ifndef OBJSTORE_S3_VERDICT_H
#define OBJSTORE_S3_VERDICT_H

#include <stdbool.h>

#include "base/err.h"
#include "objstore/s3/http.h"
#include "objstore/s3/xml.h"

enum verdict_kind {
    S3_DONE,        /* 2xx */
    S3_MISSING,     /* 404 of a key */
    S3_REFUSED,     /* 412: the condition did not hold */
    S3_BUSY,        /* 409: a conflicting request is under way; not applied */
    S3_THROTTLED,   /* refused unread; not applied */
    S3_UNREACHABLE, /* never left; not applied */
    S3_TROUBLE,     /* 5xx, broken connections, answers that make no sense: may have been applied, may pass */
    S3_SKEWED,      /* the server's clock differs by skew_ms; not applied */
    S3_DENIED,      /* credentials or policy; not applied */
    S3_NO_BUCKET,   /* not applied */
    S3_ELSEWHERE,   /* the bucket is in another region or at another endpoint; not applied */
    S3_FULL,        /* no space or quota left: may have been applied */
    S3_PAST_END,    /* 416, or content larger than the limit */
    S3_DAMAGED,     /* the server got other bytes than were signed; not applied */
    S3_UNKNOWN_VERB, /* 405, 501: the server cannot do this; not applied */
    S3_REJECTED,     /* any other 4xx; not applied */
};

struct verdict {
    enum verdict_kind kind;
    int64_t skew_ms;
    struct xml_error error;
    bool is_bare; /* a 4xx without a code: an answer to HEAD */
};

/* sent_ms: the time the request was signed with; skew_ms is what to add to it. */
void verdict_of(const struct http_call *, int64_t sent_ms, struct verdict *);

static inline bool verdict_is_certainly_not_applied(enum verdict_kind k)
{
    return k != S3_DONE && k != S3_TROUBLE && k != S3_PAST_END && k != S3_FULL;
}

/* Waiting alone will not mend it. */
static inline bool verdict_needs_a_person(enum verdict_kind k)
{
    return k == S3_DENIED || k == S3_NO_BUCKET || k == S3_ELSEWHERE || k == S3_UNKNOWN_VERB ||
           k == S3_REJECTED;
}

struct verdict_place { /* for the sentence */
    const char *bucket, *host, *region, *access_key, *source;
};
/* DENIED, UNAVAILABLE, NOSPACE, UNSUPPORTED or INVALID, with a sentence for a person. */
enum err verdict_complain(const struct verdict *, const struct http_call *, const struct verdict_place *,
                          struct complaint *);

#endif
