#include "objstore/s3/verdict.h"

#include <stdlib.h>
#include <string.h>

/* AWS allows a quarter of an hour. An answer without a code (to HEAD) is taken for a matter of clocks from
 * here on. */
#define SKEW_SUSPICIOUS_MS (INT64_C(5) * 60 * 1000)
/* A clock that was never set says 1970; what differs by more is no clock. */
#define SKEW_MAX_MS (INT64_C(100) * 366 * 24 * 3600 * 1000)

static bool is_one_of(const char *code, const char *const *codes)
{
    for (; *codes; codes++) {
        if (strcmp(*codes, code) == 0)
            return true;
    }
    return false;
}

static enum verdict_kind of_code(const struct xml_error *e, int status)
{
    static const char *const denied[] = {"AccessDenied",
                                         "InvalidAccessKeyId",
                                         "SignatureDoesNotMatch",
                                         "ExpiredToken",
                                         "InvalidToken",
                                         "TokenRefreshRequired",
                                         "InvalidSecurity",
                                         "AccountProblem",
                                         "AllAccessDisabled",
                                         "NotSignedUp",
                                         "InvalidClientTokenId",
                                         "UserSuspended",
                                         NULL};
    static const char *const skewed[] = {"RequestTimeTooSkewed", "RequestExpired", NULL};
    static const char *const elsewhere[] = {"PermanentRedirect", "TemporaryRedirect",
                                            "Redirect",          "AuthorizationHeaderMalformed",
                                            "IncorrectEndpoint", NULL};
    static const char *const full[] = {"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull",
                                       "XMinioAdminBucketQuotaExceeded", NULL};
    static const char *const damaged[] = {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", NULL};
    static const char *const throttled[] = {"SlowDown", "TooManyRequests", "RequestLimitExceeded", NULL};
    static const char *const passing[] = {"RequestTimeout", "IncompleteBody", NULL};

    if (is_one_of(e->code, throttled) && strncmp(e->message, "Resource requested is un", 24) != 0)
        return S3_THROTTLED;
    if (is_one_of(e->code, full))
        return S3_FULL;
    if (status >= 500)
        return strcmp(e->code, "NotImplemented") == 0 ? S3_UNKNOWN_VERB : S3_TROUBLE;
    if (strcmp(e->code, "NoSuchBucket") == 0)
        return S3_NO_BUCKET;
    if (strcmp(e->code, "ConditionalRequestConflict") == 0 || strcmp(e->code, "OperationAborted") == 0)
        return S3_BUSY;
    if (is_one_of(e->code, skewed))
        return S3_SKEWED;
    if (is_one_of(e->code, elsewhere))
        return S3_ELSEWHERE;
    if (is_one_of(e->code, denied))
        return S3_DENIED;
    if (is_one_of(e->code, damaged))
        return S3_DAMAGED;
    if (is_one_of(e->code, passing))
        return S3_TROUBLE;
    return S3_REJECTED;
}

static enum verdict_kind of_status(int status, const struct verdict *v)
{
    if (status == 404)
        return S3_MISSING;
    if (status == 412 || status == 304)
        return S3_REFUSED;
    if (status == 416)
        return S3_PAST_END;
    if (status == 429)
        return S3_THROTTLED;
    if (status == 507)
        return S3_FULL;
    if (status == 405 || status == 501)
        return S3_UNKNOWN_VERB;
    if (status >= 500 || status == 408 || status == 409 || status < 300)
        return S3_TROUBLE;
    if (status < 400)
        return S3_ELSEWHERE;
    if (status == 401 || status == 403 || (status == 400 && v->is_bare))
        return llabs(v->skew_ms) > SKEW_SUSPICIOUS_MS ? S3_SKEWED : S3_DENIED;
    return S3_REJECTED;
}

static void of_answer(const struct http_call *c, int64_t sent_ms, struct verdict *v)
{
    const struct http_head *h = &c->head;
    if (h->status >= 200 && h->status < 300) {
        v->kind = S3_DONE;
        return;
    }
    v->is_bare = !xml_parse_error(text_of(&c->error), c->error.bytes, &v->error) || !v->error.code[0];
    int64_t server_ms = xml_parse_time(v->error.server_time);
    if (server_ms == 0)
        server_ms = h->date_ms;
    v->skew_ms = server_ms ? server_ms - sent_ms : 0;
    if (llabs(v->skew_ms) > SKEW_MAX_MS)
        v->skew_ms = 0;
    v->kind = v->is_bare ? S3_REJECTED : of_code(&v->error, h->status);
    if (v->kind == S3_REJECTED)
        v->kind = of_status(h->status, v);
    if (v->kind == S3_SKEWED && v->skew_ms == 0)
        v->kind = S3_DENIED;
}

void verdict_of(const struct http_call *c, int64_t sent_ms, struct verdict *v)
{
    memset(v, 0, sizeof *v);
    switch (c->failure) {
    case HTTP_ANSWERED:
        of_answer(c, sent_ms, v);
        break;
    case HTTP_NO_CONTACT:
        v->kind = S3_UNREACHABLE;
        break;
    case HTTP_BROKEN:
        v->kind = c->left ? S3_TROUBLE : S3_UNREACHABLE;
        break;
    case HTTP_TOO_LARGE:
        v->kind = S3_PAST_END;
        break;
    }
}

/* ------------------------------------------------------------------- for a person */

static const char *said(const struct verdict *v)
{
    return v->error.message[0] ? v->error.message : "no reason given";
}

static enum err complain_denied(const struct verdict *v, const struct verdict_place *p, struct complaint *c)
{
    const char *code = v->error.code;
    if (strcmp(code, "SignatureDoesNotMatch") == 0)
        return complain(c, ERR_DENIED,
                        "%s refuses key id %s (from %s): SignatureDoesNotMatch: check the secret key",
                        p->host, p->access_key, p->source);
    if (strcmp(code, "InvalidAccessKeyId") == 0)
        return complain(c, ERR_DENIED, "%s does not know key id %s (from %s): InvalidAccessKeyId", p->host,
                        p->access_key, p->source);
    if (strcmp(code, "AccessDenied") == 0)
        return complain(
            c, ERR_DENIED,
            "%s denies key id %s (from %s) access to bucket %s: AccessDenied: it needs to get, put, "
            "delete and list (S3 answers the same for a missing object to who may not list)",
            p->host, p->access_key, p->source, p->bucket);
    return complain(c, ERR_DENIED, "%s denies key id %s (from %s) access to bucket %s%s%s", p->host,
                    p->access_key, p->source, p->bucket, code[0] ? ": " : "", code);
}

static enum err complain_elsewhere(const struct verdict *v, const struct http_call *h,
                                   const struct verdict_place *p, struct complaint *c)
{
    const char *region = h->head.region[0] ? h->head.region : v->error.region;
    if (region[0] && strcmp(region, p->region) != 0)
        return complain(c, ERR_DENIED, "bucket %s at %s is in region %s, not %s: say region=%s", p->bucket,
                        p->host, region, p->region, region);
    if (h->head.location[0])
        return complain(c, ERR_DENIED, "bucket %s is not at %s, which points to %s: name that endpoint",
                        p->bucket, p->host, h->head.location);
    return complain(c, ERR_DENIED, "bucket %s is not at %s in region %s: %s: %s", p->bucket, p->host,
                    p->region, v->error.code, said(v));
}

static enum err complain_unanswered(const struct http_call *h, const struct verdict_place *p,
                                    struct complaint *c)
{
    if (h->is_tls_failure)
        return complain(c, ERR_UNAVAILABLE,
                        "no TLS with %s: %s (a certificate authority of one's own is named with ca=FILE)",
                        p->host, h->why);
    return complain(c, ERR_UNAVAILABLE, "cannot reach %s: %s", p->host, h->why);
}

static enum err complain_of(const struct verdict *v, const struct http_call *h, const struct verdict_place *p,
                            struct complaint *c)
{
    if (h->failure == HTTP_NO_CONTACT || h->failure == HTTP_BROKEN)
        return complain_unanswered(h, p, c);
    int status = h->head.status;
    const char *code = v->error.code;
    switch (v->kind) {
    case S3_DENIED:
        return complain_denied(v, p, c);
    case S3_NO_BUCKET:
        return complain(c, ERR_UNAVAILABLE, "bucket %s does not exist at %s: create it first", p->bucket,
                        p->host);
    case S3_ELSEWHERE:
        return complain_elsewhere(v, h, p, c);
    case S3_FULL:
        return complain(c, ERR_NOSPACE, "no space left in bucket %s at %s: %d %s", p->bucket, p->host, status,
                        code);
    case S3_THROTTLED:
        return complain(c, ERR_UNAVAILABLE, "%s asks for fewer requests: %d %s", p->host, status, code);
    case S3_SKEWED:
        return complain(c, ERR_UNAVAILABLE, "the clock of %s differs from this machine's by %lld s", p->host,
                        (long long)(v->skew_ms / 1000));
    case S3_UNKNOWN_VERB:
        return complain(c, ERR_UNSUPPORTED, "%s cannot do what is asked of it: %d %s: %s", p->host, status,
                        code, said(v));
    case S3_REJECTED:
        return complain(c, ERR_INVALID, "%s rejects the request: %d %s: %s", p->host, status, code, said(v));
    default:
        return complain(c, ERR_UNAVAILABLE, "%s answers %d %s: %s", p->host, status, code, said(v));
    }
}

/* Part of the sentence is the server's: nothing in it may steer a terminal. */
enum err verdict_complain(const struct verdict *v, const struct http_call *h, const struct verdict_place *p,
                          struct complaint *c)
{
    enum err e = complain_of(v, h, p, c);
    for (char *s = c->text; *s; s++) {
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            *s = ' ';
    }
    return e;
}
