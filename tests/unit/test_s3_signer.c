#include "objstore/s3/signer.h"

#include <string.h>

#include "base/bytes.h"
#include "objstore/s3/uri.h"
#include "unit.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static const char *signature_of(const struct signer_request *r, const char *access, const char *secret)
{
    static char hex[65];
    struct text t = {0};
    struct sha256 key = signer_key(secret, r->time, r->region, r->service);
    signer_authorize(r, access, &key, &t);
    const char *s = strstr(t.at, ",Signature=");
    assert_non_null(s);
    assert_int_equal(strlen(s + 11), 64);
    memcpy(hex, s + 11, 65);
    text_finish(&t);
    return hex;
}

/* The examples of "Authenticating Requests: Using the Authorization Header" in the S3 API reference. */
static const char *s3_example(const char *method, const char *path, const char *query,
                              const struct signer_header *headers, size_t n, const char *hash)
{
    struct signer_request r = {.method = method,
                               .path = path,
                               .query = query,
                               .headers = headers,
                               .header_count = n,
                               .payload_hash = hash,
                               .time = "20130524T000000Z",
                               .region = "us-east-1",
                               .service = "s3"};
    return signature_of(&r, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
}

static void s3_get_object(void **state)
{
    (void)state;
    const struct signer_header h[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                      {"range", "bytes=0-9"},
                                      {"x-amz-content-sha256", EMPTY},
                                      {"x-amz-date", "20130524T000000Z"}};
    assert_string_equal(s3_example("GET", "/test.txt", "", h, 4, EMPTY),
                        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void s3_put_object(void **state)
{
    (void)state;
    const char *body = "Welcome to Amazon S3.";
    char hash[SHA256_HEX];
    struct sha256 digest = sha256_of(body, strlen(body));
    hex_encode(digest.bytes, 32, hash);
    const struct signer_header h[] = {{"date", "Fri, 24 May 2013 00:00:00 GMT"},
                                      {"host", "examplebucket.s3.amazonaws.com"},
                                      {"x-amz-content-sha256", hash},
                                      {"x-amz-date", "20130524T000000Z"},
                                      {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
    struct text path = {0};
    uri_encode(&path, "/test$file.text", true);
    assert_string_equal(s3_example("PUT", path.at, "", h, 5, hash),
                        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
    text_finish(&path);
}

static const struct signer_header listing_headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                                       {"x-amz-content-sha256", EMPTY},
                                                       {"x-amz-date", "20130524T000000Z"}};

static void s3_get_lifecycle(void **state)
{
    (void)state;
    struct text query = {0};
    struct uri_pair pairs[] = {{"lifecycle", ""}};
    uri_add_query(&query, pairs, 1);
    assert_string_equal(s3_example("GET", "/", query.at, listing_headers, 3, EMPTY),
                        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
    text_finish(&query);
}

static void s3_list_objects(void **state)
{
    (void)state;
    struct text query = {0};
    struct uri_pair pairs[] = {{"prefix", "J"}, {"max-keys", "2"}};
    uri_add_query(&query, pairs, 2);
    assert_string_equal(query.at, "max-keys=2&prefix=J");
    assert_string_equal(s3_example("GET", "/", query.at, listing_headers, 3, EMPTY),
                        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
    text_finish(&query);
}

/* AWS's general test suite for Signature Version 4. */
static const char *suite(const char *method, const char *path, const char *query,
                         const struct signer_header *headers, size_t n, const char *body)
{
    char hash[SHA256_HEX];
    struct sha256 digest = sha256_of(body, strlen(body));
    hex_encode(digest.bytes, 32, hash);
    struct signer_request r = {.method = method,
                               .path = path,
                               .query = query,
                               .headers = headers,
                               .header_count = n,
                               .payload_hash = hash,
                               .time = "20150830T123600Z",
                               .region = "us-east-1",
                               .service = "service"};
    return signature_of(&r, "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
}

static const struct signer_header plain[] = {{"host", "example.amazonaws.com"},
                                             {"x-amz-date", "20150830T123600Z"}};

static void suite_get_vanilla(void **state)
{
    (void)state;
    assert_string_equal(suite("GET", "/", "", plain, 2, ""),
                        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
}

static void suite_get_vanilla_query_order(void **state)
{
    (void)state;
    struct text query = {0};
    struct uri_pair pairs[] = {{"Param2", "value2"}, {"Param1", "value1"}};
    uri_add_query(&query, pairs, 2);
    assert_string_equal(suite("GET", "/", query.at, plain, 2, ""),
                        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
    text_finish(&query);
}

static void suite_post_vanilla(void **state)
{
    (void)state;
    assert_string_equal(suite("POST", "/", "", plain, 2, ""),
                        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
}

static void suite_get_utf8(void **state)
{
    (void)state;
    struct text path = {0};
    uri_encode(&path, "/\xe1\x88\xb4", true);
    assert_string_equal(path.at, "/%E1%88%B4");
    assert_string_equal(suite("GET", path.at, "", plain, 2, ""),
                        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85");
    text_finish(&path);
}

static void suite_get_unreserved(void **state)
{
    (void)state;
    const char *all = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    struct text path = {0};
    uri_encode(&path, all, true);
    assert_string_equal(path.at, all);
    assert_string_equal(suite("GET", path.at, "", plain, 2, ""),
                        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
    text_finish(&path);
}

static void suite_get_header_value_trim(void **state)
{
    (void)state;
    const struct signer_header h[] = {{"host", "example.amazonaws.com"},
                                      {"my-header1", " value1"},
                                      {"my-header2", " \"a   b   c\""},
                                      {"x-amz-date", "20150830T123600Z"}};
    assert_string_equal(suite("GET", "/", "", h, 4, ""),
                        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
}

static void suite_post_form(void **state)
{
    (void)state;
    const struct signer_header h[] = {{"content-type", "application/x-www-form-urlencoded"},
                                      {"host", "example.amazonaws.com"},
                                      {"x-amz-date", "20150830T123600Z"}};
    assert_string_equal(suite("POST", "/", "", h, 3, "Param1=value1"),
                        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a");
}

/* The signing key example of the AWS General Reference. */
static void derives_the_signing_key(void **state)
{
    (void)state;
    char hex[SHA256_HEX];
    struct sha256 key =
        signer_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20150830T123600Z", "us-east-1", "iam");
    hex_encode(key.bytes, 32, hex);
    assert_string_equal(hex, "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
}

static void formats_times(void **state)
{
    (void)state;
    char t[SIGNER_TIME_MAX];
    signer_format_time(INT64_C(1369353600123), t);
    assert_string_equal(t, "20130524T000000Z");
    signer_format_time(INT64_C(1440938160999), t);
    assert_string_equal(t, "20150830T123600Z");
}

static void writes_the_whole_header(void **state)
{
    (void)state;
    struct signer_request r = {.method = "GET",
                               .path = "/",
                               .query = "",
                               .headers = plain,
                               .header_count = 2,
                               .payload_hash = EMPTY,
                               .time = "20150830T123600Z",
                               .region = "us-east-1",
                               .service = "service"};
    struct sha256 key = signer_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", r.time, r.region, r.service);
    struct text t = {0};
    signer_authorize(&r, "AKIDEXAMPLE", &key, &t);
    assert_string_equal(t.at,
                        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request,"
                        "SignedHeaders=host;x-amz-date,"
                        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
    text_finish(&t);
}

/* ------------------------------------------------------------------------------- uri.h */

static void encodes_and_decodes(void **state)
{
    (void)state;
    struct text t = {0};
    uri_encode(&t, "a/b c+d=e&\xc3\xa9%~", false);
    assert_string_equal(t.at, "a%2Fb%20c%2Bd%3De%26%C3%A9%25~");
    assert_true(uri_decode(t.at));
    assert_string_equal(t.at, "a/b c+d=e&\xc3\xa9%~");
    text_finish(&t);
    char plus[] = "a+b%2bc", cut[] = "a%2", odd[] = "%zz", nul[] = "a%00b", empty[] = "";
    assert_true(uri_decode(plus));
    assert_string_equal(plus, "a b+c");
    assert_false(uri_decode(cut));
    assert_false(uri_decode(odd));
    assert_false(uri_decode(nul));
    assert_true(uri_decode(empty));
}

static void parses_endpoints(void **state)
{
    (void)state;
    struct endpoint e;
    struct complaint c;
    struct text t = {0};
    assert_int_equal(endpoint_parse("http://localhost:9000", &e, &c), ERR_OK);
    assert_false(e.tls);
    assert_int_equal(e.port, 9000);
    assert_false(e.is_address);
    assert_int_equal(endpoint_parse("https://s3.example.org/", &e, &c), ERR_OK);
    assert_true(e.tls);
    assert_int_equal(e.port, 443);
    endpoint_add_host(&t, &e);
    assert_string_equal(t.at, "s3.example.org");
    text_clear(&t);
    assert_int_equal(endpoint_parse("http://[::1]:8000", &e, &c), ERR_OK);
    assert_true(e.is_address);
    endpoint_add_host(&t, &e);
    assert_string_equal(t.at, "[::1]:8000");
    text_finish(&t);
    assert_int_equal(endpoint_parse("http://10.0.0.1", &e, &c), ERR_OK);
    assert_true(e.is_address);
    static const char *const bad[] = {
        "ftp://x",        "localhost:9000",       "http://",      "http://h:",   "http://h:0",
        "http://h:65536", "http://h:99999999999", "http://[::1",  "http://[zz]", "http://h/path",
        "http://u@h",     "http://h?x",           "http://h:80x", "http://a b",  "http://[]"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        c.text[0] = '\0';
        if (endpoint_parse(bad[i], &e, &c) != ERR_INVALID)
            fail_msg("%s was taken", bad[i]);
        assert_true(c.text[0]);
    }
}

#define T(name) cmocka_unit_test(name)
RUN_TESTS(T(s3_get_object), T(s3_put_object), T(s3_get_lifecycle), T(s3_list_objects), T(suite_get_vanilla),
          T(suite_get_vanilla_query_order), T(suite_post_vanilla), T(suite_get_utf8), T(suite_get_unreserved),
          T(suite_get_header_value_trim), T(suite_post_form), T(derives_the_signing_key), T(formats_times),
          T(writes_the_whole_header), T(encodes_and_decodes), T(parses_endpoints))
