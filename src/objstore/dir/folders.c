#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "objstore/dir/fs.h"

enum { TRIES = 16 }; /* folders that vanish under our feet again and again */

const char *key_name(const char *key)
{
    const char *slash = strrchr(key, '/');
    return slash ? slash + 1 : key;
}

size_t key_folder_bytes(const char *key)
{
    const char *slash = strrchr(key, '/');
    return slash ? (size_t)(slash - key) : 0;
}

/* ---------------------------------------------------------- under fs->mutex */

static struct folder *find(struct fs *fs, const char *path, size_t n)
{
    LIST_EACH(&fs->folders, k)
    {
        struct folder *f = CONTAINER_OF(k, struct folder, link);
        if (strncmp(f->path, path, n) == 0 && f->path[n] == '\0') {
            list_remove(k);
            list_push_front(&fs->folders, k);
            f->refs++;
            return f;
        }
    }
    return NULL;
}

static void unlist(struct fs *fs, struct folder *f)
{
    if (link_in_list(&f->link)) {
        list_remove(&f->link);
        fs->folder_count--;
    }
}

static void unref(struct folder *f)
{
    if (--f->refs || link_in_list(&f->link))
        return;
    close(f->fd);
    mem_free(f->path);
    mem_free(f);
}

static void evict(struct fs *fs)
{
    for (struct link *k = list_last(&fs->folders); k && fs->folder_count > FS_FOLDERS_MAX;) {
        struct folder *f = CONTAINER_OF(k, struct folder, link);
        k = k->prev == &fs->folders.head ? NULL : k->prev;
        if (f->refs)
            continue;
        f->refs = 1;
        unlist(fs, f);
        unref(f);
    }
}

/* --------------------------------------------------------------------------- */

static struct folder *look_up(struct fs *fs, const char *path, size_t n)
{
    pthread_mutex_lock(&fs->mutex);
    struct folder *f = find(fs, path, n);
    pthread_mutex_unlock(&fs->mutex);
    return f;
}

static struct folder *enlist(struct fs *fs, const char *path, size_t n, int fd)
{
    struct folder *f = MEM_NEW(struct folder);
    f->path = mem_alloc(n + 1);
    memcpy(f->path, path, n);
    f->path[n] = '\0';
    f->fd = fd;
    f->refs = 1;
    f->durable = n == 0; /* fs_open saw to the store's own */
    pthread_mutex_lock(&fs->mutex);
    list_push_front(&fs->folders, &f->link);
    fs->folder_count++;
    evict(fs);
    pthread_mutex_unlock(&fs->mutex);
    return f;
}

static bool is_durable(struct fs *fs, const struct folder *f)
{
    pthread_mutex_lock(&fs->mutex);
    bool durable = f->durable;
    pthread_mutex_unlock(&fs->mutex);
    return durable;
}

void folder_release(struct fs *fs, struct folder *f)
{
    pthread_mutex_lock(&fs->mutex);
    unref(f);
    evict(fs);
    pthread_mutex_unlock(&fs->mutex);
}

void folder_forget(struct fs *fs, struct folder *f)
{
    pthread_mutex_lock(&fs->mutex);
    unlist(fs, f);
    pthread_mutex_unlock(&fs->mutex);
}

