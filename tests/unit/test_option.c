#include <stdlib.h>
#include <string.h>

#include "unit.h"

#include "base/bytes.h"
#include "base/log.h"
#include "cli/option.h"
#include "loop/loop.h"

struct values {
    bool force;
    const char *name;
    struct option_list listen;
    uint64_t size, ttl, count;
    int level;
};

#define AT(field) offsetof(struct values, field)
/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "force", .kind = OPTION_SWITCH, .at = AT(force),
     .help = "do it"},
    {.name = "name", .value = "NAME", .kind = OPTION_TEXT, .at = AT(name),
     .help = "what it is called"},
    {.name = "listen", .value = "ADDRESS", .kind = OPTION_LIST, .fallback = "here", .at = AT(listen),
     .help = "where"},
    {.name = "cache-size", .value = "SIZE", .kind = OPTION_SIZE,
     .fallback = "256M", .min = 4 * MIB, .max = TIB, .at = AT(size),
     .help = "how much"},
    {.name = "lease-ttl", .value = "TIME", .kind = OPTION_DURATION,
     .fallback = "30s", .min = 3 * NS_PER_S, .at = AT(ttl),
     .help = "how long"},
    {.name = "count", .value = "N", .kind = OPTION_NUMBER, .max = 9, .at = AT(count),
     .help = "how many"},
    {.name = "log-level", .value = "LEVEL", .kind = OPTION_LEVEL, .at = AT(level),
     .help = "how loud"},
};
/* clang-format on */

static struct values values;
static const struct option_table table = {.specs = specs, .count = COUNT_OF(specs), .values = &values};

static int start_clean(void **state)
{
    (void)state;
    values = (struct values){.level = -1};
    for (size_t i = 0; i < COUNT_OF(specs); i++) {
        char variable[OPTION_VARIABLE_MAX];
        unsetenv(option_variable(specs[i].name, variable));
    }
    return 0;
}

static int free_values(void **state)
{
    (void)state;
    options_end(&table);
    return 0;
}

static void begin(void)
{
    struct complaint c;
    assert_int_equal(options_begin(&table, &c), ERR_OK);
}

static bool take(const char *arg, const char *next)
{
    struct complaint c = {.text = ""};
    bool took_next;
    enum err e = options_take(&table, 1, arg, next, &took_next, &c);
    assert_string_equal(c.text, "");
    assert_int_equal(e, ERR_OK);
    return took_next;
}

static void refuses(const char *arg, const char *next, const char *sentence)
{
    struct complaint c = {.text = ""};
    bool took_next;
    struct values before = values;
    assert_int_equal(options_take(&table, 1, arg, next, &took_next, &c), ERR_INVALID);
    assert_string_equal(c.text, sentence);
    assert_int_equal(values.size, before.size);
    assert_int_equal(values.ttl, before.ttl);
}

static void environment_refuses(const char *variable, const char *text, const char *sentence)
{
    struct complaint c = {.text = ""};
    setenv(variable, text, 1);
    assert_int_equal(options_begin(&table, &c), ERR_INVALID);
    assert_string_equal(c.text, sentence);
    unsetenv(variable);
}

static void fallbacks_stand_where_nothing_is_said(void **state)
{
    (void)state;
    begin();
    assert_false(values.force);
    assert_null(values.name);
    assert_int_equal(values.size, 256 * MIB);
    assert_int_equal(values.ttl, 30 * NS_PER_S);
    assert_int_equal(values.listen.count, 1);
    assert_string_equal(values.listen.items[0], "here");
    assert_int_equal(values.level, -1);
}

static void values_are_taken_beside_or_behind_the_name(void **state)
{
    (void)state;
    begin();
    assert_true(take("--cache-size", "1.5GiB"));
    assert_int_equal(values.size, 3 * GIB / 2);
    assert_false(take("--cache-size=8M", "9M"));
    assert_int_equal(values.size, 8 * MIB);
    assert_false(take("--force", "file"));
    assert_true(values.force);
    assert_true(take("--lease-ttl", "1m"));
    assert_int_equal(values.ttl, 60 * NS_PER_S);
    assert_true(take("--log-level", "debug"));
    assert_int_equal(values.level, LOG_DEBUG);
    take("--name=", NULL);
    assert_string_equal(values.name, "");
}

