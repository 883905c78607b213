#include "objstore/s3/xml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objstore/s3/http_head.h"
#include "objstore/s3/pace.h"
#include "objstore/s3/verdict.h"
#include "unit.h"

/* ------------------------------------------------------------------------------- lists */

#define LIST_HEAD                                                                                            \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "                                         \
    "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"

static bool parse(const char *s, size_t max, struct xml_list *l)
{
    return xml_parse_list(s, strlen(s), max, l);
}

static void parses_a_list(void **state)
{
    (void)state;
    struct xml_list l;
    assert_true(parse(LIST_HEAD
                      "<Name>b</Name><Prefix>a%2F</Prefix><Contents><Key>a%2Fx+y%26z</Key>"
                      "<LastModified>2009-10-12T17:50:30.120Z</LastModified><ETag>&quot;fba9&quot;</ETag>"
                      "<Size>434234</Size><Owner><ID>i</ID></Owner></Contents>"
                      "<CommonPrefixes><Prefix>a%2Fsub%2F</Prefix></CommonPrefixes>"
                      "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>"
                      "<EncodingType>url</EncodingType></ListBucketResult>",
                      10, &l));
    assert_int_equal(l.count, 2);
    assert_string_equal(l.entries[0].key, "a/x y&z");
    assert_int_equal(l.entries[0].bytes, 434234);
    assert_int_equal(l.entries[0].modified_ms, INT64_C(1255369830120));
    assert_false(l.entries[0].is_prefix);
    assert_string_equal(l.entries[1].key, "a/sub/");
    assert_true(l.entries[1].is_prefix);
    assert_true(l.truncated);
    assert_string_equal(l.token, "t&1");
    xml_list_finish(&l);
}

static void keys_are_decoded_only_when_encoded(void **state)
{
    (void)state;
    struct xml_list l;
    assert_true(parse("<ListBucketResult><Contents><Key>a%2Fb+c</Key></Contents></ListBucketResult>", 1, &l));
    assert_string_equal(l.entries[0].key, "a%2Fb+c");
    assert_false(l.truncated);
    xml_list_finish(&l);
    assert_true(parse("<ListBucketResult/>", 1, &l));
    assert_int_equal(l.count, 0);
    xml_list_finish(&l);
}

static void hostile_lists_are_refused(void **state)
{
    (void)state;
    struct xml_list l;
    static const char *const bad[] = {
        "",
        "x",
        "<Other/>",
        "<ListBucketResult>",
        "<ListBucketResult></Contents></ListBucketResult>",
        "<!DOCTYPE x [<!ENTITY a "
        "\"b\">]><ListBucketResult><Contents><Key>&a;</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>-1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Size>99999999999999999999</Size></Contents></"
        "ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key><Key>b</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key></Key></Contents></ListBucketResult>",
        "<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>%0</Key></Contents></"
        "ListBucketResult>",
        "<ListBucketResult><Contents><Key>a</Key></Contents><Contents><Key>b</Key></Contents></"
        "ListBucketResult>",
        "<ListBucketResult><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a><a></a></a></a></a></a></a></a></"
        "a></a>"
        "</a></a></a></a></a></a></a></a></ListBucketResult>",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (parse(bad[i], 1, &l))
            fail_msg("%s was taken", bad[i]);
    }
    struct text t = {0};
    text_add(&t, "<ListBucketResult><Contents><Key>");
    for (size_t i = 0; i <= XML_TEXT_MAX; i++)
        text_add(&t, "k");
    text_add(&t, "</Key></Contents></ListBucketResult>");
    assert_false(parse(t.at, 1, &l));
    text_finish(&t);
}

/* --------------------------------------------------------------------------- deletions */

static void writes_a_deletion(void **state)
{
    (void)state;
    struct text t = {0};
    const char *const keys[] = {"a&b", "<c>\"'"};
    xml_add_deletion(&t, "p/", keys, 2);
    assert_non_null(strstr(t.at, "<Quiet>true</Quiet><Object><Key>p/a&#38;b</Key></Object>"
                                 "<Object><Key>p/&#60;c&#62;&#34;&#39;</Key></Object></Delete>"));
    text_finish(&t);
}

