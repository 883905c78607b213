/* What the directory store makes of disks that fail: calls to the kernel go through here. */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dir_kit.h"
#include "scratch.h"
#include "unit.h"

static atomic_int failing_reads, failing_file_syncs, failing_folder_syncs;
static atomic_ulong failed_inode, synced_inode, touched_inode;
static atomic_int touches;
static atomic_int kept_fd = -1; /* of the last that failed, so that no other file gets its inode */

static bool fails(atomic_int *left)
{
    int n = atomic_load(left);
    while (n > 0 && !atomic_compare_exchange_weak(left, &n, n - 1))
        ;
    return n > 0;
}

static unsigned long inode_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

ssize_t pread64(int fd, void *to, size_t bytes, off_t at)
{
    if (fails(&failing_reads)) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, to, bytes, at);
}

static int sync_it(int fd, atomic_int *failing, long number)
{
    if (fails(failing)) {
        atomic_store(&failed_inode, inode_of(fd));
        close(atomic_exchange(&kept_fd, dup(fd)));
        errno = EIO;
        return -1;
    }
    atomic_store(&synced_inode, inode_of(fd));
    return (int)syscall(number, fd);
}

int fdatasync(int fd)
{
    return sync_it(fd, &failing_file_syncs, SYS_fdatasync);
}

int fsync(int fd)
{
    return sync_it(fd, &failing_folder_syncs, SYS_fsync);
}

int futimens(int fd, const struct timespec times[2])
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        atomic_store(&touched_inode, st.st_ino);
        atomic_fetch_add(&touches, 1);
    }
    return (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

/* ------------------------------------------------------------------------- tests */

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
    close(atomic_exchange(&kept_fd, -1));
    scratch_remove(path);
    return 0;
}

static void what_cannot_be_read_for_a_while_is_read(void **state)
{
    (void)state;
    assert_int_equal(kit_put(&o.c, "a/b", "x", 1, OBJSTORE_ANY, NULL), ERR_OK);
    atomic_store(&failing_reads, 3);
    assert_true(kit_holds(&o.c, "a/b", "x", 1));
    assert_int_equal(failing_reads, 0);
}

static void what_can_never_be_read_is_damaged(void **state)
{
    (void)state;
    struct buf *content;
    assert_int_equal(kit_put(&o.c, "a/b", "x", 1, OBJSTORE_ANY, NULL), ERR_OK);
    atomic_store(&failing_reads, INT_MAX);
    assert_int_equal(kit_get(&o.c, "a/b", 10, &content, NULL), ERR_CORRUPT);
    assert_int_equal(kit_range(&o.c, "a/b", 0, 1, &content), ERR_CORRUPT);
    atomic_store(&failing_reads, 0);
    assert_true(kit_holds(&o.c, "a/b", "x", 1));
}

static void a_file_that_was_not_synced_is_written_anew(void **state)
{
    (void)state;
    atomic_store(&failing_file_syncs, 1);
    assert_int_equal(kit_put(&o.c, "a/b", "x", 1, OBJSTORE_ANY, NULL), ERR_OK);
    assert_int_equal(failing_file_syncs, 0);
    char name[SCRATCH_MAX + 8];
    struct stat st;
    snprintf(name, sizeof name, "%s/a/b", path);
    assert_int_equal(stat(name, &st), 0);
    assert_int_not_equal(st.st_ino, failed_inode);
}

static void a_folder_that_was_not_synced_is_changed_before_it_is_synced_again(void **state)
{
    (void)state;
    assert_int_equal(kit_put(&o.c, "a/b", "x", 1, OBJSTORE_ANY, NULL), ERR_OK);
    atomic_store(&failing_folder_syncs, 2);
    atomic_store(&touches, 0);
    assert_int_equal(kit_put(&o.c, "a/c", "y", 1, OBJSTORE_CREATE, NULL), ERR_UNKNOWN);
    assert_int_equal(touches, 0);
    assert_true(kit_holds(&o.c, "a/c", "y", 1)); /* once the folder is synced, and not before */
    assert_int_equal(failing_folder_syncs, 0);
    assert_int_equal(touches, 2);
    assert_int_equal(touched_inode, failed_inode);
    assert_int_equal(synced_inode, failed_inode);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
RUN_TESTS(T(what_cannot_be_read_for_a_while_is_read), T(what_can_never_be_read_is_damaged),
          T(a_file_that_was_not_synced_is_written_anew),
          T(a_folder_that_was_not_synced_is_changed_before_it_is_synced_again))
