#include "cli/target.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

static bool standard(const char *file)
{
    return strcmp(file, "-") == 0;
}

enum err target_check(const char *file, struct complaint *c)
{
    struct stat st;
    if (standard(file) || stat(file, &st) || S_ISREG(st.st_mode) || S_ISBLK(st.st_mode))
        return ERR_OK;
    return complain(c, ERR_UNSUPPORTED,
                    "%s is there and is neither a file nor a block device; it is left alone", file);
}

/* Standard output that is an empty file of its own becomes sparse like any other. */
static bool is_fresh_file(int fd, const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_size == 0 && lseek(fd, 0, SEEK_CUR) == 0 &&
           !(fcntl(fd, F_GETFL) & O_APPEND);
}

static enum err prepare(struct target *t, uint64_t bytes, struct complaint *c)
{
    struct stat st;
    uint64_t room;
    if (fstat(t->fd, &st))
        return complain(c, ERR_DENIED, "%s: %s", t->shown, strerror(errno));
    if (t->fd == STDOUT_FILENO)
        t->kind = is_fresh_file(t->fd, &st) ? TARGET_FILE : TARGET_STREAM;
    else
        t->kind = S_ISBLK(st.st_mode) ? TARGET_DEVICE : TARGET_FILE;
    if (t->kind == TARGET_FILE && (ftruncate(t->fd, 0) || ftruncate(t->fd, (off_t)bytes)))
        return complain(c, ERR_NOSPACE, "%s cannot be given its size: %s", t->shown, strerror(errno));
    if (t->kind == TARGET_DEVICE && (ioctl(t->fd, BLKGETSIZE64, &room) || room < bytes))
        return complain(c, ERR_NOSPACE, "%s is smaller than the export", t->shown);
    return ERR_OK;
}

enum err target_open(struct target *t, const char *file, uint64_t bytes, struct complaint *c)
{
    *t = (struct target){.fd = STDOUT_FILENO, .shown = standard(file) ? "standard output" : file};
    if (!standard(file))
        t->fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (t->fd < 0)
        return complain(c, ERR_DENIED, "%s: %s", file, strerror(errno));
    enum err e = prepare(t, bytes, c);
    if (e && t->fd != STDOUT_FILENO)
        close(t->fd);
    return e;
}

static void advance(struct iovec **v, int *count, size_t n)
{
    while (*count && n >= (*v)->iov_len) {
        n -= (*v)->iov_len;
        ++*v;
        --*count;
    }
    if (*count) {
        (*v)->iov_base = (char *)(*v)->iov_base + n;
        (*v)->iov_len -= n;
    }
}

int target_write(struct target *t, struct iovec *v, int count, uint64_t offset)
{
    while (count) {
        ssize_t n = t->kind == TARGET_STREAM ? writev(t->fd, v, MIN(count, 64))
                                             : pwritev(t->fd, v, MIN(count, 64), (off_t)offset);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return errno;
        if (n < 0)
            continue;
        offset += (uint64_t)n;
        advance(&v, &count, (size_t)n);
    }
    return 0;
}

int target_zero(struct target *t, uint64_t bytes, uint64_t offset)
{
    static uint8_t zeros[256 << 10];
    if (t->kind == TARGET_FILE)
        return 0;
    if (t->kind == TARGET_DEVICE && !fallocate(t->fd, FALLOC_FL_ZERO_RANGE, (off_t)offset, (off_t)bytes))
        return 0;
    while (bytes) {
        struct iovec v = {.iov_base = zeros, .iov_len = (size_t)MIN(bytes, sizeof zeros)};
        uint64_t n = v.iov_len;
        int error = target_write(t, &v, 1, offset);
        if (error)
            return error;
        bytes -= n;
        offset += n;
    }
    return 0;
}

int target_finish(struct target *t, uint64_t bytes)
{
    int error = 0;
    if (t->kind != TARGET_STREAM && fsync(t->fd))
        error = errno;
    if (t->fd == STDOUT_FILENO)
        return t->kind == TARGET_FILE && lseek(t->fd, (off_t)bytes, SEEK_SET) < 0 ? errno : error;
    if (close(t->fd) && !error)
        error = errno;
    return error;
}
