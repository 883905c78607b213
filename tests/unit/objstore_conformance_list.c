/* The rules of LIST. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "objstore_kit.h"

void conformance_list_rules(struct conformance *,
                            void (*run)(struct conformance *, const char *, void (*)(struct conformance *)));

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void put_all(struct conformance *c, char keys[][OBJSTORE_KEY_MAX], size_t count)
{
    enum { AT_ONCE = 50 };
    static struct kit_put puts[AT_ONCE];
    for (size_t i = 0; i < count; i += AT_ONCE) {
        size_t n = MIN(count - i, (size_t)AT_ONCE);
        for (size_t k = 0; k < n; k++) {
            kit_put_init(&puts[k], keys[i + k], keys[i + k], (i + k) % 17, OBJSTORE_CREATE, NULL);
            kit_submit(c, &puts[k].req);
        }
        kit_wait(c);
        for (size_t k = 0; k < n; k++)
            CHECK(puts[k].req.err == ERR_OK, "PUT of %s: %s %s", keys[i + k], err_text(puts[k].req.err),
                  puts[k].req.complaint.text);
    }
}

static void delete_all(struct conformance *c, char keys[][OBJSTORE_KEY_MAX], size_t count)
{
    static const char *list[OBJSTORE_DELETE_MAX];
    for (size_t i = 0; i < count; i += OBJSTORE_DELETE_MAX) {
        size_t n = MIN(count - i, (size_t)OBJSTORE_DELETE_MAX);
        for (size_t k = 0; k < n; k++)
            list[k] = keys[i + k];
        CHECK(kit_delete(c, list, n) == ERR_OK, "DELETE");
    }
}

/* Pages through what is expected, in order, nothing twice, nothing left out; truncated on all pages but the
 * last. */
static void expect_pages(struct conformance *c, const char *prefix, bool delimited, size_t limit,
                         const char *after, char (*expected)[OBJSTORE_KEY_MAX], size_t count)
{
    char last[OBJSTORE_KEY_MAX];
    snprintf(last, sizeof last, "%s", after);
    for (size_t seen = 0;;) {
        struct objstore_req r;
        CHECK(kit_list(c, &r, prefix, last, limit, delimited) == ERR_OK, "LIST of %s: %s", prefix,
              r.complaint.text);
        size_t n = r.entry_count;
        size_t want = MIN(limit, count - seen);
        const char *wrong = NULL;
        for (size_t i = 0; i < n && !wrong; i++)
            if (seen + i >= count || strcmp(r.entries[i].key, expected[seen + i]) != 0)
                wrong = seen + i < count ? expected[seen + i] : "(nothing)";
        if (wrong)
            kit_fail(c, __FILE__, __LINE__, "a page of %zu below \"%s\" after \"%s\" lacks %s", limit, prefix,
                     last, wrong);
        else if (n)
            snprintf(last, sizeof last, "%s", r.entries[n - 1].key);
        bool truncated = r.truncated;
        objstore_entries_free(r.entries, n);
        CHECK_FAILED();
        CHECK(n == want, "a page of %zu below \"%s\" after \"%s\" has %zu entries, not %zu", limit, prefix,
              last, n, want);
        seen += n;
        CHECK(truncated == (seen < count), "truncated is wrong after %zu of %zu", seen, count);
        if (!truncated)
            return;
    }
}

static void long_listings(struct conformance *c)
{
    enum { KEYS = 1150 };
    static char keys[KEYS][OBJSTORE_KEY_MAX];
    for (size_t i = 0; i < KEYS; i++)
        snprintf(keys[i], sizeof keys[i], "%slong/%s%04zu", c->prefix, i % 2 ? "a/" : "a-", i * 7919 % 10007);
    put_all(c, keys, KEYS);
    CHECK_FAILED();
    qsort(keys, KEYS, sizeof keys[0], by_text);
    const char *prefix = kit_key(c, "long/");
    expect_pages(c, prefix, false, 1000, "", keys, KEYS);
    expect_pages(c, prefix, false, 100, "", keys, KEYS);
    expect_pages(c, prefix, false, KEYS / 2, keys[99], keys + 100, KEYS - 100);
    expect_pages(c, prefix, false, 7, keys[KEYS - 30], keys + KEYS - 29, 29);
    CHECK_FAILED();
    size_t first = 0, n = 0;
    const char *narrow = kit_key(c, "long/a-01");
    for (size_t i = 0; i < KEYS; i++)
        if (strncmp(keys[i], narrow, strlen(narrow)) == 0) {
            first = n ? first : i;
            n++;
        }
    expect_pages(c, narrow, false, 3, "", keys + first, n);
    CHECK_FAILED();
    delete_all(c, keys, KEYS);
    expect_pages(c, prefix, false, 1000, "", keys, 0);
}

/* In the order of their bytes, which is not the order of a walk through folders. */
static const char *const strange[] = {"strange/ ",
                                      "strange/ x",
                                      "strange/!'()*",
                                      "strange/\"quoted\"",
                                      "strange/#hash",
                                      "strange/%2F",
                                      "strange/%41",
                                      "strange/&amp;",
                                      "strange/+plus+",
                                      "strange/-",
                                      "strange/.hidden",
                                      "strange/...",
                                      "strange/0",
                                      "strange/:colon",
                                      "strange/<tag>&",
                                      "strange/=58=3D",
                                      "strange/?query=1",
                                      "strange/@at",
                                      "strange/[x]{y}",
                                      "strange/\\back",
                                      "strange/a b/c d",
                                      "strange/a!",
                                      "strange/a-b",
                                      "strange/a.txt",
                                      "strange/aa/b",
                                      "strange/a0",
                                      "strange/a=/x",
                                      "strange/a~",
                                      "strange/caf\xc3\xa9",
                                      "strange/cafe\xcc\x81",
                                      "strange/d/e/f/g/h/i/j/k",
                                      "strange/~tilde",
                                      "strange/\xe2\x82\xac",
                                      "strange/\xf0\x9f\x92\xbe",
                                      "strange/\xef\xbf\xbd",
                                      "strange/;semi,comma$",
                                      "strange/^`|",
                                      "strange/a/b",
                                      "strange/a/-"};

