#include "objstore/store_url.h"

#include <stdio.h>
#include <string.h>

#include "loop/uv_loop.h"
#include "scratch.h"
#include "unit.h"

static void good(const char *url, struct store_url *u)
{
    struct complaint why = {""};
    if (store_url_parse(url, u, &why))
        fail_msg("%s: %s", url, why.text);
}

static void what_good_urls_say(void **state)
{
    (void)state;
    struct store_url u;
    good("mem:", &u);
    assert_int_equal(u.kind, STORE_MEM);
    store_url_finish(&u);

    const char *const files[] = {"file:/a/b", "file:///a/b", "file:/a%2Fb", "file:/%61/b"};
    for (size_t i = 0; i < 4; i++) {
        good(files[i], &u);
        assert_int_equal(u.kind, STORE_FILE);
        assert_string_equal(u.path, "/a/b");
        store_url_finish(&u);
    }
    good("file:/50%25%20%C3%A9%3f", &u);
    assert_string_equal(u.path, "/50% \xc3\xa9?");
    store_url_finish(&u);

    good("s3://bucket", &u);
    assert_int_equal(u.kind, STORE_S3);
    assert_string_equal(u.s3.bucket, "bucket");
    assert_string_equal(u.s3.prefix, "");
    assert_null(u.s3.endpoint);
    assert_null(u.s3.region);
    assert_null(u.s3.profile);
    assert_null(u.s3.ca_file);
    assert_int_equal(u.s3.path_style, -1);
    assert_false(u.s3.conditional_writes_off);
    store_url_finish(&u);

    good("s3://b.ucket-1/some/pre%20fix/?endpoint=https://[::1]:9000/&region=eu-1&path_style=1&profile=me"
         "&conditional_writes=off&ca=/etc/my%26ca.pem",
         &u);
    assert_string_equal(u.s3.bucket, "b.ucket-1");
    assert_string_equal(u.s3.prefix, "some/pre fix");
    assert_string_equal(u.s3.endpoint, "https://[::1]:9000");
    assert_string_equal(u.s3.region, "eu-1");
    assert_int_equal(u.s3.path_style, 1);
    assert_string_equal(u.s3.profile, "me");
    assert_true(u.s3.conditional_writes_off);
    assert_string_equal(u.s3.ca_file, "/etc/my&ca.pem");
    store_url_finish(&u);

    good("s3://bucket/?path_style=0&endpoint=http%3A%2F%2F127.0.0.1%3A80&conditional_writes=on", &u);
    assert_string_equal(u.s3.prefix, "");
    assert_string_equal(u.s3.endpoint, "http://127.0.0.1:80");
    assert_int_equal(u.s3.path_style, 0);
    assert_false(u.s3.conditional_writes_off);
    store_url_finish(&u);
}

static void bad_urls_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *url, *says;
    } cases[] = {
        {"", "not a store's URL"},
        {"/var/lib", "not a store's URL"},
        {"http://x", "not a store's URL"},
        {"S3://x", "not a store's URL"},
        {"mem:x", "nothing can follow mem:"},
        {"file:", "absolute path"},
        {"file:rel/ative", "absolute path"},
        {"file://host/x", "absolute path"},
        {"file:/a?b=c", "no options"},
        {"file:/a%", "%25"},
        {"file:/a%4", "%25"},
        {"file:/a%zz", "%25"},
        {"file:/a%00b", "%25"},
        {"s3:bucket", "s3://bucket"},
        {"s3://", "bucket's name"},
        {"s3:///prefix", "bucket's name"},
        {"s3://us er", "bucket's name"},
        {"s3://key:secret@bucket", "bucket's name"},
        {"s3://bucket//x", "cannot be a prefix"},
        {"s3://bucket/a/../b", "cannot be a prefix"},
        {"s3://bucket/%ff", "cannot be a prefix"},
        {"s3://bucket#x", "%23"},
        {"s3://bucket?region", "has no value"},
        {"s3://bucket?region=", "region"},
        {"s3://bucket?path_style=yes", "0 or 1"},
        {"s3://bucket?conditional_writes=no", "on or off"},
        {"s3://bucket?endpoint=127.0.0.1:9000", "http://HOST"},
        {"s3://bucket?endpoint=http://", "http://HOST"},
        {"s3://bucket?endpoint=http://h/path", "http://HOST"},
        {"s3://bucket?endpoint=http://user@h", "http://HOST"},
        {"s3://bucket?regoin=x", "\"regoin\" that is not known"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store_url u;
        struct complaint why = {""};
        assert_int_equal(store_url_parse(cases[i].url, &u, &why), ERR_INVALID);
        if (!strstr(why.text, cases[i].says))
            fail_msg("\"%s\": %s", cases[i].url, why.text);
    }
}

static void opening(void **state)
{
    (void)state;
    char path[SCRATCH_MAX], url[2 * SCRATCH_MAX];
    struct objstore *s;
    struct complaint why = {""};
    scratch_make(path);
    struct loop *l = uv_loop_create();
    snprintf(url, sizeof url, "file:%s/made/on/the/way", path);
    assert_int_equal(objstore_open(l, url, &s, &why), ERR_OK);
    assert_string_equal(objstore_name(s), url);
    objstore_destroy(s);
    assert_int_equal(objstore_open(l, "mem:", &s, &why), ERR_OK);
    assert_string_equal(objstore_name(s), "mem:");
    objstore_destroy(s);
    assert_int_equal(objstore_open(l, "file:/dev/null", &s, &why), ERR_NOTFOUND);
    assert_non_null(strstr(why.text, "/dev/null is not a directory"));
    uv_loop_destroy(l);
    scratch_remove(path);
}

RUN_TESTS(cmocka_unit_test(what_good_urls_say), cmocka_unit_test(bad_urls_are_told_apart),
          cmocka_unit_test(opening))
