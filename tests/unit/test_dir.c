/* What the directory store promises beyond objstore.h: what is on the disk, and what is in the way there. */
#include "objstore/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dir_kit.h"
#include "loop/uv_loop.h"
#include "unit.h"

static char path[SCRATCH_MAX];
static struct opened o;

static int setup(void **state)
{
    (void)state;
    scratch_make(path);
    opened_init(&o, path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    opened_finish(&o);
    scratch_remove(path);
    return 0;
}

static void report_failure(struct conformance *c, const char *rule, const char *failure)
{
    (void)c;
    if (failure)
        fprintf(stderr, "# %s: %s\n", rule, failure);
}

static const char *at(const char *name)
{
    static char full[4][SCRATCH_MAX + OBJSTORE_KEY_MAX];
    static unsigned next;
    char *out = full[next++ % 4];
    snprintf(out, sizeof full[0], "%s/%s", path, name);
    return out;
}

static enum err put(const char *key, const char *text)
{
    return kit_put(&o.c, key, text, strlen(text), OBJSTORE_ANY, NULL);
}

static bool exists(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

static void a_file_is_the_object(void **state)
{
    (void)state;
    struct stat st;
    char text[8] = "";
    assert_int_equal(put("blocks/abc", "content"), ERR_OK);
    int fd = open(at("blocks/abc"), O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text), 7);
    assert_string_equal(text, "content");
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
    close(fd);
    assert_int_equal(stat(at("blocks"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void etags_are_of_the_content(void **state)
{
    (void)state;
    char one[OBJSTORE_ETAG_MAX], two[OBJSTORE_ETAG_MAX];
    struct sha256 h = sha256_of("same", 4);
    char hex[SHA256_HEX];
    assert_int_equal(kit_put(&o.c, "a", "same", 4, OBJSTORE_ANY, one), ERR_OK);
    assert_int_equal(kit_put(&o.c, "b", "same", 4, OBJSTORE_CREATE, two), ERR_OK);
    assert_string_equal(one, two);
    snprintf(hex, sizeof hex, "%02x%02x", h.bytes[0], h.bytes[1]);
    assert_int_equal(strncmp(one, hex, 4), 0);
}

static void listed_keys(const char *expected)
{
    struct objstore_req r;
    char all[512] = "";
    assert_int_equal(kit_list(&o.c, &r, "", NULL, 100, false), ERR_OK);
    for (size_t i = 0, n = 0; i < r.entry_count; i++)
        n += (size_t)snprintf(all + n, sizeof all - n, "%s ", r.entries[i].key);
    objstore_entries_free(r.entries, r.entry_count);
    assert_string_equal(all, expected);
}

static void its_own_folder_is_no_key(void **state)
{
    (void)state;
    assert_int_equal(put("a", "x"), ERR_OK);
    assert_int_equal(put(".ashlar", "x"), ERR_INVALID);
    assert_int_equal(put(".ashlar/lock", "x"), ERR_INVALID);
    assert_int_equal(kit_get(&o.c, ".ashlar/lock", 100, NULL, NULL), ERR_INVALID);
    assert_int_equal(kit_delete_one(&o.c, ".ashlar/lock"), ERR_INVALID);
    assert_int_equal(put(".ashlar2", "x"), ERR_OK);
    assert_true(exists(".ashlar/lock"));
    listed_keys(".ashlar2 a ");
    struct objstore_req r;
    assert_int_equal(kit_list(&o.c, &r, ".ashlar/", NULL, 100, false), ERR_OK);
    objstore_entries_free(r.entries, r.entry_count);
    assert_int_equal(r.entry_count, 0);
}

static void links_are_not_followed(void **state)
{
    (void)state;
    char outside[SCRATCH_MAX];
    scratch_make(outside);
    char secret[SCRATCH_MAX + 8];
    snprintf(secret, sizeof secret, "%s/secret", outside);
    int fd = open(secret, O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "secret", 6), 6);
    close(fd);
    assert_int_equal(symlink(outside, at("folder")), 0);
    assert_int_equal(symlink(secret, at("file")), 0);

    assert_int_equal(kit_get(&o.c, "folder/secret", 100, NULL, NULL), ERR_NOTFOUND);
    assert_int_equal(kit_get(&o.c, "file", 100, NULL, NULL), ERR_INVALID);
    assert_int_equal(put("folder/new", "x"), ERR_INVALID);
    assert_int_equal(kit_put(&o.c, "file", "x", 1, OBJSTORE_CREATE, NULL), ERR_CONFLICT);
    assert_int_equal(kit_delete_one(&o.c, "folder/secret"), ERR_OK);
    listed_keys("");
    assert_int_equal(put("file", "replaced"), ERR_OK); /* the link, not what it points to */
    assert_true(kit_holds(&o.c, "file", "replaced", 8));
    struct stat st;
    assert_int_equal(stat(secret, &st), 0);
    assert_int_equal(st.st_size, 6);
    scratch_remove(outside);
}

static void what_is_in_the_way_is_told(void **state)
{
    (void)state;
    assert_int_equal(put("a/b", "x"), ERR_OK);
    assert_int_equal(put("a", "x"), ERR_INVALID);
    assert_int_equal(kit_put(&o.c, "a", "x", 1, OBJSTORE_CREATE, NULL), ERR_INVALID);
    assert_int_equal(kit_get(&o.c, "a", 10, NULL, NULL), ERR_NOTFOUND);
    assert_int_equal(put("a/b/c", "x"), ERR_INVALID);
    assert_int_equal(kit_get(&o.c, "a/b/c", 10, NULL, NULL), ERR_NOTFOUND);
    assert_int_equal(mkfifo(at("pipe"), 0600), 0);
    assert_int_equal(kit_get(&o.c, "pipe", 10, NULL, NULL), ERR_INVALID);
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    assert_int_equal(put(name, "x"), ERR_INVALID);
    name[255] = '\0';
    assert_int_equal(put(name, "x"), ERR_OK);
    int fd = open(at("bad\nname"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    fd = open(at("bad\xff"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    assert_int_equal(kit_delete_one(&o.c, name), ERR_OK);
    listed_keys("a/b ");
}

static void folders_go_with_their_last_object(void **state)
{
    (void)state;
    assert_int_equal(put("exports/x/manifest", "m"), ERR_OK);
    assert_int_equal(put("exports/x/id/1-a/0", "r"), ERR_OK);
    assert_int_equal(put("exports/x/id/1-a/1", "r"), ERR_OK);
    assert_int_equal(kit_delete_one(&o.c, "exports/x/id/1-a/0"), ERR_OK);
    assert_true(exists("exports/x/id/1-a"));
    assert_int_equal(kit_delete_one(&o.c, "exports/x/id/1-a/1"), ERR_OK);
    assert_false(exists("exports/x/id"));
    assert_int_equal(put("exports/x/id/1-a/2", "r"), ERR_OK);
    assert_true(kit_holds(&o.c, "exports/x/id/1-a/2", "r", 1));
    const char *both[] = {"exports/x/manifest", "exports/x/id/1-a/2"};
    assert_int_equal(kit_delete(&o.c, both, 2), ERR_OK);
    assert_false(exists("exports/x"));
    assert_true(exists("exports"));
}

/* A second store on the same directory removes a folder that the first has open, and makes it again. */
static void folders_made_again_by_others(void **state)
{
    (void)state;
    struct opened other;
    opened_init(&other, path);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(put("a/b/c/mine", "1"), ERR_OK);
        assert_int_equal(kit_delete_one(&other.c, "a/b/c/mine"), ERR_OK);
        assert_false(exists("a/b"));
        assert_int_equal(kit_put(&other.c, "a/b/c/yours", "2", 1, OBJSTORE_CREATE, NULL), ERR_OK);
        assert_true(kit_holds(&o.c, "a/b/c/yours", "2", 1));
        listed_keys("a/b/c/yours ");
        assert_int_equal(kit_put(&o.c, "a/b/c/yours", "2", 1, OBJSTORE_CREATE, NULL), ERR_CONFLICT);
        assert_int_equal(kit_delete_one(&o.c, "a/b/c/yours"), ERR_OK);
        assert_int_equal(kit_get(&other.c, "a/b/c/yours", 10, NULL, NULL), ERR_NOTFOUND);
    }
    opened_finish(&other);
}

static void leftovers_of_the_dead_are_removed(void **state)
{
    (void)state;
    int fd = open(at(".ashlar/tmp/0123456789abcdef-0000000000000001"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    fd = open(at(".ashlar/tmp/unknown"), O_CREAT | O_WRONLY, 0600);
    close(fd);
    struct opened other;
    opened_init(&other, path);
    opened_finish(&other);
    assert_false(exists(".ashlar/tmp/0123456789abcdef-0000000000000001"));
    assert_true(exists(".ashlar/tmp/unknown"));
}

static void patience_ends(void **state)
{
    (void)state;
    struct kit_put p;
    scratch_remove(path); /* under its feet */
    uint64_t start = loop_fresh_ns(o.loop);
    kit_put_init(&p, "a/b", "x", 1, OBJSTORE_CREATE, NULL);
    p.req.patience_ns = 400 * NS_PER_MS;
    kit_submit(&o.c, &p.req);
    kit_wait(&o.c);
    assert_int_equal(p.req.err, ERR_UNAVAILABLE);
    assert_non_null(strstr(p.req.complaint.text, path));
    uint64_t took = loop_fresh_ns(o.loop) - start;
    assert_true(o.store->counters.retries > 0 ||
                took > 300 * NS_PER_MS); /* or there was no time for a second try */
    assert_true(took < 10 * NS_PER_S);
}

static struct kit_put for_ever;

static void then_cancel(struct objstore_req *r)
{
    (void)r;
    objstore_cancel(&for_ever.req);
}

static void waiting_can_be_canceled(void **state)
{
    (void)state;
    struct kit_put bounded;
    scratch_remove(path);
    kit_put_init(&for_ever, "a/b", "x", 1, OBJSTORE_CREATE, NULL);
    kit_submit(&o.c, &for_ever.req);
    kit_put_init(&bounded, "a/c", "x", 1, OBJSTORE_CREATE, NULL);
    bounded.req.patience_ns = 300 * NS_PER_MS;
    bounded.req.done = then_cancel;
    objstore_submit(o.store, &bounded.req);
    kit_wait(&o.c);
    assert_int_equal(bounded.req.err, ERR_UNAVAILABLE);
    assert_int_equal(for_ever.req.err, ERR_CANCELED);
}

/* Whoever holds the lock keeps If-Match waiting, and nobody once it is dead. */
static int hold_all_locks(const char *where, unsigned number, int fd)
{
    (void)number;
    char name[SCRATCH_MAX + 32];
    snprintf(name, sizeof name, "%s/.ashlar/lock", where);
    int lock = open(name, O_RDWR);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = (off_t)1 << 61};
    if (fcntl(lock, F_OFD_SETLK, &l) || write(fd, "x", 1) != 1)
        return 1;
    for (;;)
        pause();
}

static void locks_die_with_their_holder(void **state)
{
    (void)state;
    char etag[OBJSTORE_ETAG_MAX], c;
    int fds[2];
    assert_int_equal(kit_put(&o.c, "m", "1", 1, OBJSTORE_CREATE, etag), ERR_OK);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = child_start(hold_all_locks, path, 0, fds[1]);
    assert_int_equal(read(fds[0], &c, 1), 1);
    struct kit_put p;
    kit_put_init(&p, "m", "2", 1, OBJSTORE_MATCH, etag);
    p.req.patience_ns = 200 * NS_PER_MS;
    kit_submit(&o.c, &p.req);
    kit_wait(&o.c);
    assert_int_equal(p.req.err, ERR_UNAVAILABLE);
    assert_non_null(strstr(p.req.complaint.text, "lock"));
    assert_int_equal(kit_put(&o.c, "n", "1", 1, OBJSTORE_CREATE, NULL), ERR_OK); /* needs none */
    kill(pid, SIGKILL);
    assert_int_equal(child_wait(pid), 1000 + SIGKILL);
    assert_int_equal(kit_put(&o.c, "m", "2", 1, OBJSTORE_MATCH, etag), ERR_OK);
    close(fds[0]);
    close(fds[1]);
}

/* ------------------------------------------------------------------- permissions */

static int open_as_nobody(const char *where, unsigned number, int fd)
{
    (void)number;
    (void)fd;
    struct complaint why = {""};
    struct objstore *s;
    if (geteuid() == 0 && setresuid(65534, 65534, 65534))
        return CHILD_SKIPS;
    struct loop *l = uv_loop_create();
    enum err err = dir_store_create(l, where, &s, &why);
    return err == ERR_DENIED && strstr(why.text, where) ? 0 : 1;
}

static void a_directory_of_others_is_denied(void **state)
{
    (void)state;
    char closed[SCRATCH_MAX];
    scratch_make(closed);
    assert_int_equal(chmod(closed, 0555), 0);
    int status = child_wait(child_start(open_as_nobody, closed, 0, -1));
    chmod(closed, 0700);
    scratch_remove(closed);
    if (status == CHILD_SKIPS)
        skip();
    assert_int_equal(status, 0);
}

static struct open_later {
    struct timer timer;
    const char *folder;
    struct opened *mine;
} open_later;

static void open_folder(struct timer *t)
{
    if (open_later.mine->store->counters.retries < 3)
        timer_start(open_later.mine->loop, t, 10 * NS_PER_MS);
    else if (chmod(open_later.folder, 0700))
        abort();
}

/* Denied while its folder is closed; a patient one goes through once it is open again. */
static int write_when_allowed(const char *where, unsigned number, int fd)
{
    (void)number;
    (void)fd;
    char folder[SCRATCH_MAX + 8];
    struct opened mine;
    if (geteuid() == 0 && (chown(where, 65534, 65534) || setresuid(65534, 65534, 65534)))
        return CHILD_SKIPS;
    opened_init(&mine, where);
    snprintf(folder, sizeof folder, "%s/a", where);
    if (kit_put(&mine.c, "a/b", "x", 1, OBJSTORE_ANY, NULL) || chmod(folder, 0500))
        return 1;
    struct kit_put p;
    kit_put_init(&p, "a/c", "y", 1, OBJSTORE_CREATE, NULL);
    p.req.patience_ns = 60 * NS_PER_S;
    uint64_t start = loop_fresh_ns(mine.loop);
    kit_submit(&mine.c, &p.req);
    kit_wait(&mine.c);
    if (p.req.err != ERR_DENIED || !strstr(p.req.complaint.text, "must belong"))
        return 2;
    if (loop_fresh_ns(mine.loop) - start > 10 * NS_PER_S)
        return 3;
    if (!kit_holds(&mine.c, "a/b", "x", 1) || kit_get(&mine.c, "a/c", 10, NULL, NULL) != ERR_NOTFOUND)
        return 4;
    p.req.patience_ns = 0;
    kit_submit(&mine.c, &p.req);
    open_later = (struct open_later){.timer = {.fire = open_folder}, .folder = folder, .mine = &mine};
    timer_start(mine.loop, &open_later.timer, 0);
    kit_wait(&mine.c);
    return p.req.err == ERR_OK && kit_holds(&mine.c, "a/c", "y", 1) ? 0 : 6;
}

/* Without /proc no nameless file can be given a name: the store then writes named ones. */
static int conform_without_proc(const char *where, unsigned number, int fd)
{
    (void)number;
    (void)fd;
    struct opened mine;
    if (!private_mounts() || mount("tmpfs", "/proc", "tmpfs", 0, NULL) ||
        mount("tmpfs", where, "tmpfs", 0, NULL))
        return CHILD_SKIPS;
    opened_init(&mine, where);
    mine.c.report = report_failure;
    unsigned failures = conformance_run(&mine.c);
    opened_finish(&mine);
    char tmp[SCRATCH_MAX + 32];
    snprintf(tmp, sizeof tmp, "%s/.ashlar/tmp", where);
    return failures ? 1 : rmdir(tmp) ? 2 : 0; /* it is empty */
}

static void what_is_denied_is_waited_for(void **state)
{
    (void)state;
    char own[SCRATCH_MAX];
    scratch_make(own);
    int status = child_wait(child_start(write_when_allowed, own, 0, -1));
    scratch_remove(own);
    if (status == CHILD_SKIPS)
        skip();
    assert_int_equal(status, 0);
}

static void named_files_do_as_well(void **state)
{
    (void)state;
    int status = child_wait(child_start(conform_without_proc, path, 0, -1));
    if (status == CHILD_SKIPS)
        skip();
    assert_int_equal(status, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(a_file_is_the_object), T(etags_are_of_the_content), T(its_own_folder_is_no_key),
          T(links_are_not_followed), T(what_is_in_the_way_is_told), T(folders_go_with_their_last_object),
          T(folders_made_again_by_others), T(leftovers_of_the_dead_are_removed), T(patience_ends),
          T(waiting_can_be_canceled), T(locks_die_with_their_holder), T(a_directory_of_others_is_denied),
          T(what_is_denied_is_waited_for), T(named_files_do_as_well))
