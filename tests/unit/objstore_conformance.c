#include "objstore_conformance.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "objstore_kit.h"

#define MIB4 ((size_t)4 << 20)

/* -------------------------------------------------------------- whole objects */

static void sizes_come_back(struct conformance *c)
{
    static const size_t sizes[] = {0, 1, 511, 4095, 4096, 65537, ((size_t)1 << 20), MIB4 + 1};
    static uint8_t bytes[MIB4 + 1];
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        const char *key = kit_key(c, "size/%zu", sizes[i]);
        char put[OBJSTORE_ETAG_MAX] = "", got[OBJSTORE_ETAG_MAX] = "";
        kit_pattern(bytes, sizes[i], i + 1);
        CHECK(kit_put(c, key, bytes, sizes[i], OBJSTORE_ANY, put) == ERR_OK, "PUT of %zu bytes", sizes[i]);
        struct buf *b;
        CHECK(kit_get(c, key, sizes[i] ? sizes[i] : 1, &b, got) == ERR_OK, "GET of %zu bytes", sizes[i]);
        bool same = b->bytes == sizes[i] && memcmp(b->data, bytes, sizes[i]) == 0;
        buf_unref(b);
        CHECK(same, "%zu bytes came back differently", sizes[i]);
        struct objstore_req head = {.verb = OBJSTORE_HEAD, .key = key};
        kit_submit(c, &head);
        kit_wait(c);
        CHECK(head.err == ERR_OK && head.object_bytes == sizes[i], "HEAD says %" PRIu64, head.object_bytes);
        CHECK(put[0] && !strcmp(put, got) && !strcmp(put, head.etag), "ETags %s %s %s", put, got, head.etag);
        CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
    }
}

static void bodies_of_many_pieces(struct conformance *c)
{
    enum { PIECES = 3000 };
    static uint8_t bytes[PIECES * 40];
    static struct iovec iov[PIECES];
    size_t n = 0;
    kit_pattern(bytes, sizeof bytes, 77);
    for (size_t i = 0; i < PIECES; i++) {
        iov[i] = (struct iovec){bytes + n, bytes[i] % 40}; /* some of them empty */
        n += iov[i].iov_len;
    }
    const char *key = kit_key(c, "pieces");
    for (int hashed = 0; hashed < 2; hashed++) {
        struct sha256 h = sha256_of(bytes, n);
        struct objstore_req r = {.verb = OBJSTORE_PUT, .key = key, .body = iov, .body_count = PIECES};
        r.sha256 = hashed ? &h : NULL;
        kit_submit(c, &r);
        kit_wait(c);
        CHECK(r.err == ERR_OK, "PUT: %s", err_text(r.err));
        CHECK(kit_holds(c, key, bytes, n), "the pieces came back differently");
        CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
    }
}

static void ranges_and_limits(struct conformance *c)
{
    uint8_t bytes[10000];
    const char *key = kit_key(c, "range");
    kit_pattern(bytes, sizeof bytes, 3);
    CHECK(kit_put(c, key, bytes, sizeof bytes, OBJSTORE_ANY, NULL) == ERR_OK, "PUT");
    static const struct {
        uint64_t offset;
        size_t length;
        enum err err;
    } cases[] = {{0, 1, ERR_OK},           {0, 10000, ERR_OK},      {9999, 1, ERR_OK},
                 {4096, 4096, ERR_OK},     {1, 9999, ERR_OK},       {0, 10001, ERR_CORRUPT},
                 {9999, 2, ERR_CORRUPT},   {10000, 1, ERR_CORRUPT}, {20000, 5, ERR_CORRUPT},
                 {5000, 8000, ERR_CORRUPT}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf *b = NULL;
        enum err err = kit_range(c, key, cases[i].offset, cases[i].length, &b);
        bool right =
            err == cases[i].err &&
            (err || (b->bytes == cases[i].length && !memcmp(b->data, bytes + cases[i].offset, b->bytes)));
        buf_unref(b);
        CHECK(right, "bytes %" PRIu64 "+%zu: %s", cases[i].offset, cases[i].length, err_text(err));
    }
    CHECK(kit_get(c, key, 10000, NULL, NULL) == ERR_OK, "a limit that suffices");
    CHECK(kit_get(c, key, 9999, NULL, NULL) == ERR_CORRUPT, "a limit that is one short");
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
}

static void what_is_missing(struct conformance *c)
{
    const char *key = kit_key(c, "missing/deep/er");
    struct objstore_req head = {.verb = OBJSTORE_HEAD, .key = key};
    CHECK(kit_get(c, key, 100, NULL, NULL) == ERR_NOTFOUND, "GET");
    CHECK(kit_range(c, key, 0, 1, NULL) == ERR_NOTFOUND, "GET of a range");
    kit_submit(c, &head);
    kit_wait(c);
    CHECK(head.err == ERR_NOTFOUND, "HEAD: %s", err_text(head.err));
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
    struct objstore_req list;
    CHECK(kit_list(c, &list, kit_key(c, "missing/"), NULL, 10, false) == ERR_OK, "LIST");
    size_t n = list.entry_count;
    objstore_entries_free(list.entries, n);
    CHECK(n == 0 && !list.truncated, "LIST shows %zu", n);
}

