#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "objstore/dir/fs.h"

static int sync_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = fd < 0 || fsync(fd) ? errno : 0;
    if (fd >= 0)
        close(fd);
    return r;
}

/* Makes the directory at path[0..n), whose parent is path[0..above), and sees to it that it stays. */
static int make_one(char *path, size_t above, size_t n)
{
    char end = path[n];
    path[n] = '\0';
    int error = mkdir(path, 0700) ? errno : 0;
    path[n] = end;
    if (error)
        return error == EEXIST ? 0 : error;
    char kept = path[above];
    path[above] = '\0';
    error = sync_path(above ? path : "/");
    path[above] = kept;
    return error;
}

static int make_all(const char *wanted)
{
    char *path = mem_strdup(wanted);
    int error = 0;
    size_t above = 0;
    for (size_t n = 1; !error && n <= strlen(path); n++) {
        if ((path[n] == '/' || path[n] == '\0') && path[n - 1] != '/') {
            error = make_one(path, above, n);
            above = n;
        }
    }
    mem_free(path);
    return error;
}

static enum err open_root(struct fs *fs, struct complaint *c)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    fs->root = open(fs->path, flags);
    if (fs->root < 0 && errno == ENOENT) {
        int error = make_all(fs->path);
        if (error)
            return fs_failed(c, "making the directory", fs->path, error);
        fs->root = open(fs->path, flags);
    }
    if (fs->root < 0 && errno == ENOTDIR)
        return complain(c, ERR_NOTFOUND, "%s is not a directory", fs->path);
    return fs->root < 0 ? fs_failed(c, "opening the directory", fs->path, errno) : ERR_OK;
}

/* Whoever made the directory may not have synced what it is named in, up to where its file system is mounted.
 * What may not be opened here is left to those who may. */
static int sync_above(int root)
{
    int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;
    struct stat here, above;
    while (fd >= 0 && !error && fstat(fd, &here) == 0) {
        int up = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = up;
        if (fd < 0 || fstat(fd, &above) || above.st_dev != here.st_dev || above.st_ino == here.st_ino)
            break;
        error = fsync(fd) && errno == EIO ? EIO : 0;
    }
    if (fd >= 0)
        close(fd);
    return error;
}

static int own_folder(int above, const char *name)
{
    if (mkdirat(above, name, 0700) && errno != EEXIST)
        return -1;
    return openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static enum err open_own(struct fs *fs, struct complaint *c)
{
    fs->own = own_folder(fs->root, FS_OWN);
    if (fs->own >= 0)
        fs->tmp = own_folder(fs->own, "tmp");
    if (fs->tmp >= 0)
        fs->reserve = own_folder(fs->own, "reserve");
    if (fs->reserve < 0)
        return fs_failed(c, "making the folder " FS_OWN " in", fs->path, errno);
    return ERR_OK;
}

/* Whether files can be written before they have a name, which saves two changes of folders and all cleaning
 * up. */
static bool try_unnamed(struct fs *fs)
{
    struct folder tmp = {.fd = fs->tmp};
    struct temp t;
    fs->unnamed = true;
    if (temp_open(fs, &tmp, &t))
        return false;
    bool works = temp_give_name(fs, &t) == 0;
    temp_close(fs, &t);
    return works;
}

static enum err open_all(struct fs *fs, struct complaint *c)
{
    enum err err = open_root(fs, c);
    if (!err)
        err = open_own(fs, c);
    if (!err)
        err = lock_own(fs, c);
    if (err)
        return err;
    temps_clean(fs);
    fs->unnamed = try_unnamed(fs);
    reserve_fill(fs);
    if (fsync(fs->reserve) || fsync(fs->own) || fsync(fs->root))
        return fs_failed(c, "syncing", fs->path, errno);
    int error = sync_above(fs->root);
    return error ? fs_failed(c, "syncing what is above", fs->path, error) : ERR_OK;
}

enum err fs_open(struct fs *fs, const char *path, uint64_t owner, struct complaint *c)
{
    *fs = (struct fs){.root = -1, .own = -1, .tmp = -1, .reserve = -1, .owner_lock = -1, .clock = -1};
    fs->path = mem_strdup(path);
    fs->owner = owner;
    list_init(&fs->folders);
    list_init(&fs->unsynced);
    pthread_mutex_init(&fs->mutex, NULL);
    enum err err = open_all(fs, c);
    if (err)
        fs_close(fs);
    return err;
}

void fs_close(struct fs *fs)
{
    folders_close(fs);
    while (fs->lock_count)
        close(fs->locks[--fs->lock_count]);
    const int fds[] = {fs->root, fs->own, fs->tmp, fs->reserve, fs->owner_lock, fs->clock};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    pthread_mutex_destroy(&fs->mutex);
    mem_free(fs->path);
}

static bool is_own(const char *key)
{
    size_t n = strcspn(key, "/");
    return (n == strlen(FS_OWN) && memcmp(key, FS_OWN, n) == 0) ||
           (n == strlen(FS_LOST_FOUND) && memcmp(key, FS_LOST_FOUND, n) == 0);
}

/* A listing of it is empty. */
static bool lists_own(const struct objstore_req *r)
{
    return r->verb == OBJSTORE_LIST && strchr(r->key, '/') && is_own(r->key);
}

static enum err check_keys(const struct objstore_req *r, struct complaint *c)
{
    size_t n = r->verb == OBJSTORE_DELETE ? r->key_count : 1;
    for (size_t i = 0; i < n; i++) {
        const char *key = r->verb == OBJSTORE_DELETE ? r->keys[i] : r->key;
        if (r->verb != OBJSTORE_LIST && is_own(key))
            return complain(c, ERR_INVALID, "%.200s is a name the directory keeps for itself", key);
    }
    return ERR_OK;
}

enum err fs_run(struct fs *fs, struct objstore_req *r)
{
    enum err err = check_keys(r, &r->complaint);
    if (!err)
        err = folders_settle(fs, &r->complaint);
    if (err || lists_own(r))
        return err;
    switch (r->verb) {
    case OBJSTORE_GET:
    case OBJSTORE_HEAD:
        return fs_get(fs, r);
    case OBJSTORE_PUT:
        return fs_put(fs, r);
    case OBJSTORE_DELETE:
        return fs_delete(fs, r);
    case OBJSTORE_LIST:
        break;
    }
    return fs_list(fs, r);
}