static void the_environment_stands_in_and_what_is_typed_wins(void **state)
{
    (void)state;
    setenv("ASHLAR_CACHE_SIZE", "16M", 1);
    setenv("ASHLAR_FORCE", "yes", 1);
    setenv("ASHLAR_LISTEN", "a:1,b:2", 1);
    setenv("ASHLAR_NAME", "", 1);
    begin();
    assert_int_equal(values.size, 16 * MIB);
    assert_true(values.force);
    assert_null(values.name);
    take("--cache-size=32M", NULL);
    assert_int_equal(values.size, 32 * MIB);
    take("--listen", "c:3");
    take("--listen", "d:4");
    assert_int_equal(values.listen.count, 2);
    assert_string_equal(values.listen.items[0], "c:3");
    assert_string_equal(values.listen.items[1], "d:4");
}

static void a_list_in_the_environment_replaces_the_fallback(void **state)
{
    (void)state;
    setenv("ASHLAR_LISTEN", "a:1,b:2", 1);
    begin();
    assert_int_equal(values.listen.count, 2);
    assert_string_equal(values.listen.items[0], "a:1");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    begin();
    refuses("--cache-size", "lots",
            "--cache-size is \"lots\", which is no size; write it as 4096, 128K, 1.5GiB or 10T");
    refuses("--cache-size", "1M", "--cache-size is \"1M\", but the least is 4 MiB");
    refuses("--cache-size", "2T", "--cache-size is \"2T\", but the most is 1 TiB");
    refuses("--lease-ttl", "1s", "--lease-ttl is \"1s\", but the least is 3s");
    refuses("--lease-ttl", "soon",
            "--lease-ttl is \"soon\", which is no duration; write it as 250ms, 5s, 2m or 1h");
    refuses("--count", "-1", "--count is \"-1\", which is no number");
    refuses("--count", "10", "--count is \"10\", but the most is 9");
    refuses("--log-level", "loud",
            "--log-level is \"loud\"; the levels are debug, info, warn, error and off");
    refuses("--force=1", NULL, "--force is a switch and takes no value");
    refuses("--name", NULL, "--name wants a value: --name NAME");
    refuses("-x", NULL, "there is no option -x; options begin with two dashes, and --help lists them");
}

static void the_nearest_name_is_suggested(void **state)
{
    (void)state;
    refuses("--cache-sise=4M", NULL, "there is no option --cache-sise; did you mean --cache-size?");
    refuses("--cache", "4M", "there is no option --cache; did you mean --cache-size?");
    refuses("--lsiten", NULL, "there is no option --lsiten; did you mean --listen?");
    refuses("--zebra", NULL, "there is no option --zebra; --help lists them");
}

static void the_environment_is_checked_alike(void **state)
{
    (void)state;
    environment_refuses(
        "ASHLAR_CACHE_SIZE", "x",
        "ASHLAR_CACHE_SIZE is \"x\", which is no size; write it as 4096, 128K, 1.5GiB or 10T");
    environment_refuses(
        "ASHLAR_FORCE", "perhaps",
        "ASHLAR_FORCE is \"perhaps\", but it is switched by 1, true, yes or on and by 0, false, no or "
        "off");
}

static void a_list_is_bounded(void **state)
{
    (void)state;
    begin();
    for (int i = 0; i < OPTION_LIST_MAX; i++)
        take("--listen", "x");
    refuses("--listen", "x", "--listen was given more than 32 times");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start_clean, free_values)
RUN_TESTS(TEST(fallbacks_stand_where_nothing_is_said), TEST(values_are_taken_beside_or_behind_the_name),
          TEST(the_environment_stands_in_and_what_is_typed_wins),
          TEST(a_list_in_the_environment_replaces_the_fallback), TEST(what_is_wrong_is_named),
          TEST(the_nearest_name_is_suggested), TEST(the_environment_is_checked_alike),
          TEST(a_list_is_bounded))