static void note(void *ctx, const char *key, const char *code)
{
    struct text *t = ctx;
    text_addf(t, "[%s %s]", key, code);
}

static void parses_what_was_not_deleted(void **state)
{
    (void)state;
    struct text t = {0};
    const char *s =
        "<DeleteResult><Deleted><Key>x</Key></Deleted><Error><Key>a</Key><Code>AccessDenied</Code>"
        "<Message>no</Message></Error><Error><Code>InternalError</Code><Key>b</Key></Error></DeleteResult>";
    assert_true(xml_parse_deleted(s, strlen(s), note, &t));
    assert_string_equal(t.at, "[a AccessDenied][b InternalError]");
    text_finish(&t);
    assert_false(xml_parse_deleted("<Error/>", 8, note, &t));
    text_finish(&t);
}

/* -------------------------------------------------------------------------- answers' heads */

static void head(struct http_head *h, const char *line)
{
    http_head_line(h, line, strlen(line));
}

static void reads_heads(void **state)
{
    (void)state;
    struct http_head h = {0};
    head(&h, "HTTP/1.1 100 Continue\r\n");
    assert_int_equal(h.status, 100);
    head(&h, "HTTP/1.1 206 Partial Content\r\n");
    head(&h, "content-length: 10\r\n");
    head(&h, "Content-Range: bytes 5-14/20\r\n");
    head(&h, "ETag: \"abc\"\r\n");
    head(&h, "Last-Modified: Mon, 12 Oct 2009 17:50:30 GMT\r\n");
    head(&h, "Date: Mon, 12 Oct 2009 17:50:31 GMT\r\n");
    assert_int_equal(h.status, 206);
    assert_true(h.has_length && h.has_range);
    assert_int_equal(h.content_length, 10);
    assert_int_equal(h.range_first, 5);
    assert_int_equal(h.range_last, 14);
    assert_int_equal(h.range_whole, 20);
    assert_string_equal(h.etag, "\"abc\"");
    assert_int_equal(h.modified_ms, INT64_C(1255369830000));
    assert_int_equal(h.date_ms, INT64_C(1255369831000));

    static const char *const odd[] = {"Content-Length: -1", "Content-Length: 1x",
                                      "Content-Length: 99999999999999999999", "Content-Length:"};
    for (size_t i = 0; i < 4; i++) {
        head(&h, odd[i]);
        assert_false(h.has_length);
    }
    head(&h, "Content-Range: bytes */20");
    assert_false(h.has_range);
    char long_line[4096];
    memset(long_line, 'a', sizeof long_line);
    memcpy(long_line, "ETag: ", 6);
    http_head_line(&h, long_line, sizeof long_line);
    assert_string_equal(h.etag, "\"abc\"");
}

/* ------------------------------------------------------------------------------ verdicts */

static enum verdict_kind judge(int status, const char *xml, struct verdict *v)
{
    static struct http_call c;
    memset(&c, 0, sizeof c);
    c.failure = HTTP_ANSWERED;
    c.head.status = status;
    c.head.date_ms = INT64_C(2000000000);
    text_add(&c.error, xml);
    verdict_of(&c, INT64_C(1000000000), v);
    text_finish(&c.error);
    return v->kind;
}

#define CODE(code) "<?xml version=\"1.0\"?><Error><Code>" code "</Code><Message>m</Message></Error>"

