/* uri.h - percent-encoding as S3 signs it, sorted queries, and endpoints (RFC 3986; AWS SigV4, "canonical
 * request"). */
#ifndef OBJSTORE_S3_URI_H
#define OBJSTORE_S3_URI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "objstore/s3/text.h"

/* Everything but A-Z a-z 0-9 - . _ ~ becomes %XX; '/' stays where it separates the segments of a path. */
void uri_encode(struct text *, const char *, bool keep_slashes);
/* In place: %XX and, as form encoding has it, '+' for a space. False on a malformed escape or an encoded NUL.
 */
bool uri_decode(char *);

struct uri_pair {
    const char *name, *value; /* not encoded; a value is never NULL */
};
/* Adds name=value&... in the order of the encoded names: what is sent is what is signed. Sorts the pairs. */
void uri_add_query(struct text *, struct uri_pair *, size_t count);

struct endpoint {
    bool tls;
    char host[256]; /* a name, an IPv4 address, or an IPv6 address in its brackets */
    uint16_t port;
    bool is_address; /* a bucket's name cannot go before it */
};
/* http://HOST[:PORT] or https://HOST[:PORT], a '/' at the end allowed. INVALID with a complaint on anything
 * else. */
MUST_CHECK enum err endpoint_parse(const char *url, struct endpoint *, struct complaint *);
/* Adds HOST, and :PORT where it is not the scheme's own: the Host header's form. */
void endpoint_add_host(struct text *, const struct endpoint *);

#endif