static void replacing(struct conformance *c)
{
    const char *key = kit_key(c, "replace");
    char one[OBJSTORE_ETAG_MAX] = "", two[OBJSTORE_ETAG_MAX] = "";
    CHECK(kit_put(c, key, "first", 5, OBJSTORE_ANY, one) == ERR_OK, "PUT");
    CHECK(kit_put(c, key, "second!", 7, OBJSTORE_ANY, two) == ERR_OK, "PUT over it");
    CHECK(strcmp(one, two) != 0, "the ETag is still %s", one);
    CHECK(kit_holds(c, key, "second!", 7), "the old content is still there");
    CHECK(kit_put(c, key, "3", 1, OBJSTORE_ANY, NULL) == ERR_OK && kit_holds(c, key, "3", 1), "shorter");
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
    CHECK(kit_get(c, key, 100, NULL, NULL) == ERR_NOTFOUND, "GET after DELETE");
}

static void times_are_told(struct conformance *c)
{
    const char *key = kit_key(c, "servers/time");
    CHECK(kit_put(c, key, "x", 1, OBJSTORE_ANY, NULL) == ERR_OK, "PUT");
    struct objstore_req head = {.verb = OBJSTORE_HEAD, .key = key};
    struct objstore_req get = {.verb = OBJSTORE_GET, .key = key, .limit = 10};
    kit_submit(c, &head);
    kit_submit(c, &get);
    kit_wait(c);
    buf_unref(get.content);
    CHECK(head.err == ERR_OK && get.err == ERR_OK, "HEAD, GET");
    CHECK(head.date_ms > 0 && get.date_ms > 0 && head.modified_ms > 0,
          "the store does not say what time it is");
    CHECK(head.modified_ms == get.modified_ms, "HEAD and GET disagree on the time");
    int64_t age = head.date_ms - head.modified_ms;
    CHECK(age >= -1000 && age < 60000, "an object just written is %" PRId64 " ms old", age);
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
}

/* ----------------------------------------------------------------- conditions */

static void create_only(struct conformance *c)
{
    const char *key = kit_key(c, "create/one");
    CHECK(kit_put(c, key, "first", 5, OBJSTORE_CREATE, NULL) == ERR_OK, "the first");
    CHECK(kit_put(c, key, "other", 5, OBJSTORE_CREATE, NULL) == ERR_CONFLICT, "the second");
    CHECK(kit_holds(c, key, "first", 5), "the second replaced the first");
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
    CHECK(kit_put(c, key, "third", 5, OBJSTORE_CREATE, NULL) == ERR_OK, "after DELETE");
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
}

static void if_match(struct conformance *c)
{
    const char *key = kit_key(c, "match/one"), *missing = kit_key(c, "match/none"),
               *deep = kit_key(c, "match/a/b/c");
    char one[OBJSTORE_ETAG_MAX] = "", two[OBJSTORE_ETAG_MAX];
    CHECK(kit_put(c, key, "version 1", 9, OBJSTORE_CREATE, one) == ERR_OK, "create");
    memcpy(two, one, sizeof two);
    CHECK(kit_put(c, key, "version 2", 9, OBJSTORE_MATCH, two) == ERR_OK, "the right ETag");
    CHECK(strcmp(one, two) != 0, "the ETag is still %s", one);
    CHECK(kit_put(c, key, "version X", 9, OBJSTORE_MATCH, one) == ERR_CONFLICT, "a stale ETag");
    CHECK(kit_holds(c, key, "version 2", 9), "refused and applied");
    CHECK(kit_put(c, missing, "x", 1, OBJSTORE_MATCH, two) == ERR_CONFLICT, "a missing key");
    CHECK(kit_get(c, missing, 10, NULL, NULL) == ERR_NOTFOUND, "If-Match made a key");
    CHECK(kit_put(c, deep, "x", 1, OBJSTORE_MATCH, two) == ERR_CONFLICT, "a missing folder");
    CHECK(kit_put(c, key, "version 3", 9, OBJSTORE_MATCH, two) == ERR_OK, "the ETag a MATCH gave");
    char read[OBJSTORE_ETAG_MAX] = "";
    CHECK(kit_get(c, key, 100, NULL, read) == ERR_OK, "GET");
    CHECK(kit_put(c, key, "version 4", 9, OBJSTORE_MATCH, read) == ERR_OK, "the ETag a GET gave");
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
    CHECK(kit_put(c, key, "version 5", 9, OBJSTORE_MATCH, read) == ERR_CONFLICT, "after DELETE");
}

