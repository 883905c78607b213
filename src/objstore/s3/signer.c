#include "objstore/s3/signer.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"

void signer_format_time(int64_t wall_ms, char out[SIGNER_TIME_MAX])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t n = strftime(out, SIGNER_TIME_MAX, "%Y%m%dT%H%M%SZ", &tm);
    assert(n == SIGNER_TIME_MAX - 1);
    (void)n;
}

static struct sha256 hmac_text(const struct sha256 *key, const char *s)
{
    return hmac_sha256(key->bytes, sizeof key->bytes, s, strlen(s));
}

struct sha256 signer_key(const char *secret, const char *time, const char *region, const char *service)
{
    struct text first = {0};
    text_addf(&first, "AWS4%s", secret);
    struct sha256 key = hmac_sha256(first.at, first.bytes, time, 8);
    text_finish(&first);
    key = hmac_text(&key, region);
    key = hmac_text(&key, service);
    return hmac_text(&key, "aws4_request");
}

static void add_trimmed(struct text *to, const char *s)
{
    s += strspn(s, " ");
    while (*s) {
        size_t word = strcspn(s, " ");
        text_add_bytes(to, s, word);
        s += word;
        s += strspn(s, " ");
        if (*s)
            text_add(to, " ");
    }
}

static void add_signed_names(struct text *to, const struct signer_request *r)
{
    for (size_t i = 0; i < r->header_count; i++)
        text_addf(to, "%s%s", i ? ";" : "", r->headers[i].name);
}

void signer_authorize(const struct signer_request *r, const char *access_key, const struct sha256 *key,
                      struct text *out)
{
    struct text canonical = {0}, to_sign = {0};
    char hex[SHA256_HEX];

    text_addf(&canonical, "%s\n%s\n%s\n", r->method, r->path, r->query);
    for (size_t i = 0; i < r->header_count; i++) {
        assert(i == 0 || strcmp(r->headers[i - 1].name, r->headers[i].name) < 0);
        text_addf(&canonical, "%s:", r->headers[i].name);
        add_trimmed(&canonical, r->headers[i].value);
        text_add(&canonical, "\n");
    }
    text_add(&canonical, "\n");
    add_signed_names(&canonical, r);
    text_addf(&canonical, "\n%s", r->payload_hash);

    struct sha256 digest = sha256_of(canonical.at, canonical.bytes);
    hex_encode(digest.bytes, sizeof digest.bytes, hex);
    text_addf(&to_sign, "AWS4-HMAC-SHA256\n%s\n%.8s/%s/%s/aws4_request\n%s", r->time, r->time, r->region,
              r->service, hex);
    struct sha256 signature = hmac_sha256(key->bytes, sizeof key->bytes, to_sign.at, to_sign.bytes);
    hex_encode(signature.bytes, sizeof signature.bytes, hex);

    text_addf(out, "AWS4-HMAC-SHA256 Credential=%s/%.8s/%s/%s/aws4_request,SignedHeaders=", access_key,
              r->time, r->region, r->service);
    add_signed_names(out, r);
    text_addf(out, ",Signature=%s", hex);
    text_finish(&canonical);
    text_finish(&to_sign);
}
