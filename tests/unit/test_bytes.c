#include "base/bytes.h"

#include "unit.h"

static void sizes_in_every_spelling(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"4096", 4096},
                {"10G", 10 * GIB},
                {"1.5TiB", TIB + TIB / 2},
                {"128K", 128 * KIB},
                {"1kib", 1024},
                {"0", 0},
                {"0.5k", 512},
                {"12B", 12},
                {"9223372036854775807", INT64_MAX},
                {"7E", UINT64_C(7) << 60}};
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        uint64_t v = 1;
        assert_true(size_parse(good[i].text, &v));
        assert_int_equal(v, good[i].bytes);
    }
    static const char *const bad[] = {"",
                                      "G",
                                      "-1",
                                      "1.",
                                      ".5G",
                                      "1.5",
                                      "1X",
                                      "8E",
                                      "1 G",
                                      "0.3K",
                                      "9223372036854775808",
                                      "99999999999999999999999",
                                      "1GG",
                                      "0x10"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint64_t v = 77;
        assert_false(size_parse(bad[i], &v));
        assert_int_equal(v, 77);
    }
}

static void sizes_read_well(void **state)
{
    (void)state;
    char text[SIZE_TEXT_MAX];
    assert_string_equal(size_format(0, text), "0 B");
    assert_string_equal(size_format(4096, text), "4 KiB");
    assert_string_equal(size_format(TIB + TIB / 2, text), "1.5 TiB");
    assert_string_equal(size_format(INT64_MAX, text), "8 EiB");
}

static void durations(void **state)
{
    (void)state;
    uint64_t ns;
    assert_true(duration_parse("5s", &ns) && ns == UINT64_C(5000000000));
    assert_true(duration_parse("250ms", &ns) && ns == 250000000);
    assert_true(duration_parse("30", &ns) && ns == UINT64_C(30000000000));
    assert_true(duration_parse("1.5m", &ns) && ns == UINT64_C(90000000000));
    assert_false(duration_parse("5d", &ns));
    assert_false(duration_parse("1000000h", &ns));
    assert_false(duration_parse("", &ns));
}

static void hex_both_ways(void **state)
{
    (void)state;
    uint8_t bytes[3] = {0x00, 0xab, 0xff}, back[3];
    char text[7];
    hex_encode(bytes, 3, text);
    assert_string_equal(text, "00abff");
    assert_true(hex_decode(text, back, 3));
    assert_memory_equal(bytes, back, 3);
    assert_false(hex_decode("00abf", back, 3));
    assert_false(hex_decode("00abff0", back, 3));
    assert_false(hex_decode("00ABff", back, 3));
}

static void zeros_of_every_length(void **state)
{
    (void)state;
    uint8_t bytes[100] = {0};
    for (size_t n = 0; n <= sizeof bytes; n++) {
        assert_true(bytes_are_zero(bytes, n));
        if (n == 0)
            continue;
        bytes[n - 1] = 1;
        assert_false(bytes_are_zero(bytes, n));
        bytes[n - 1] = 0;
    }
}

RUN_TESTS(cmocka_unit_test(sizes_in_every_spelling), cmocka_unit_test(sizes_read_well),
          cmocka_unit_test(durations), cmocka_unit_test(hex_both_ways),
          cmocka_unit_test(zeros_of_every_length))
