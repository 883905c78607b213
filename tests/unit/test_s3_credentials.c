#include "objstore/s3/credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char home[64];
static const char *const variables[] = {
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",          "AWS_PROFILE",
    "AWS_REGION",        "AWS_DEFAULT_REGION",    "AWS_ENDPOINT_URL",           "AWS_ENDPOINT_URL_S3",
    "AWS_CA_BUNDLE",     "AWS_CONFIG_FILE",       "AWS_SHARED_CREDENTIALS_FILE"};

static const char *path_in_home(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", home, name);
    return path;
}

static void write_file(const char *name, const char *text, size_t n)
{
    FILE *f = fopen(path_in_home(name), "w");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    fclose(f);
}

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        unsetenv(variables[i]);
    strcpy(home, "/tmp/test_s3_credentials.XXXXXX");
    if (!mkdtemp(home) || mkdir(path_in_home(".aws"), 0700) != 0)
        return -1;
    return setenv("HOME", home, 1);
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {".aws/credentials", ".aws/config", "other"};
    for (size_t i = 0; i < 3; i++)
        unlink(path_in_home(names[i]));
    rmdir(path_in_home(".aws"));
    return rmdir(home);
}

static const char credentials_file[] = "# a comment\n"
                                       "[default]\n"
                                       "aws_access_key_id = DEFAULTID\n"
                                       "aws_secret_access_key=default/secret+key==\r\n"
                                       "\n"
                                       "[ work ]\n"
                                       "aws_access_key_id=WORKID\n"
                                       "aws_secret_access_key=worksecret\n"
                                       "aws_session_token = worktoken \n"
                                       "[half]\n"
                                       "aws_access_key_id=HALFID\n";
static const char config_file[] = "[default]\n"
                                  "region = eu-west-1\n"
                                  "s3 =\n"
                                  "  endpoint_url = http://nested:1\n"
                                  "[profile work]\n"
                                  "region=eu-north-1\n"
                                  "endpoint_url = https://store.example.org\n"
                                  "ca_bundle = /etc/work.pem\n"
                                  "[profile half]\n"
                                  "aws_access_key_id = WHOLEID\n"
                                  "aws_secret_access_key = wholesecret\n";

static void write_both(void)
{
    write_file(".aws/credentials", credentials_file, sizeof credentials_file - 1);
    write_file(".aws/config", config_file, sizeof config_file - 1);
}

static void from_the_environment(void **state)
{
    (void)state;
    struct credentials cr;
    struct complaint c;
    write_both();
    setenv("AWS_ACCESS_KEY_ID", "ENVID", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "envsecret", 1);
    setenv("AWS_ENDPOINT_URL", "http://general:1", 1);
    setenv("AWS_ENDPOINT_URL_S3", "http://special:1", 1);
    setenv("AWS_DEFAULT_REGION", "second", 1);
    setenv("AWS_REGION", "first", 1);
    assert_int_equal(credentials_load(NULL, &cr, &c), ERR_OK);
    assert_string_equal(cr.access_key, "ENVID");
    assert_string_equal(cr.secret_key, "envsecret");
    assert_null(cr.session_token);
    assert_string_equal(cr.endpoint, "http://special:1");
    assert_string_equal(cr.region, "first");
    assert_string_equal(cr.source, "the environment");
    credentials_finish(&cr);
    assert_int_equal(credentials_load("work", &cr, &c), ERR_OK);
    assert_string_equal(cr.access_key, "WORKID");
    credentials_finish(&cr);
}

static void from_profiles(void **state)
{
    (void)state;
    struct credentials cr, again;
    struct complaint c;
    write_both();
    assert_int_equal(credentials_load(NULL, &cr, &c), ERR_OK);
    assert_string_equal(cr.access_key, "DEFAULTID");
    assert_string_equal(cr.secret_key, "default/secret+key==");
    assert_string_equal(cr.region, "eu-west-1");
    assert_null(cr.endpoint);
    assert_non_null(strstr(cr.source, "profile default in"));

    setenv("AWS_PROFILE", "work", 1);
    assert_int_equal(credentials_load(NULL, &again, &c), ERR_OK);
    assert_string_equal(again.access_key, "WORKID");
    assert_string_equal(again.session_token, "worktoken");
    assert_string_equal(again.region, "eu-north-1");
    assert_string_equal(again.endpoint, "https://store.example.org");
    assert_string_equal(again.ca_file, "/etc/work.pem");
    assert_false(credentials_same(&cr, &again));
    assert_true(credentials_same(&cr, &cr));
    credentials_finish(&cr);
    credentials_finish(&again);
}

static void an_id_never_goes_with_another_place_s_secret(void **state)
{
    (void)state;
    struct credentials cr;
    struct complaint c;
    write_both();
    assert_int_equal(credentials_load("half", &cr, &c), ERR_OK);
    assert_string_equal(cr.access_key, "WHOLEID");
    assert_string_equal(cr.secret_key, "wholesecret");
    credentials_finish(&cr);
}

static void files_named_by_variables(void **state)
{
    (void)state;
    struct credentials cr;
    struct complaint c;
    static const char other[] = "[default]\naws_access_key_id=OTHER\naws_secret_access_key=s";
    write_both();
    write_file("other", other, sizeof other - 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", path_in_home("other"), 1);
    assert_int_equal(credentials_load(NULL, &cr, &c), ERR_OK);
    assert_string_equal(cr.access_key, "OTHER");
    credentials_finish(&cr);
}

static void says_what_is_missing(void **state)
{
    (void)state;
    struct credentials cr;
    struct complaint c;
    assert_int_equal(credentials_load(NULL, &cr, &c), ERR_DENIED);
    assert_non_null(strstr(c.text, "AWS_ACCESS_KEY_ID"));
    write_both();
    assert_int_equal(credentials_load("nobody", &cr, &c), ERR_INVALID);
    assert_non_null(strstr(c.text, "nobody"));
}

static void odd_files_are_refused(void **state)
{
    (void)state;
    struct credentials cr;
    struct complaint c;
    static const char nul[] = "[default]\naws_access_key_id=A\0B\naws_secret_access_key=s\n";
    write_file(".aws/credentials", nul, sizeof nul - 1);
    assert_int_equal(credentials_load(NULL, &cr, &c), ERR_INVALID);
    static const char injected[] = "[default]\naws_access_key_id=A\x01 x: y\naws_secret_access_key=s\n";
    write_file(".aws/credentials", injected, sizeof injected - 1);
    assert_int_equal(credentials_load(NULL, &cr, &c), ERR_INVALID);
    size_t n = (1 << 20) + 2;
    char *large = malloc(n);
    assert_non_null(large);
    memset(large, '\n', n);
    write_file(".aws/credentials", large, n);
    free(large);
    assert_int_equal(credentials_load(NULL, &cr, &c), ERR_INVALID);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(from_the_environment), T(from_profiles), T(an_id_never_goes_with_another_place_s_secret),
          T(files_named_by_variables), T(says_what_is_missing), T(odd_files_are_refused))
