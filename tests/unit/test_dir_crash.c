/* The directory store among processes: races for one key, and processes killed at any moment. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "dir_kit.h"
#include "objstore/dir.h"
#include "unit.h"

static char path[SCRATCH_MAX];

static int setup(void **state)
{
    (void)state;
    scratch_make(path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    scratch_remove(path);
    return 0;
}

static void run_all(int (*run)(const char *, unsigned, int), unsigned count, int fd)
{
    pid_t pids[8];
    for (unsigned i = 0; i < count; i++)
        pids[i] = child_start(run, path, i, fd);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(child_wait(pids[i]), 0);
}

/* ---------------------------------------------------------------------- creating */

enum { PROCESSES = 4, KEYS = 100, INCREMENTS = 40 };

static int create_all(const char *where, unsigned number, int fd)
{
    static struct kit_put puts[KEYS];
    static char text[KEYS][32], key[KEYS][OBJSTORE_KEY_MAX];
    struct opened mine;
    opened_init(&mine, where);
    for (unsigned i = 0; i < KEYS; i++) {
        snprintf(text[i], sizeof text[i], "process %u", number);
        snprintf(key[i], sizeof key[i], "race/%u/%u", i % 5, i);
        kit_put_init(&puts[i], key[i], text[i], strlen(text[i]), OBJSTORE_CREATE, NULL);
        kit_submit(&mine.c, &puts[i].req);
    }
    kit_wait(&mine.c);
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t won[2] = {(uint8_t)i, (uint8_t)number};
        if (puts[i].req.err == ERR_OK && write(fd, won, sizeof won) != sizeof won)
            return 1;
        if (puts[i].req.err != ERR_OK && puts[i].req.err != ERR_CONFLICT)
            return 2;
    }
    opened_finish(&mine);
    return 0;
}

static void one_process_creates(void **state)
{
    (void)state;
    int fds[2], winner[KEYS];
    uint8_t won[2];
    assert_int_equal(pipe(fds), 0);
    memset(winner, -1, sizeof winner);
    run_all(create_all, PROCESSES, fds[1]);
    close(fds[1]);
    while (read(fds[0], won, sizeof won) == sizeof won) {
        assert_int_equal(winner[won[0]], -1);
        winner[won[0]] = won[1];
    }
    close(fds[0]);
    struct opened o;
    opened_init(&o, path);
    for (unsigned i = 0; i < KEYS; i++) {
        char text[32], key[64];
        snprintf(text, sizeof text, "process %d", winner[i]);
        snprintf(key, sizeof key, "race/%u/%u", i % 5, i);
        assert_true(kit_holds(&o.c, key, text, strlen(text)));
    }
    opened_finish(&o);
}

/* --------------------------------------------------------------------- replacing */

static int increment(const char *where, unsigned number, int fd)
{
    (void)fd;
    struct opened mine;
    opened_init(&mine, where);
    for (unsigned done = 0; done < INCREMENTS;) {
        char etag[OBJSTORE_ETAG_MAX], text[64];
        struct buf *b;
        if (kit_get(&mine.c, "counter", 64, &b, etag))
            return 1;
        snprintf(text, sizeof text, "%d by %u, its %uth", atoi((char *)b->data) + 1, number, done);
        buf_unref(b);
        enum err err = kit_put(&mine.c, "counter", text, strlen(text) + 1, OBJSTORE_MATCH, etag);
        if (err != ERR_OK && err != ERR_CONFLICT)
            return 2;
        done += err == ERR_OK;
    }
    opened_finish(&mine);
    return 0;
}

static void no_increment_is_lost(void **state)
{
    (void)state;
    struct opened o;
    struct buf *b;
    opened_init(&o, path);
    assert_int_equal(kit_put(&o.c, "counter", "0", 2, OBJSTORE_CREATE, NULL), ERR_OK);
    run_all(increment, PROCESSES, -1);
    assert_int_equal(kit_get(&o.c, "counter", 64, &b, NULL), ERR_OK);
    assert_int_equal(atoi((char *)b->data), PROCESSES * INCREMENTS);
    buf_unref(b);
    opened_finish(&o);
}

/* If-Match cannot come after what made it fail: whatever else was answered OK has the last word. */
static void if_match_against(enum objstore_verb verb)
{
    static char large[100000];
    struct opened o;
    struct objstore *other;
    struct complaint why;
    unsigned both = 0;
    opened_init(&o, path);
    assert_int_equal(dir_store_create(o.loop, path, &other, &why), ERR_OK);
    for (unsigned i = 0; i < 150; i++) {
        char start[32], etag[OBJSTORE_ETAG_MAX];
        snprintf(start, sizeof start, "start %u", i);
        snprintf(large, sizeof large, "match %u", i);
        assert_int_equal(kit_put(&o.c, "key", start, strlen(start), OBJSTORE_ANY, etag), ERR_OK);
        struct kit_put match, any;
        const char *key = "key";
        struct objstore_req gone = {.verb = OBJSTORE_DELETE, .key = "", .keys = &key, .key_count = 1};
        kit_put_init(&match, key, large, i % 5 ? 10 : sizeof large, OBJSTORE_MATCH, etag);
        kit_put_init(&any, key, "any", i % 2 ? 3 : 1, OBJSTORE_ANY, NULL);
        kit_submit(&o.c, &match.req);
        o.c.store = i % 3 ? o.store : other; /* from the same process, or as if from another */
        kit_submit(&o.c, verb == OBJSTORE_PUT ? &any.req : &gone);
        o.c.store = o.store;
        kit_wait(&o.c);
        assert_int_equal(verb == OBJSTORE_PUT ? any.req.err : gone.err, ERR_OK);
        assert_true(match.req.err == ERR_OK || match.req.err == ERR_CONFLICT);
        both += match.req.err == ERR_OK;
        if (verb == OBJSTORE_PUT)
            assert_true(kit_holds(&o.c, key, "any", i % 2 ? 3 : 1));
        else
            assert_int_equal(kit_get(&o.c, key, 1 << 20, NULL, NULL), ERR_NOTFOUND);
    }
    print_message("# If-Match came first in %u of 150 rounds\n", both);
    objstore_destroy(other);
    opened_finish(&o);
}

