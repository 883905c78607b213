/* The directory store on a full disk: a small tmpfs that only the test's process sees. */
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "dir_kit.h"
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

static bool small_disk(const char *where, struct opened *o)
{
    if (!private_mounts() || mount("tmpfs", where, "tmpfs", 0, "size=6m,mode=700"))
        return false;
    opened_init(o, where);
    return true;
}

static unsigned long free_blocks(const char *where)
{
    struct statvfs st;
    return statvfs(where, &st) ? 0 : st.f_bfree;
}

static unsigned fills; /* objects tried */
static const uint8_t megabyte[1 << 20] = {1};

/* Down to the last block. */
static bool fill_up(struct opened *o)
{
    for (size_t bytes = sizeof megabyte; bytes >= 1; bytes /= 2)
        for (enum err err = ERR_OK; err == ERR_OK;) {
            char key[64];
            snprintf(key, sizeof key, "fill/%u", fills++);
            err = kit_put(&o->c, key, megabyte, bytes, OBJSTORE_CREATE, NULL);
            if (err && err != ERR_NOSPACE)
                return false;
        }
    return true;
}

#define EXPECT(condition)                                                                                    \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "# line %d: %s\n", __LINE__, #condition);                                        \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

static int on_a_full_disk(const char *where, unsigned number, int fd)
{
    (void)number;
    (void)fd;
    struct opened o;
    char etag[OBJSTORE_ETAG_MAX];
    if (!small_disk(where, &o))
        return CHILD_SKIPS;
    EXPECT(kit_put(&o.c, "a/old", "old", 3, OBJSTORE_CREATE, etag) == ERR_OK);
    EXPECT(fill_up(&o));
    unsigned long left = free_blocks(where);
    EXPECT(kit_put(&o.c, "a/old", megabyte, 100000, OBJSTORE_ANY, NULL) == ERR_NOSPACE);
    EXPECT(kit_put(&o.c, "a/old", megabyte, 100000, OBJSTORE_MATCH, etag) == ERR_NOSPACE);
    EXPECT(kit_put(&o.c, "a/new", megabyte, 100000, OBJSTORE_CREATE, NULL) == ERR_NOSPACE);
    EXPECT(free_blocks(where) == left);
    EXPECT(kit_holds(&o.c, "a/old", "old", 3));
    EXPECT(kit_get(&o.c, "a/new", sizeof megabyte, NULL, NULL) == ERR_NOTFOUND);
    EXPECT(kit_delete_one(&o.c, "fill/0") == ERR_OK); /* which has room for it */
    EXPECT(kit_put(&o.c, "a/new", megabyte, 100000, OBJSTORE_CREATE, NULL) == ERR_OK);
    opened_finish(&o);
    return 0;
}

static size_t beat_text(char *text, size_t room, unsigned server, unsigned beat)
{
    int n = snprintf(text, room, "server %u, beat %u\n", server, beat);
    memset(text + n, '.', 1500); /* a real one is about that long */
    return (size_t)n + 1500;
}

