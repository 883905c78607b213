#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "objstore/dir/fs.h"

/* Which byte of .ashlar/lock is whose: keys by their hash, then the reserve's files, then processes. */
#define HASH_MASK ((UINT64_C(1) << 61) - 1)
#define SLOTS_AT  (UINT64_C(1) << 61)
#define OWNERS_AT (UINT64_C(1) << 62)

static uint64_t byte_of_key(const char *key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (const char *s = key; *s; s++)
        h = (h ^ (uint8_t)*s) * UINT64_C(0x100000001b3);
    return h & HASH_MASK;
}

static uint64_t byte_of_owner(uint64_t owner)
{
    return OWNERS_AT + (owner & HASH_MASK);
}

static int set(int fd, int command, short type, uint64_t start, uint64_t bytes, struct flock *l)
{
    *l = (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)start, .l_len = (off_t)bytes};
    int r;
    do
        r = fcntl(fd, command, l);
    while (r < 0 && errno == EINTR);
    return r;
}

static int open_lock(struct fs *fs)
{
    return openat(fs->own, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* A description per holder: that is what keeps threads of one process apart. */
static int description(struct fs *fs)
{
    pthread_mutex_lock(&fs->mutex);
    int fd = fs->lock_count ? fs->locks[--fs->lock_count] : -1;
    pthread_mutex_unlock(&fs->mutex);
    return fd >= 0 ? fd : open_lock(fs);
}

static enum err take(struct fs *fs, uint64_t byte, const char *key, int *lock, struct complaint *c)
{
    struct flock l;
    int fd = description(fs);
    if (fd < 0)
        return fs_failed(c, "opening the lock for", key, errno);
    if (set(fd, F_OFD_SETLK, F_WRLCK, byte, 1, &l) == 0) {
        *lock = fd;
        return ERR_OK;
    }
    int error = errno;
    lock_give(fs, fd);
    if (error == EAGAIN || error == EACCES)
        return complain(c, ERR_HELD, "another process holds the lock on %.200s", key);
    return fs_failed(c, "locking", key, error);
}

enum err lock_take(struct fs *fs, const char *key, int *lock, struct complaint *c)
{
    return take(fs, byte_of_key(key), key, lock, c);
}

enum err lock_take_slot(struct fs *fs, unsigned slot, int *lock, struct complaint *c)
{
    return take(fs, SLOTS_AT + slot, "the reserve", lock, c);
}

void lock_give(struct fs *fs, int lock)
{
    struct flock l;
    bool kept = false;
    if (set(lock, F_OFD_SETLK, F_UNLCK, 0, 0, &l) == 0) {
        pthread_mutex_lock(&fs->mutex);
        kept = fs->lock_count < FS_LOCKS_KEPT;
        if (kept)
            fs->locks[fs->lock_count++] = lock;
        pthread_mutex_unlock(&fs->mutex);
    }
    if (!kept)
        close(lock);
}

enum err lock_own(struct fs *fs, struct complaint *c)
{
    struct flock l;
    fs->owner_lock = open_lock(fs);
    fs->clock = open_lock(fs);
    if (fs->owner_lock < 0 || fs->clock < 0)
        return fs_failed(c, "opening the lock file in", fs->path, errno);
    if (set(fs->owner_lock, F_OFD_SETLK, F_WRLCK, byte_of_owner(fs->owner), 1, &l))
        return complain(c, ERR_UNSUPPORTED,
                        "the file system of %s has no locks (%s), so two servers could destroy "
                        "each other's data there; put the store on one that has them",
                        fs->path, strerror(errno));
    return ERR_OK;
}

bool lock_owner_gone(struct fs *fs, uint64_t owner)
{
    struct flock l;
    return set(fs->clock, F_OFD_GETLK, F_WRLCK, byte_of_owner(owner), 1, &l) == 0 && l.l_type == F_UNLCK;
}