bool folder_current(struct fs *fs, const struct folder *f)
{
    struct stat there, here;
    return fstatat(fs->root, f->path[0] ? f->path : ".", &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           fstat(f->fd, &here) == 0 && there.st_ino == here.st_ino && there.st_dev == here.st_dev &&
           here.st_nlink > 0; /* 0: just being removed */
}

/* Opens, and for writing makes, the folder that `name` is in the parent. */
static int open_child(const struct folder *parent, const char *name, enum folder_want want)
{
    const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(parent->fd, name, flags);
    if (fd >= 0 || errno != ENOENT || want == FOLDER_READ)
        return fd;
    if (mkdirat(parent->fd, name, 0700) && errno != EEXIST)
        return -1;
    return openat(parent->fd, name, flags);
}

/* HELD: the parent is not what its path names any more. */
static enum err cannot_open(struct fs *fs, const struct folder *parent, const char *key,
                            enum folder_want want, struct complaint *c)
{
    int error = errno;
    bool missing = error == ENOENT || error == ESTALE;
    if (want == FOLDER_READ && (error == ENOTDIR || (missing && folder_current(fs, parent))))
        return ERR_NOTFOUND;
    if (missing && !parent->path[0])
        return fs_failed(c, "using the store's directory", fs->path, error);
    enum err err = fs_failed(c, "opening the folder of", key, error);
    return missing ? ERR_HELD : err;
}

static enum err open_step(struct fs *fs, struct folder *parent, const char *key, size_t end,
                          enum folder_want want, struct folder **child, struct complaint *c)
{
    struct folder *f = look_up(fs, key, end);
    if (!f) {
        size_t start = parent->path[0] ? strlen(parent->path) + 1 : 0;
        char name[OBJSTORE_KEY_MAX];
        snprintf(name, sizeof name, "%.*s", (int)(end - start), key + start);
        int fd = open_child(parent, name, want);
        if (fd < 0)
            return cannot_open(fs, parent, key, want, c);
        f = enlist(fs, key, end, fd);
    }
    if (want == FOLDER_WRITE && !is_durable(fs, f)) {
        enum err err = folder_sync(fs, parent, key, c);
        if (err) {
            folder_release(fs, f);
            return err;
        }
        pthread_mutex_lock(&fs->mutex);
        f->durable = true;
        pthread_mutex_unlock(&fs->mutex);
    }
    *child = f;
    return ERR_OK;
}

static struct folder *open_root(struct fs *fs)
{
    struct folder *f = look_up(fs, "", 0);
    if (f)
        return f;
    int fd = fcntl(fs->root, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? NULL : enlist(fs, "", 0, fd);
}

static enum err walk(struct fs *fs, const char *key, size_t n, enum folder_want want, struct folder **out,
                     struct complaint *c)
{
    struct folder *f = open_root(fs);
    if (!f)
        return fs_failed(c, "opening the folder of", key, errno);
    for (size_t end = 0; end < n;) {
        const char *slash = memchr(key + end + 1, '/', n - end - 1);
        end = slash ? (size_t)(slash - key) : n;
        struct folder *child;
        enum err err = open_step(fs, f, key, end, want, &child, c);
        if (err == ERR_HELD)
            folder_forget(fs, f);
        folder_release(fs, f);
        if (err)
            return err;
        f = child;
    }
    *out = f;
    return ERR_OK;
}

enum err folder_open(struct fs *fs, const char *key, size_t n, enum folder_want want, struct folder **out,
                     struct complaint *c)
{
    struct folder *f = look_up(fs, key, n);
    if (f && (want == FOLDER_READ || is_durable(fs, f))) {
        *out = f;
        return ERR_OK;
    }
    if (f)
        folder_release(fs, f);
    enum err err = ERR_HELD;
    for (int i = 0; i < TRIES && err == ERR_HELD; i++)
        err = walk(fs, key, n, want, out, c);
    return err;
}

/* -------------------------------------------------------------------- syncing */

enum err folder_sync(struct fs *fs, struct folder *f, const char *key, struct complaint *c)
{
    if (fault_no_folder_sync(key) || fsync(f->fd) == 0)
        return ERR_OK;
    enum err err = fs_failed(c, "syncing the folder of", key, errno);
    pthread_mutex_lock(&fs->mutex);
    if (!link_in_list(&f->unsynced)) {
        list_push(&fs->unsynced, &f->unsynced);
        f->refs++;
    }
    pthread_mutex_unlock(&fs->mutex);
    return err == ERR_NOSPACE || err == ERR_INVALID ? ERR_UNAVAILABLE : err;
}

enum err folders_settle(struct fs *fs, struct complaint *c)
{
    enum err err = ERR_OK;
    pthread_mutex_lock(&fs->mutex);
    LIST_EACH(&fs->unsynced, k)
    {
        struct folder *f = CONTAINER_OF(k, struct folder, unsynced);
        /* An fsync after one that failed may find nothing left to do: there has to be a new change. */
        if (futimens(f->fd, NULL) || fsync(f->fd)) {
            (void)fs_failed(c, "syncing the folder", f->path, errno);
            err = ERR_UNAVAILABLE;
            break;
        }
        list_remove(k);
        unref(f);
    }
    pthread_mutex_unlock(&fs->mutex);
    return err;
}

void folders_close(struct fs *fs)
{
    LIST_EACH(&fs->folders, k)
    {
        struct folder *f = CONTAINER_OF(k, struct folder, link);
        f->refs++;
        list_remove(k);
        unref(f);
    }
    LIST_EACH(&fs->unsynced, k)
    {
        list_remove(k);
        unref(CONTAINER_OF(k, struct folder, unsynced));
    }
}