/* One wins: OK to exactly one, or to none where somebody was not told, and its content is there. */
static void race(struct conformance *c, const char *key, enum objstore_condition condition, const char *etag,
                 size_t n, size_t bytes)
{
    struct kit_put *puts = calloc(n, sizeof *puts);
    uint8_t *bodies = calloc(n, bytes);
    size_t winners = 0, unsure = 0, winner = 0, strange = 0;
    for (size_t i = 0; i < n; i++) {
        memset(bodies + i * bytes, 'A' + (int)i, bytes);
        kit_put_init(&puts[i], key, bodies + i * bytes, bytes, condition, etag);
        kit_submit(c, &puts[i].req);
    }
    kit_wait(c);
    for (size_t i = 0; i < n; i++) {
        enum err err = puts[i].req.err;
        winners += err == ERR_OK;
        unsure += err == ERR_UNKNOWN;
        strange += err != ERR_OK && err != ERR_UNKNOWN && err != ERR_CONFLICT;
        if (err == ERR_OK)
            winner = i;
    }
    bool held = winners == 1 && kit_holds(c, key, bodies + winner * bytes, bytes);
    free(puts);
    free(bodies);
    CHECK(strange == 0, "%zu answers are neither OK nor CONFLICT nor UNKNOWN", strange);
    CHECK(winners == 1 || (winners == 0 && unsure > 0), "%zu of %zu won", winners, n);
    CHECK(winners == 0 || held, "what the winner wrote is not there");
}

static void creates_at_once(struct conformance *c)
{
    for (int i = 0; i < 20; i++) {
        const char *key = kit_key(c, "race/create-%d", i);
        race(c, key, OBJSTORE_CREATE, NULL, 24, i % 2 ? 100 : 100000);
        CHECK_FAILED();
        CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
    }
}

static void matches_at_once(struct conformance *c)
{
    const char *key = kit_key(c, "race/match");
    char etag[OBJSTORE_ETAG_MAX];
    for (int i = 0; i < 20; i++) {
        char start[32];
        int n = snprintf(start, sizeof start, "start %d", i);
        CHECK(kit_put(c, key, start, (size_t)n, OBJSTORE_ANY, etag) == ERR_OK, "PUT");
        race(c, key, OBJSTORE_MATCH, etag, 24, i % 2 ? 100 : 100000);
        CHECK_FAILED();
    }
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
}

static bool uniform(const struct buf *b)
{
    for (size_t i = 1; i < b->bytes; i++)
        if (b->data[i] != b->data[0])
            return false;
    return true;
}

static void readers_see_whole_objects(struct conformance *c)
{
    enum { WRITERS = 4, READERS = 8, BYTES = 1 << 20 };
    static uint8_t bodies[WRITERS][BYTES];
    const char *key = kit_key(c, "whole");
    for (int i = 0; i < WRITERS; i++)
        memset(bodies[i], 'a' + i, sizeof bodies[i]);
    CHECK(kit_put(c, key, bodies[0], BYTES, OBJSTORE_ANY, NULL) == ERR_OK, "PUT");
    for (int round = 0; round < 10; round++) {
        struct kit_put puts[WRITERS];
        struct objstore_req gets[READERS];
        for (int i = 0; i < READERS; i++) {
            gets[i] = (struct objstore_req){.verb = OBJSTORE_GET, .key = key, .limit = BYTES};
            kit_submit(c, &gets[i]);
            if (i >= WRITERS)
                continue;
            kit_put_init(&puts[i], key, bodies[i], (size_t)BYTES - (size_t)i * 1000, OBJSTORE_ANY, NULL);
            kit_submit(c, &puts[i].req);
        }
        kit_wait(c);
        bool good = true;
        for (int i = 0; i < READERS; i++) {
            good = good && gets[i].err == ERR_OK && uniform(gets[i].content) &&
                   gets[i].content->bytes == BYTES - (size_t)(gets[i].content->data[0] - 'a') * 1000;
            buf_unref(gets[i].content);
        }
        CHECK(good, "a mixture of two versions, or none, was read");
    }
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
}

/* ------------------------------------------------------------ deleting, cancel */

