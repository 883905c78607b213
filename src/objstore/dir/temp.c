#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "objstore/dir/fs.h"

static void choose_name(struct fs *fs, char name[FS_TEMP_MAX])
{
    snprintf(name, FS_TEMP_MAX, "%016" PRIx64 "-%016" PRIx64, fs->owner,
             (uint64_t)atomic_fetch_add(&fs->temps, 1));
}

int temp_open(struct fs *fs, const struct folder *f, struct temp *t)
{
    t->name[0] = '\0';
    if (fs->unnamed) {
        t->fd = openat(f->fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        return t->fd < 0 ? errno : 0;
    }
    choose_name(fs, t->name);
    t->fd = openat(fs->tmp, t->name, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600);
    return t->fd < 0 ? errno : 0;
}

static int link_unnamed(int fd, int folder, const char *name)
{
    char proc[32];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, proc, folder, name, AT_SYMLINK_FOLLOW) ? errno : 0;
}

int temp_give_name(struct fs *fs, struct temp *t)
{
    if (t->name[0])
        return 0;
    char name[FS_TEMP_MAX];
    choose_name(fs, name);
    int error = link_unnamed(t->fd, fs->tmp, name);
    if (!error)
        memcpy(t->name, name, sizeof name);
    return error;
}

int temp_link(struct fs *fs, struct temp *t, const struct folder *f, const char *name)
{
    if (!t->name[0])
        return link_unnamed(t->fd, f->fd, name);
    return linkat(fs->tmp, t->name, f->fd, name, 0) ? errno : 0;
}

int temp_rename(struct fs *fs, struct temp *t, const struct folder *f, const char *name)
{
    if (renameat(fs->tmp, t->name, f->fd, name))
        return errno;
    t->name[0] = '\0';
    return 0;
}

void temp_close(struct fs *fs, struct temp *t)
{
    if (t->name[0])
        unlinkat(fs->tmp, t->name, 0);
    close(t->fd);
}

static bool owner_of(const char *name, uint64_t *owner)
{
    char digits[17];
    uint8_t bytes[8];
    if (strlen(name) != 33 || name[16] != '-')
        return false;
    memcpy(digits, name, 16);
    digits[16] = '\0';
    if (!hex_decode(digits, bytes, 8))
        return false;
    *owner = get_be64(bytes);
    return true;
}

void temps_clean(struct fs *fs)
{
    int fd = openat(fs->tmp, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        uint64_t owner;
        if (owner_of(e->d_name, &owner) && lock_owner_gone(fs, owner))
            unlinkat(fs->tmp, e->d_name, 0);
    }
    closedir(d);
}

/* The next piece of at most IOV_MAX parts that has not been written. */
static size_t window(const struct iovec *iov, size_t count, size_t skip, struct iovec *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < count && n < room; i++) {
        if (i == 0)
            out[n++] = (struct iovec){(char *)iov[0].iov_base + skip, iov[0].iov_len - skip};
        else
            out[n++] = iov[i];
    }
    return n;
}

int write_all(int fd, const struct iovec *iov, size_t count, size_t *bytes)
{
    enum { PARTS = 256 };
    struct iovec part[PARTS];
    _Static_assert(PARTS <= IOV_MAX, "the kernel takes no more");
    size_t at = 0, skip = 0;
    off_t offset = 0;
    while (at < count) {
        if (iov[at].iov_len == skip) {
            at++;
            skip = 0;
            continue;
        }
        ssize_t n = pwritev(fd, part, (int)window(iov + at, count - at, skip, part, PARTS), offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : EIO;
        offset += n;
        for (size_t left = (size_t)n; left > 0;) {
            size_t here = MIN(left, iov[at].iov_len - skip);
            left -= here;
            skip += here;
            if (skip == iov[at].iov_len) {
                at++;
                skip = 0;
            }
        }
    }
    *bytes = (size_t)offset;
    return 0;
}
