#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "objstore/dir/fs.h"

enum { TRIES = 16 };

/* A sector that cannot be read, or a file system that finds itself damaged there. */
static enum err cannot_read(struct objstore_req *r, int error)
{
    enum err err = fs_failed(&r->complaint, "reading", r->key, error);
    return error == EIO || error == EUCLEAN || error == EBADMSG ? ERR_CORRUPT : err;
}

static enum err read_exact(int fd, struct objstore_req *r, uint64_t offset, size_t bytes)
{
    struct buf *b = buf_create(bytes);
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, b->data + done, bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int error = errno;
            buf_unref(b);
            return n < 0 ? cannot_read(r, error) : ERR_CORRUPT;
        }
        done += (size_t)n;
    }
    r->content = b;
    return ERR_OK;
}

static enum err get_content(struct fs *fs, struct objstore_req *r, int fd)
{
    if (r->length) {
        if (r->offset > r->object_bytes || r->length > r->object_bytes - r->offset)
            return ERR_CORRUPT;
        return read_exact(fd, r, r->offset, r->length);
    }
    if (r->object_bytes > r->limit)
        return ERR_CORRUPT;
    enum err err = read_exact(fd, r, 0, (size_t)r->object_bytes);
    if (err)
        return err;
    struct sha256 h = sha256_of(r->content->data, r->content->bytes);
    etag_of_hash(&h, r->etag);
    r->date_ms = fs_now_ms(fs);
    return ERR_OK;
}

static enum err head_content(struct fs *fs, struct objstore_req *r, int fd)
{
    int error = etag_of_file(fd, r->etag);
    if (error)
        return fs_failed(&r->complaint, "reading", r->key, error);
    r->date_ms = fs_now_ms(fs);
    return ERR_OK;
}

static enum err read_file(struct fs *fs, struct objstore_req *r, int fd)
{
    struct stat st;
    if (fstat(fd, &st))
        return fs_failed(&r->complaint, "reading", r->key, errno);
    if (S_ISDIR(st.st_mode))
        return ERR_NOTFOUND;
    if (!S_ISREG(st.st_mode))
        return complain(&r->complaint, ERR_INVALID, "%.200s is not a regular file", r->key);
    r->object_bytes = (uint64_t)st.st_size;
    r->modified_ms = fs_ms(&st.st_mtim);
    return r->verb == OBJSTORE_HEAD ? head_content(fs, r, fd) : get_content(fs, r, fd);
}

static enum err get_in(struct fs *fs, struct objstore_req *r, const struct folder *f, bool *moved)
{
    int fd = openat(f->fd, key_name(r->key), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ESTALE)) {
        *moved = !folder_current(fs, f);
        return ERR_NOTFOUND;
    }
    if (fd < 0)
        return fs_failed(&r->complaint, "opening", r->key, errno);
    enum err err = read_file(fs, r, fd);
    close(fd);
    return err;
}

static enum err get_once(struct fs *fs, struct objstore_req *r, bool *moved)
{
    struct folder *f;
    *moved = false;
    enum err err = folder_open(fs, r->key, key_folder_bytes(r->key), FOLDER_READ, &f, &r->complaint);
    if (err)
        return err;
    err = get_in(fs, r, f, moved);
    if (*moved)
        folder_forget(fs, f);
    folder_release(fs, f);
    return err;
}

enum err fs_get(struct fs *fs, struct objstore_req *r)
{
    int lock = -1;
    bool moved = true;
    /* The reserve's files are overwritten once they have changed places with another version; not under a
     * reader. */
    if (reserve_serves(r->key)) {
        enum err err = lock_take(fs, r->key, &lock, &r->complaint);
        if (err)
            return err;
    }
    enum err err = ERR_HELD;
    for (int i = 0; i < TRIES && moved; i++)
        err = get_once(fs, r, &moved);
    if (lock >= 0)
        lock_give(fs, lock);
    return moved ? ERR_HELD : err;
}