static void deleting_many(struct conformance *c)
{
    enum { KEYS = OBJSTORE_DELETE_MAX };
    static char text[KEYS][OBJSTORE_KEY_MAX];
    static const char *keys[KEYS];
    static struct kit_put puts[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        snprintf(text[i], sizeof text[i], "%smany/%zu/%03zu", c->prefix, i % 7, i);
        keys[i] = text[i];
        if (i % 3)
            continue; /* two of three are missing */
        kit_put_init(&puts[i], keys[i], "x", 1, OBJSTORE_CREATE, NULL);
        kit_submit(c, &puts[i].req);
    }
    kit_wait(c);
    CHECK(kit_delete(c, keys, KEYS) == ERR_OK, "DELETE of %d keys", KEYS);
    struct objstore_req list;
    CHECK(kit_list(c, &list, kit_key(c, "many/"), NULL, 10, false) == ERR_OK, "LIST");
    size_t left = list.entry_count;
    objstore_entries_free(list.entries, left);
    CHECK(left == 0, "%zu keys are left", left);
    CHECK(kit_delete(c, keys, KEYS) == ERR_OK, "DELETE of what is gone");
    CHECK(kit_delete(c, keys, 0) == ERR_INVALID, "DELETE of nothing");
}

static void canceling(struct conformance *c)
{
    enum { N = 30 };
    static struct kit_put puts[N];
    const char *key = kit_key(c, "cancel/put");
    for (int i = 0; i < N; i++) {
        kit_put_init(&puts[i], key, "x", 1, i % 2 ? OBJSTORE_ANY : OBJSTORE_CREATE, NULL);
        puts[i].req.priority = i % 3 ? OBJSTORE_BACKGROUND : OBJSTORE_DEMAND;
        kit_submit(c, &puts[i].req);
        if (i % 5 != 0)
            objstore_cancel(&puts[i].req);
    }
    kit_wait(c);
    bool good = true;
    for (int i = 0; i < N; i++) {
        enum err err = puts[i].req.err;
        bool sent = err == ERR_OK || (i % 2 == 0 && (err == ERR_CONFLICT || err == ERR_UNKNOWN));
        good = good && (sent || (i % 5 != 0 && err == ERR_CANCELED));
        objstore_cancel(&puts[i].req); /* harmless now */
    }
    CHECK(good, "a canceled request is answered with neither CANCELED nor what had happened");
    CHECK(kit_delete_one(c, key) == ERR_OK, "DELETE");
}

static void keys_that_are_none(struct conformance *c)
{
    static char longest[OBJSTORE_KEY_MAX + 1];
    for (size_t i = 0; i < OBJSTORE_KEY_MAX; i++)
        longest[i] = i % 100 == 50 ? '/' : 'k';
    const char *const bad[] = {"",         "/a",    "a/",       "a//b",         ".",
                               "..",       "a/./b", "../a",     "a/../b",       "a\nb",
                               "a\x7f",    "a\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80",
                               "\xe2\x82", longest};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        CHECK(kit_get(c, bad[i], 10, NULL, NULL) == ERR_INVALID, "GET of \"%s\"", bad[i]);
        CHECK(kit_put(c, bad[i], "x", 1, OBJSTORE_ANY, NULL) == ERR_INVALID, "PUT of \"%s\"", bad[i]);
        CHECK(kit_delete_one(c, bad[i]) == ERR_INVALID, "DELETE of \"%s\"", bad[i]);
    }
    longest[OBJSTORE_KEY_MAX - 1] = '\0';
    if (c->prefix[0] == '\0') {
        CHECK(kit_put(c, longest, "x", 1, OBJSTORE_ANY, NULL) == ERR_OK, "the longest key");
        CHECK(kit_holds(c, longest, "x", 1) && kit_delete_one(c, longest) == ERR_OK, "the longest key");
    }
}

/* ------------------------------------------------------------------------- all */

void conformance_list_rules(struct conformance *,
                            void (*run)(struct conformance *, const char *, void (*)(struct conformance *)));

static unsigned failures;

static void run_rule(struct conformance *c, const char *name, void (*rule)(struct conformance *))
{
    c->failure[0] = '\0';
    rule(c);
    kit_wait(c);
    failures += c->failure[0] != '\0';
    c->report(c, name, c->failure[0] ? c->failure : NULL);
}

unsigned conformance_run(struct conformance *c)
{
#define RULE(name)                                                                                           \
    {                                                                                                        \
#name, name                                                                                          \
    }
    static const struct {
        const char *name;
        void (*rule)(struct conformance *);
    } rules[] = {RULE(sizes_come_back),
                 RULE(bodies_of_many_pieces),
                 RULE(ranges_and_limits),
                 RULE(what_is_missing),
                 RULE(replacing),
                 RULE(times_are_told),
                 RULE(create_only),
                 RULE(if_match),
                 RULE(creates_at_once),
                 RULE(matches_at_once),
                 RULE(readers_see_whole_objects),
                 RULE(deleting_many),
                 RULE(canceling),
                 RULE(keys_that_are_none)};
    failures = 0;
    for (size_t i = 0; i < COUNT_OF(rules); i++)
        run_rule(c, rules[i].name, rules[i].rule);
    conformance_list_rules(c, run_rule);
    return failures;
}
