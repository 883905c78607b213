#include "cli/source.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

static enum err measure(struct source *s, struct complaint *c)
{
    struct stat st;
    if (fstat(s->fd, &st))
        return complain(c, ERR_INVALID, "%s: %s", s->shown, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return complain(c, ERR_UNSUPPORTED, "%s is a directory; an image is a file, a block device or -",
                        s->shown);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        s->stream = true;
        return ERR_OK;
    }
    off_t here = lseek(s->fd, 0, SEEK_CUR);
    s->base = here > 0 ? (uint64_t)here : 0;
    uint64_t end = (uint64_t)st.st_size;
    if (S_ISBLK(st.st_mode) && ioctl(s->fd, BLKGETSIZE64, &end))
        return complain(c, ERR_UNSUPPORTED, "%s: its size cannot be read: %s", s->shown, strerror(errno));
    s->bytes = end > s->base ? end - s->base : 0;
    return ERR_OK;
}

enum err source_open(struct source *s, const char *file, struct complaint *c)
{
    bool standard = strcmp(file, "-") == 0;
    *s = (struct source){.fd = STDIN_FILENO, .shown = standard ? "standard input" : file};
    if (!standard)
        s->fd = open(file, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0)
        return complain(c, errno == ENOENT ? ERR_NOTFOUND : ERR_DENIED, "%s: %s", file, strerror(errno));
    enum err e = measure(s, c);
    if (e)
        source_close(s);
    return e;
}

void source_close(struct source *s)
{
    if (s->fd > STDIN_FILENO)
        close(s->fd);
    s->fd = -1;
}

uint64_t source_next_data(const struct source *s, uint64_t offset, uint64_t end)
{
    if (s->stream || offset >= end)
        return MIN(offset, end);
    off_t data = lseek(s->fd, (off_t)(s->base + offset), SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? end : offset;
    return MIN(MAX((uint64_t)data - s->base, offset), end);
}

static bool await_input(struct source *s)
{
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    while (!atomic_load(&s->stop))
        if (poll(&p, 1, 200) > 0)
            return true;
    return false;
}

ssize_t source_read(struct source *s, void *to, size_t bytes, uint64_t offset)
{
    size_t got = 0;
    while (got < bytes) {
        if (s->stream && !await_input(s))
            break;
        size_t want = bytes - got;
        ssize_t n = s->stream ? read(s->fd, (char *)to + got, want)
                              : pread(s->fd, (char *)to + got, want, (off_t)(s->base + offset + got));
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}