static void if_match_against_put(void **state)
{
    (void)state;
    if_match_against(OBJSTORE_PUT);
}

static void if_match_against_delete(void **state)
{
    (void)state;
    if_match_against(OBJSTORE_DELETE);
}

/* Folders come and go while others put into them. */
static int put_and_delete(const char *where, unsigned number, int fd)
{
    (void)fd;
    struct opened mine;
    opened_init(&mine, where);
    for (unsigned i = 0; i < 60; i++) {
        char key[64];
        snprintf(key, sizeof key, "deep/%u/folder/%u-%u", i % 2, number, i);
        enum objstore_condition condition = i % 2 ? OBJSTORE_ANY : OBJSTORE_CREATE;
        if (kit_put(&mine.c, key, key, strlen(key), condition, NULL) ||
            !kit_holds(&mine.c, key, key, strlen(key)))
            return 1;
        if (kit_delete_one(&mine.c, key) || kit_get(&mine.c, key, 100, NULL, NULL) != ERR_NOTFOUND)
            return 2;
    }
    opened_finish(&mine);
    return 0;
}

static void folders_come_and_go(void **state)
{
    (void)state;
    run_all(put_and_delete, PROCESSES, -1);
    assert_int_equal(access(path, F_OK), 0);
    char deep[SCRATCH_MAX + 8];
    snprintf(deep, sizeof deep, "%s/deep", path);
    assert_int_equal(rmdir(deep), 0); /* nothing is left in it */
}

/* ----------------------------------------------------------------------- killing */

/* Each object says how long it is and what it is made of. */
enum { BODY_MAX = 200000 };

static size_t make_body(uint8_t *body, uint64_t seed)
{
    size_t n = 100 + seed * 7919 % (BODY_MAX - 100);
    put_le64(body, seed);
    put_le64(body + 8, n);
    kit_pattern(body + 16, n - 16, seed);
    return n;
}

static int put_for_ever(const char *where, unsigned number, int fd)
{
    enum { AT_ONCE = 4 };
    static uint8_t bodies[AT_ONCE][BODY_MAX];
    static struct kit_put puts[AT_ONCE];
    struct opened mine;
    opened_init(&mine, where);
    for (uint64_t seed = number * 1000000;;) {
        for (unsigned i = 0; i < AT_ONCE; i++, seed++) {
            static char keys[AT_ONCE][64];
            snprintf(keys[i], sizeof keys[i], i % 2 ? "objects/%u" : "new/%u/%u-%u",
                     i % 2 ? i : (unsigned)seed % 3, number, (unsigned)seed);
            size_t n = make_body(bodies[i], seed);
            kit_put_init(&puts[i], keys[i], bodies[i], n, i % 2 ? OBJSTORE_ANY : OBJSTORE_CREATE, NULL);
            kit_submit(&mine.c, &puts[i].req);
        }
        kit_wait(&mine.c);
        for (unsigned i = 0; i < AT_ONCE; i++)
            if (puts[i].req.err)
                return 1;
        if (write(fd, "x", 1) != 1)
            return 2;
    }
}

static void check_whole(struct opened *o, const char *key)
{
    static uint8_t expected[BODY_MAX];
    struct buf *b;
    assert_int_equal(kit_get(&o->c, key, BODY_MAX, &b, NULL), ERR_OK);
    assert_true(b->bytes >= 16);
    size_t n = make_body(expected, get_le64(b->data));
    assert_true(b->bytes == n && memcmp(b->data, expected, n) == 0);
    buf_unref(b);
}

static void killed_writers_leave_whole_objects(void **state)
{
    (void)state;
    size_t objects = 0;
    for (unsigned round = 0; round < 15; round++) {
        int fds[2];
        char c;
        assert_int_equal(pipe(fds), 0);
        pid_t pid = child_start(put_for_ever, path, round, fds[1]);
        for (unsigned i = 0; i < 1 + round % 5; i++)
            assert_int_equal(read(fds[0], &c, 1), 1);
        kill(pid, SIGKILL);
        assert_int_equal(child_wait(pid), 1000 + SIGKILL);
        close(fds[0]);
        close(fds[1]);
    }
    struct opened o;
    opened_init(&o, path);
    struct objstore_req list;
    assert_int_equal(kit_list(&o.c, &list, "", NULL, 1000, false), ERR_OK);
    assert_false(list.truncated);
    for (; objects < list.entry_count; objects++)
        check_whole(&o, list.entries[objects].key);
    objstore_entries_free(list.entries, list.entry_count);
    assert_true(objects >= 2 * 45);
    opened_finish(&o);
    char tmp[SCRATCH_MAX + 32];
    snprintf(tmp, sizeof tmp, "%s/.ashlar/tmp", path);
    assert_int_equal(rmdir(tmp), 0); /* nothing is left in it */
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(one_process_creates), T(no_increment_is_lost), T(if_match_against_put),
          T(if_match_against_delete), T(folders_come_and_go), T(killed_writers_leave_whole_objects))