static void judges_answers(void **state)
{
    (void)state;
    struct verdict v;
    assert_int_equal(judge(200, "", &v), S3_DONE);
    assert_int_equal(judge(204, "", &v), S3_DONE);
    assert_int_equal(judge(404, CODE("NoSuchKey"), &v), S3_MISSING);
    assert_int_equal(judge(404, "", &v), S3_MISSING);
    assert_int_equal(judge(404, CODE("NoSuchBucket"), &v), S3_NO_BUCKET);
    assert_int_equal(judge(412, CODE("PreconditionFailed"), &v), S3_REFUSED);
    assert_int_equal(judge(409, CODE("ConditionalRequestConflict"), &v), S3_BUSY);
    assert_int_equal(judge(409, CODE("Other"), &v), S3_TROUBLE);
    assert_int_equal(judge(503, CODE("SlowDown"), &v), S3_THROTTLED);
    assert_int_equal(judge(503, CODE("ServiceUnavailable"), &v), S3_TROUBLE);
    assert_int_equal(judge(503, "<html>", &v), S3_TROUBLE);
    assert_int_equal(judge(429, "", &v), S3_THROTTLED);
    assert_int_equal(judge(500, CODE("UnknownError"), &v), S3_TROUBLE);
    assert_int_equal(judge(501, CODE("NotImplemented"), &v), S3_UNKNOWN_VERB);
    assert_int_equal(judge(400, CODE("ExpiredToken"), &v), S3_DENIED);
    assert_int_equal(judge(403, CODE("SignatureDoesNotMatch"), &v), S3_DENIED);
    assert_int_equal(judge(400, CODE("AuthorizationHeaderMalformed"), &v), S3_ELSEWHERE);
    assert_int_equal(judge(301, CODE("PermanentRedirect"), &v), S3_ELSEWHERE);
    assert_int_equal(judge(307, "", &v), S3_ELSEWHERE);
    assert_int_equal(judge(403, CODE("QuotaExceeded"), &v), S3_FULL);
    assert_int_equal(judge(507, "", &v), S3_FULL);
    assert_int_equal(judge(400, CODE("XAmzContentSHA256Mismatch"), &v), S3_DAMAGED);
    assert_int_equal(judge(400, CODE("InvalidArgument"), &v), S3_REJECTED);
    assert_int_equal(judge(416, CODE("InvalidRange"), &v), S3_PAST_END);
    assert_int_equal(judge(302, "", &v), S3_ELSEWHERE);
}

static void minio_s_slow_down_may_be_applied(void **state)
{
    (void)state;
    struct verdict v;
    assert_int_equal(
        judge(503,
              "<Error><Code>SlowDown</Code><Message>Resource requested is unwritable, please reduce "
              "your request rate</Message></Error>",
              &v),
        S3_TROUBLE);
    assert_false(verdict_is_certainly_not_applied(v.kind));
}

static void reads_the_clock(void **state)
{
    (void)state;
    struct verdict v;
    assert_int_equal(judge(403, CODE("RequestTimeTooSkewed"), &v), S3_SKEWED);
    assert_int_equal(v.skew_ms, 1000000000);
    assert_int_equal(judge(403,
                           "<Error><Code>RequestTimeTooSkewed</Code>"
                           "<ServerTime>1970-01-12T13:46:41Z</ServerTime></Error>",
                           &v),
                     S3_SKEWED);
    assert_int_equal(v.skew_ms, 1000);
    assert_int_equal(judge(403, "", &v), S3_SKEWED); /* HEAD has no code; the Date says it */
    assert_int_equal(judge(403, CODE("AccessDenied"), &v), S3_DENIED);
}

static void judges_silence(void **state)
{
    (void)state;
    struct verdict v;
    struct http_call c = {.failure = HTTP_NO_CONTACT};
    verdict_of(&c, 0, &v);
    assert_int_equal(v.kind, S3_UNREACHABLE);
    c.failure = HTTP_BROKEN;
    verdict_of(&c, 0, &v);
    assert_int_equal(v.kind, S3_UNREACHABLE);
    c.left = true;
    verdict_of(&c, 0, &v);
    assert_int_equal(v.kind, S3_TROUBLE);
    assert_false(verdict_is_certainly_not_applied(v.kind));
}

