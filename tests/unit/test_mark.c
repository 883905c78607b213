#include "unit.h"

#include <string.h>

#include "base/mark.h"

static const char *last;
static int passed;

static void remember(const char *name)
{
    last = name;
    passed++;
}

static void pass(int times)
{
    for (int i = 0; i < times; i++)
        mark_hit("test.here");
}

static void a_hook_sees_every_passage(void **state)
{
    (void)state;
    pass(2);
    assert_int_equal(passed, 0);
    mark_hook = remember;
    pass(3);
    mark_hook = NULL;
    pass(1);
    assert_int_equal(passed, 3);
    assert_string_equal(last, "test.here");
}

static void every_mark_stands_in_the_section(void **state)
{
    (void)state;
    int found = 0;
    for (const char *const *m = __start_marks; m < __stop_marks; m++)
        found += strcmp(*m, "test.here") == 0;
    assert_int_equal(found, 1);
}

RUN_TESTS(cmocka_unit_test(a_hook_sees_every_passage), cmocka_unit_test(every_mark_stands_in_the_section))
