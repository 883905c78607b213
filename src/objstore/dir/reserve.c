/* Heartbeats on a full disk. A reserved file is overwritten in place, which needs no new blocks, synced, and
 * changes places with the version before it, which is from then on the reserved file: nothing is freed that
 * another writer could snatch. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mark.h"
#include "objstore/dir/fs.h"

enum { SLOTS = 16, SLOT_BYTES = 1 << 16 };

bool reserve_serves(const char *key)
{
    return strncmp(key, "servers/", 8) == 0;
}

static void slot_name(unsigned slot, char name[8])
{
    snprintf(name, 8, "%02x", slot);
}

static off_t allocated(const struct stat *st)
{
    return (off_t)st->st_blocks * 512;
}

/* ------------------------------------------------------------------- filling */

static bool fill_slot(struct fs *fs, unsigned slot)
{
    char name[8];
    struct stat st;
    int lock;
    struct complaint unused;
    slot_name(slot, name);
    if (lock_take_slot(fs, slot, &lock, &unused))
        return true; /* in use, so it is there */
    int fd = openat(fs->reserve, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool full = fd >= 0 && fstat(fd, &st) == 0 &&
                (allocated(&st) >= SLOT_BYTES || fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, SLOT_BYTES) == 0 ||
                 errno == EOPNOTSUPP);
    if (fd >= 0)
        close(fd);
    lock_give(fs, lock);
    return full;
}

void reserve_fill(struct fs *fs)
{
    bool full = true;
    atomic_store(&fs->reserve_low, false);
    for (unsigned slot = 0; slot < SLOTS && full; slot++)
        full = fill_slot(fs, slot);
    if (!full)
        atomic_store(&fs->reserve_low, true);
}

/* --------------------------------------------------------------------- using */

static enum err overwrite(struct objstore_req *r, int fd)
{
    size_t bytes;
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_nlink != 1)
        return ERR_NOSPACE; /* an object has it: somebody died between link and unlink */
    int error = write_all(fd, r->body, r->body_count, &bytes);
    if (!error && fstat(fd, &st))
        error = errno;
    if (!error && (size_t)st.st_size != bytes && ftruncate(fd, (off_t)bytes))
        error = errno;
    if (!error && !fault_no_file_sync(r->key) && fdatasync(fd))
        error = errno;
    if (!error && fstat(fd, &st))
        error = errno;
    if (error)
        return fs_failed(&r->complaint, "writing into the reserve", r->key, error);
    r->object_bytes = bytes;
    r->modified_ms = r->date_ms = fs_ms(&st.st_mtim);
    return ERR_OK;
}

static int swap(struct fs *fs, const char *slot, const struct folder *f, const char *name)
{
    if (renameat2(fs->reserve, slot, f->fd, name, RENAME_EXCHANGE) == 0)
        return 0;
    if (errno != ENOENT && errno != EINVAL && errno != ENOSYS)
        return errno;
    return renameat(fs->reserve, slot, f->fd, name) ? errno
                                                    : 0; /* there was none, or this file system cannot */
}

static int create(struct fs *fs, const char *slot, const struct folder *f, const char *name)
{
    if (renameat2(fs->reserve, slot, f->fd, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    if (linkat(fs->reserve, slot, f->fd, name, 0))
        return errno;
    unlinkat(fs->reserve, slot,
             0); /* stored it is; a slot that stays is not used while it is the object too */
    return 0;
}

static enum err publish(struct fs *fs, struct objstore_req *r, const struct folder *f, const char *slot)
{
    int lock, error;
    enum err err = lock_take(fs, r->key, &lock, &r->complaint);
    if (err)
        return err;
    if (r->condition == OBJSTORE_MATCH)
        err = etag_check(f, r->key, r->etag, &r->complaint);
    if (!err && r->condition == OBJSTORE_CREATE) {
        error = create(fs, slot, f, key_name(r->key));
        err = error == EEXIST ? ERR_CONFLICT
              : error         ? fs_failed(&r->complaint, "naming", r->key, error)
                              : ERR_OK;
    } else if (!err) {
        error = swap(fs, slot, f, key_name(r->key));
        err = error ? fs_failed(&r->complaint, "naming", r->key, error) : ERR_OK;
    }
    lock_give(fs, lock);
    return err;
}

static enum err use_slot(struct fs *fs, struct objstore_req *r, const struct folder *f, const char *name,
                         int fd)
{
    enum err err = overwrite(r, fd);
    if (!err)
        err = publish(fs, r, f, name);
    if (!err) {
        mark_hit("dir.reserve_used");
        atomic_store(&fs->reserve_low, true);
        if (fsync(fs->reserve)) {
            err = fs_failed(&r->complaint, "syncing the reserve for", r->key, errno);
            return r->condition == OBJSTORE_ANY ? err : ERR_UNKNOWN;
        }
    }
    return err;
}

enum err reserve_put(struct fs *fs, struct objstore_req *r, struct folder *f)
{
    enum err err = ERR_NOSPACE;
    for (unsigned slot = 0; slot < SLOTS && err == ERR_NOSPACE; slot++) {
        char name[8];
        struct complaint unused;
        int lock;
        slot_name(slot, name);
        if (lock_take_slot(fs, slot, &lock, &unused))
            continue;
        int fd = openat(fs->reserve, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0) {
            err = use_slot(fs, r, f, name, fd);
            close(fd);
        }
        lock_give(fs, lock);
    }
    return err;
}