static void strange_names(struct conformance *c)
{
    static char keys[COUNT_OF(strange)][OBJSTORE_KEY_MAX];
    size_t n = COUNT_OF(strange);
    for (size_t i = 0; i < n; i++)
        snprintf(keys[i], sizeof keys[i], "%s%s", c->prefix, strange[i]);
    put_all(c, keys, n);
    CHECK_FAILED();
    for (size_t i = 0; i < n; i++)
        CHECK(kit_holds(c, keys[i], keys[i], i % 17), "%s came back differently", keys[i]);
    qsort(keys, n, sizeof keys[0], by_text);
    for (size_t limit = 1; limit < 45; limit += limit < 4 ? 1 : 13)
        expect_pages(c, kit_key(c, "strange/"), false, limit, "", keys, n);
    for (size_t i = 0; i < n; i++)
        expect_pages(c, kit_key(c, "strange/"), false, 1000, keys[i], keys + i + 1, n - i - 1);
    CHECK_FAILED();
    delete_all(c, keys, n);
}

static void below(struct conformance *c, char keys[][OBJSTORE_KEY_MAX], const char *const *names,
                  size_t count)
{
    for (size_t i = 0; i < count; i++)
        snprintf(keys[i], OBJSTORE_KEY_MAX, "%s%s", c->prefix, names[i]);
}

static void delimited_listings(struct conformance *c)
{
    static const char *const stored[] = {"e/a/manifest",  "e/a/id/1", "e/a/id/2", "e/a.b/manifest",
                                         "e/a0/manifest", "e/b",      "e/c/x",    "e/c-/x/y/z",
                                         "e/d/1",         "e/d/2"};
    static const char *const folded[] = {"e/a.b/", "e/a/", "e/a0/", "e/b", "e/c-/", "e/c/", "e/d/"};
    static const char *const one[] = {"e/a/id/", "e/a/manifest"};
    static char keys[COUNT_OF(stored)][OBJSTORE_KEY_MAX], shown[COUNT_OF(folded)][OBJSTORE_KEY_MAX];
    static char inside[COUNT_OF(one)][OBJSTORE_KEY_MAX];
    below(c, keys, stored, COUNT_OF(stored));
    below(c, shown, folded, COUNT_OF(folded));
    below(c, inside, one, COUNT_OF(one));
    put_all(c, keys, COUNT_OF(keys));
    CHECK_FAILED();
    for (size_t limit = 1; limit <= 9; limit++)
        expect_pages(c, kit_key(c, "e/"), true, limit, "", shown, COUNT_OF(shown));
    expect_pages(c, kit_key(c, "e/a/"), true, 5, "", inside, COUNT_OF(inside));
    expect_pages(c, kit_key(c, "e/a"), true, 2, "", shown, 3);
    CHECK_FAILED();
    struct objstore_req r;
    CHECK(kit_list(c, &r, kit_key(c, "e/"), shown[2], 1, true) == ERR_OK && r.entry_count == 1, "LIST");
    bool right = r.entries[0].bytes == 5 && r.entries[0].modified_ms > 0;
    objstore_entries_free(r.entries, r.entry_count);
    CHECK(right, "an object beside common prefixes lost its size or time");
    delete_all(c, keys, COUNT_OF(keys));
    expect_pages(c, kit_key(c, "e/"), true, 5, "", shown, 0);
}

static void listings_see_what_was_answered(struct conformance *c)
{
    static char keys[20][OBJSTORE_KEY_MAX];
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        snprintf(keys[i], sizeof keys[i], "%ssees/%02zu/x", c->prefix, i);
        CHECK(kit_put(c, keys[i], "123", 3, OBJSTORE_ANY, NULL) == ERR_OK, "PUT");
        expect_pages(c, kit_key(c, "sees/"), false, 1000, "", keys, i + 1);
        CHECK_FAILED();
    }
    for (size_t i = COUNT_OF(keys); i-- > 0;) {
        CHECK(kit_delete_one(c, keys[i]) == ERR_OK, "DELETE");
        expect_pages(c, kit_key(c, "sees/"), false, 1000, "", keys, i);
        CHECK_FAILED();
    }
}

static void listings_that_are_none(struct conformance *c)
{
    struct objstore_req r;
    CHECK(kit_list(c, &r, kit_key(c, "x/"), NULL, 0, false) == ERR_INVALID, "a limit of 0");
    CHECK(kit_list(c, &r, kit_key(c, "x/"), NULL, OBJSTORE_LIST_MAX + 1, false) == ERR_INVALID,
          "a limit too large");
    CHECK(kit_list(c, &r, "../", NULL, 1, false) == ERR_INVALID, "a way out of the store");
    CHECK(kit_list(c, &r, "a//", NULL, 1, false) == ERR_INVALID, "an empty segment");
}

void conformance_list_rules(struct conformance *c,
                            void (*run)(struct conformance *, const char *, void (*)(struct conformance *)))
{
    run(c, "long_listings", long_listings);
    run(c, "strange_names", strange_names);
    run(c, "delimited_listings", delimited_listings);
    run(c, "listings_see_what_was_answered", listings_see_what_was_answered);
    run(c, "listings_that_are_none", listings_that_are_none);
}
