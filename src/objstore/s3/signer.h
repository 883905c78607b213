/* signer.h - AWS Signature Version 4 (AWS4-HMAC-SHA256), the Authorization header: a pure function of the
 * request. */
#ifndef OBJSTORE_S3_SIGNER_H
#define OBJSTORE_S3_SIGNER_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "objstore/s3/text.h"

struct signer_header {
    const char *name;  /* lower case */
    const char *value; /* as sent; runs of spaces count as one, those at the ends not at all */
};

#define SIGNER_TIME_MAX 17 /* 20130524T000000Z and a NUL: the x-amz-date header */

struct signer_request {
    const char *method;
    const char *path;                    /* encoded, as sent */
    const char *query;                   /* encoded and sorted, as sent (uri_add_query) */
    const struct signer_header *headers; /* sorted by name; all of them are signed */
    size_t header_count;
    const char *payload_hash; /* the x-amz-content-sha256 header */
    const char *time;
    const char *region, *service;
};

void signer_format_time(int64_t wall_ms, char out[SIGNER_TIME_MAX]);

/* Good for one day (the first 8 characters of time), region and service. */
struct sha256 signer_key(const char *secret, const char *time, const char *region, const char *service);

/* Adds the value of the Authorization header. */
void signer_authorize(const struct signer_request *, const char *access_key, const struct sha256 *key,
                      struct text *);

#endif
