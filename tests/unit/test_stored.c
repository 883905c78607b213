#include "base/bytes.h"
#include "base/prng.h"
#include "volume/format/stored.h"
#include "volume/volume.h"

#include "unit.h"

#define ID "00112233445566778899aabbccddeeff"

static void names_become_one_segment(void **state)
{
    (void)state;
    static const struct {
        const char *name, *encoded;
    } pairs[] = {{"demo", "demo"},       {"A-z_0.9", "A-z_0.9"},  {".", "=2E"}, {"..", "=2E."},
                 {"a/b", "a=2Fb"},       {"a=b", "a=3Db"},        {" ", "=20"}, {"manifest", "manifest"},
                 {"\xc3\xa9", "=C3=A9"}, {"x\ny\x7f", "x=0Ay=7F"}};
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        char encoded[EXPORT_NAME_MAX + 1], back[EXPORT_NAME_MAX + 1];
        assert_int_equal(name_encode(pairs[i].name, encoded), ERR_OK);
        assert_string_equal(encoded, pairs[i].encoded);
        assert_int_equal(name_decode(encoded, back), ERR_OK);
        assert_string_equal(back, pairs[i].name);
    }
}

static void names_refused(void **state)
{
    (void)state;
    char out[EXPORT_NAME_MAX + 1] = "untouched", name[300];
    assert_int_equal(name_encode("", out), ERR_INVALID);
    assert_int_equal(name_encode("a@b", out), ERR_INVALID);
    memset(name, 'a', sizeof name);
    name[241] = 0;
    assert_int_equal(name_encode(name, out), ERR_INVALID);
    name[238] = '/';
    name[239] = 0;
    assert_int_equal(name_encode(name, out), ERR_INVALID);
    assert_string_equal(out, "untouched");
    name[237] = '/';
    name[238] = 0;
    assert_int_equal(name_encode(name, out), ERR_OK);
    assert_int_equal(strlen(out), 240);

    static const char *const bad[] = {"",    ".a",  "a=2fb", "=2",  "=",   "a=", "=41", "a b",
                                      "=00", "a@b", "a/b",   "=40", "=GG", "=2", "\xc3"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        strcpy(out, "untouched");
        assert_int_equal(name_decode(bad[i], out), ERR_INVALID);
        assert_string_equal(out, "untouched");
    }
    memset(name, 'a', sizeof name);
    name[240] = 0;
    assert_int_equal(name_decode(name, out), ERR_OK);
    name[240] = 'a';
    name[241] = 0;
    assert_int_equal(name_decode(name, out), ERR_INVALID);
}

static void names_at_random_come_back(void **state)
{
    (void)state;
    struct prng p;
    prng_seed(&p, 1);
    for (int round = 0; round < 2000; round++) {
        char name[100], encoded[EXPORT_NAME_MAX + 1], back[EXPORT_NAME_MAX + 1];
        size_t n = 1 + prng_below(&p, 80);
        for (size_t i = 0; i < n; i++)
            name[i] = (char)(1 + prng_below(&p, 255));
        for (size_t i = 0; i < n; i++)
            if (name[i] == '@')
                name[i] = '.';
        name[n] = 0;
        assert_int_equal(name_encode(name, encoded), ERR_OK);
        assert_null(strpbrk(encoded, "/@ ~%"));
        assert_true(encoded[0] != '.');
        assert_int_equal(name_decode(encoded, back), ERR_OK);
        assert_string_equal(back, name);
    }
}

static void keys_spelt_out(void **state)
{
    (void)state;
    struct key k;
    struct object_name object = {.hash = sha256_of("abc", 3), .turn = 0x1f};
    key_block(&k, &object);
    assert_string_equal(k.text,
                        "blocks/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad-0000001f");
    key_map(&k, &object);
    assert_string_equal(k.text,
                        "maps/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad-0000001f");
    key_manifest(&k, "a/b");
    assert_string_equal(k.text, "exports/a=2Fb/manifest");
    key_export_logs(&k, "a", ID);
    assert_string_equal(k.text, "exports/a/" ID "/");
    key_log_folder(&k, "a", ID, 16, "0123456789abcdef");
    assert_string_equal(k.text, "exports/a/" ID "/00000010-0123456789abcdef/");
    key_log_slot(&k, "a", ID, 16, "0123456789abcdef", UINT64_C(0x123456789a));
    assert_string_equal(k.text, "exports/a/" ID "/00000010-0123456789abcdef/000000123456789a");
    key_server(&k, ID);
    assert_string_equal(k.text, "servers/" ID);
}

static void slots_come_back_from_their_keys(void **state)
{
    (void)state;
    struct key k;
    uint32_t epoch;
    uint64_t slot;
    char nonce[FOLDER_HEX];
    key_log_slot(&k, "a b", ID, UINT32_MAX, "0123456789abcdef", UINT64_MAX);
    assert_true(key_parse_log_slot(k.text, "a b", ID, &epoch, nonce, &slot));
    assert_int_equal(epoch, UINT32_MAX);
    assert_string_equal(nonce, "0123456789abcdef");
    assert_true(slot == UINT64_MAX);
    assert_false(key_parse_log_slot(k.text, "a", ID, &epoch, nonce, &slot));

    size_t n = strlen(k.text);
    for (size_t i = 0; i < n; i++) {
        struct key cut = k;
        cut.text[i] = 0;
        assert_false(key_parse_log_slot(cut.text, "a b", ID, &epoch, nonce, &slot));
        cut = k;
        cut.text[i] = 'G';
        assert_false(key_parse_log_slot(cut.text, "a b", ID, &epoch, nonce, &slot));
    }
    strcat(k.text, "0");
    assert_false(key_parse_log_slot(k.text, "a b", ID, &epoch, nonce, &slot));
}

static void exports_come_back_from_their_keys(void **state)
{
    (void)state;
    char name[EXPORT_NAME_MAX + 1];
    assert_true(key_parse_export("exports/a=2Fb/", name));
    assert_string_equal(name, "a/b");
    assert_true(key_parse_export("exports/demo/manifest", name));
    assert_string_equal(name, "demo");
    static const char *const bad[] = {
        "exports/",  "exports//",   "exports/a",         "exports/a/manifest/",  "exports/a/x",
        "export/a/", "exports/.a/", "exports//manifest", "exports/a/b/manifest", ""};
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(key_parse_export(bad[i], name));
    char key[400] = "exports/";
    memset(key + 8, 'a', 241);
    strcpy(key + 8 + 241, "/");
    assert_false(key_parse_export(key, name));
    strcpy(key + 8 + 240, "/");
    assert_true(key_parse_export(key, name));
}

RUN_TESTS(cmocka_unit_test(names_become_one_segment), cmocka_unit_test(names_refused),
          cmocka_unit_test(names_at_random_come_back), cmocka_unit_test(keys_spelt_out),
          cmocka_unit_test(slots_come_back_from_their_keys),
          cmocka_unit_test(exports_come_back_from_their_keys))