static void complains(void **state)
{
    (void)state;
    struct verdict v = {.kind = S3_NO_BUCKET};
    struct http_call c = {.failure = HTTP_ANSWERED};
    struct complaint said;
    const struct verdict_place p = {.bucket = "disks",
                                    .host = "store:9000",
                                    .region = "us-east-1",
                                    .access_key = "KEYID",
                                    .source = "the environment"};
    assert_int_equal(verdict_complain(&v, &c, &p, &said), ERR_UNAVAILABLE);
    assert_string_equal(said.text, "bucket disks does not exist at store:9000: create it first");
    v.kind = S3_DENIED;
    strcpy(v.error.code, "SignatureDoesNotMatch");
    assert_int_equal(verdict_complain(&v, &c, &p, &said), ERR_DENIED);
    assert_non_null(strstr(said.text, "KEYID (from the environment)"));
    v.kind = S3_ELSEWHERE;
    strcpy(v.error.region, "eu-west-1");
    assert_int_equal(verdict_complain(&v, &c, &p, &said), ERR_DENIED);
    assert_non_null(strstr(said.text, "region=eu-west-1"));
    v.kind = S3_TROUBLE;
    strcpy(v.error.message, "\x1b[2Jboo");
    assert_int_equal(verdict_complain(&v, &c, &p, &said), ERR_UNAVAILABLE);
    assert_null(strchr(said.text, 0x1b));
    c.failure = HTTP_NO_CONTACT;
    strcpy(c.why, "Connection refused");
    assert_int_equal(verdict_complain(&v, &c, &p, &said), ERR_UNAVAILABLE);
    assert_string_equal(said.text, "cannot reach store:9000: Connection refused");
}

/* ---------------------------------------------------------------------------------- pace */

static void slow_is_judged_by_the_slowest_percent(void **state)
{
    (void)state;
    static struct pace p;
    pace_init(&p);
    assert_int_equal(pace_slow_ns(&p, PACE_GET, 4096), PACE_UNKNOWN_NS);
    for (int i = 0; i < 200; i++)
        pace_note(&p, PACE_GET, 4096, (i % 50 == 0 ? 200 : 5) * NS_PER_MS);
    assert_int_equal(pace_slow_ns(&p, PACE_GET, 4096), 800 * NS_PER_MS);
    assert_int_equal(pace_slow_ns(&p, PACE_PUT, 4096), PACE_UNKNOWN_NS);
    for (int i = 0; i < 200; i++)
        pace_note(&p, PACE_GET, 4096, NS_PER_MS);
    assert_int_equal(pace_slow_ns(&p, PACE_GET, 4096), PACE_FLOOR_NS);
}

static void second_sendings_are_one_in_twenty(void **state)
{
    (void)state;
    static struct pace p;
    unsigned taken = 0;
    pace_init(&p);
    for (unsigned i = 0; i < 4000; i++) {
        pace_note(&p, PACE_GET, 1, NS_PER_MS);
        taken += pace_take_second(&p);
    }
    assert_in_range(taken, 195, 200 + PACE_BURST);
}

static void width_follows_throttling(void **state)
{
    (void)state;
    static struct pace p;
    pace_init(&p);
    pace_throttled(&p, NS_PER_S);
    pace_throttled(&p, NS_PER_S + 1);
    assert_int_equal(p.width, 32);
    for (uint64_t i = 2; i < 20; i++)
        pace_throttled(&p, i * NS_PER_S);
    assert_int_equal(p.width, PACE_WIDTH_MIN);
    for (unsigned i = 0; i < 10000; i++)
        pace_answered(&p);
    assert_int_equal(p.width, PACE_WIDTH_MAX);
}

#define T(name) cmocka_unit_test(name)
RUN_TESTS(T(parses_a_list), T(keys_are_decoded_only_when_encoded), T(hostile_lists_are_refused),
          T(writes_a_deletion), T(parses_what_was_not_deleted), T(reads_heads), T(judges_answers),
          T(minio_s_slow_down_may_be_applied), T(reads_the_clock), T(judges_silence), T(complains),
          T(slow_is_judged_by_the_slowest_percent), T(second_sendings_are_one_in_twenty),
          T(width_follows_throttling))