static int beats_on_a_full_disk(const char *where, unsigned number, int fd)
{
    (void)number;
    (void)fd;
    enum { SERVERS = 4, BEATS = 60 };
    char etags[SERVERS][OBJSTORE_ETAG_MAX], text[2000], key[32];
    struct opened o;
    if (!small_disk(where, &o))
        return CHILD_SKIPS;
    size_t n = beat_text(text, sizeof text, 0, 0);
    EXPECT(kit_put(&o.c, "servers/0", text, n, OBJSTORE_CREATE, etags[0]) == ERR_OK);
    EXPECT(fill_up(&o));
    EXPECT(kit_put(&o.c, "other", text, n, OBJSTORE_ANY, NULL) == ERR_NOSPACE);
    for (unsigned server = 1; server < SERVERS; server++) { /* the others join now */
        snprintf(key, sizeof key, "servers/%u", server);
        n = beat_text(text, sizeof text, server, 0);
        EXPECT(kit_put(&o.c, key, text, n, OBJSTORE_CREATE, etags[server]) == ERR_OK);
        EXPECT(kit_put(&o.c, key, text, n, OBJSTORE_CREATE, NULL) == ERR_CONFLICT);
    }
    for (unsigned beat = 1; beat < BEATS; beat++) {
        EXPECT(fill_up(&o)); /* others take whatever gets free */
        for (unsigned server = 0; server < SERVERS; server++) {
            char stale[OBJSTORE_ETAG_MAX];
            memcpy(stale, etags[server], sizeof stale);
            snprintf(key, sizeof key, "servers/%u", server);
            n = beat_text(text, sizeof text, server, beat);
            EXPECT(kit_put(&o.c, key, text, n, OBJSTORE_MATCH, etags[server]) == ERR_OK);
            EXPECT(kit_holds(&o.c, key, text, n));
            EXPECT(kit_put(&o.c, key, text, n - 1, OBJSTORE_MATCH, stale) == ERR_CONFLICT);
        }
    }
    EXPECT(fill_up(&o));
    EXPECT(kit_put(&o.c, "other", text, n, OBJSTORE_ANY, NULL) == ERR_NOSPACE);
    for (unsigned server = 0; server < SERVERS; server++) {
        snprintf(key, sizeof key, "servers/%u", server);
        n = beat_text(text, sizeof text, server, BEATS - 1);
        EXPECT(kit_holds(&o.c, key, text, n));
    }
    opened_finish(&o);
    opened_init(&o, where); /* a server starts while the disk is full */
    EXPECT(kit_put(&o.c, "servers/late", text, n, OBJSTORE_CREATE, NULL) == ERR_OK);
    opened_finish(&o);
    return 0;
}

/* With room again the reserve is filled up by itself. */
static int reserve_comes_back(const char *where, unsigned number, int fd)
{
    (void)number;
    (void)fd;
    char text[2000], key[32];
    struct opened o;
    if (!small_disk(where, &o))
        return CHILD_SKIPS;
    size_t n = beat_text(text, sizeof text, 0, 0);
    EXPECT(kit_put(&o.c, "servers/0", text, n, OBJSTORE_CREATE, NULL) == ERR_OK);
    unsigned joined = 1;
    for (unsigned round = 0; round < 3; round++) {
        unsigned first_fill = fills;
        EXPECT(fill_up(&o));
        unsigned before = joined;
        for (enum err err = ERR_OK; err == ERR_OK; joined += err == ERR_OK) {
            snprintf(key, sizeof key, "servers/%u", joined);
            err = kit_put(&o.c, key, text, n, OBJSTORE_CREATE, NULL);
            EXPECT(err == ERR_OK || err == ERR_NOSPACE);
        }
        EXPECT(joined - before >= 14);
        for (unsigned i = 0; i < 3; i++) {
            snprintf(key, sizeof key, "fill/%u", first_fill + i);
            EXPECT(kit_delete_one(&o.c, key) == ERR_OK);
        }
        EXPECT(kit_put(&o.c, "any", "x", 1, OBJSTORE_ANY, NULL) == ERR_OK);
    }
    opened_finish(&o);
    return 0;
}

static void in_a_child(int (*run)(const char *, unsigned, int))
{
    int status = child_wait(child_start(run, path, 0, -1));
    if (status == CHILD_SKIPS)
        skip();
    assert_int_equal(status, 0);
}

static void nothing_changes_on_a_full_disk(void **state)
{
    (void)state;
    in_a_child(on_a_full_disk);
}

static void heartbeats_go_on_on_a_full_disk(void **state)
{
    (void)state;
    in_a_child(beats_on_a_full_disk);
}

static void the_reserve_comes_back(void **state)
{
    (void)state;
    in_a_child(reserve_comes_back);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(nothing_changes_on_a_full_disk), T(heartbeats_go_on_on_a_full_disk), T(the_reserve_comes_back))
