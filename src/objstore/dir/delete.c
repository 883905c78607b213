#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mark.h"
#include "base/mem.h"
#include "objstore/dir/fs.h"

static enum err remove_key(struct fs *fs, struct objstore_req *r, const char *key)
{
    struct folder *f;
    int lock;
    enum err err = folder_open(fs, key, key_folder_bytes(key), FOLDER_READ, &f, &r->complaint);
    if (err)
        return err == ERR_NOTFOUND ? ERR_OK : err;
    err = lock_take(fs, key, &lock, &r->complaint);
    if (!err) {
        if (unlinkat(f->fd, key_name(key), 0)) {
            if (errno == ENOENT)
                err = folder_current(fs, f) ? ERR_OK : ERR_HELD;
            else if (errno != EISDIR)
                err = fs_failed(&r->complaint, "removing", key, errno);
        }
        lock_give(fs, lock);
    }
    if (err == ERR_HELD && !folder_current(fs, f))
        folder_forget(fs, f);
    folder_release(fs, f);
    return err;
}

/* Folders less deep are few and always wanted again. */
static bool may_go(const char *path)
{
    return strchr(path, '/') != NULL;
}

/* Removes the folder, and those above it, as far as they are empty. The kernel sees to it that they are. */
static void prune(struct fs *fs, const char *key, size_t n)
{
    char path[OBJSTORE_KEY_MAX];
    memcpy(path, key, n);
    path[n] = '\0';
    while (may_go(path)) {
        char *slash = strrchr(path, '/');
        struct folder *above, *gone;
        struct complaint unused;
        if (folder_open(fs, path, (size_t)(slash - path), FOLDER_READ, &above, &unused))
            return;
        bool removed = unlinkat(above->fd, slash + 1, AT_REMOVEDIR) == 0;
        folder_release(fs, above);
        if (!removed)
            return;
        mark_hit("dir.folder_removed");
        if (folder_open(fs, path, strlen(path), FOLDER_READ, &gone, &unused) == ERR_OK) {
            if (!folder_current(fs, gone))
                folder_forget(fs, gone);
            folder_release(fs, gone);
        }
        *slash = '\0';
    }
}

static enum err sync_folder(struct fs *fs, struct objstore_req *r, const char *key)
{
    struct folder *f;
    enum err err = folder_open(fs, key, key_folder_bytes(key), FOLDER_READ, &f, &r->complaint);
    if (err)
        return err == ERR_NOTFOUND ? ERR_OK : err;
    err = folder_sync(fs, f, key, &r->complaint);
    folder_release(fs, f);
    if (!err)
        prune(fs, key, key_folder_bytes(key));
    return err;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool same_folder(const char *a, const char *b)
{
    size_t n = key_folder_bytes(a);
    return n == key_folder_bytes(b) && memcmp(a, b, n) == 0;
}

static enum err delete_sorted(struct fs *fs, struct objstore_req *r, const char *const *keys)
{
    for (size_t i = 0; i < r->key_count; i++) {
        enum err err = remove_key(fs, r, keys[i]);
        bool last = i + 1 == r->key_count || !same_folder(keys[i], keys[i + 1]);
        if (!err && last)
            err = sync_folder(fs, r, keys[i]);
        if (err)
            return err;
    }
    return ERR_OK;
}

enum err fs_delete(struct fs *fs, struct objstore_req *r)
{
    const char **keys = mem_alloc(r->key_count * sizeof *keys);
    for (size_t i = 0; i < r->key_count; i++)
        keys[i] = r->keys[i];
    qsort(keys, r->key_count, sizeof *keys, by_text);
    enum err err = delete_sorted(fs, r, keys);
    mem_free(keys);
    return err;
}
