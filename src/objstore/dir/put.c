#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/mark.h"
#include "objstore/dir/fs.h"

enum { TRIES = 16 }; /* folders that vanish between being opened and used */

static bool vanished(int error)
{
    return error == ENOENT || error == ESTALE;
}

static enum err failed(struct objstore_req *r, const char *doing, int error)
{
    enum err err = fs_failed(&r->complaint, doing, r->key, error);
    return vanished(error) ? ERR_HELD : err;
}

static enum err fill(struct objstore_req *r, const struct temp *t)
{
    size_t bytes;
    struct stat st;
    int error = write_all(t->fd, r->body, r->body_count, &bytes);
    if (error)
        return failed(r, "writing", error);
    mark_hit("dir.put_written");
    if (!fault_no_file_sync(r->key) && fdatasync(t->fd))
        return failed(r, "syncing", errno);
    if (fstat(t->fd, &st))
        return failed(r, "writing", errno);
    r->object_bytes = bytes;
    r->modified_ms = r->date_ms = fs_ms(&st.st_mtim);
    return ERR_OK;
}

static enum err create(struct fs *fs, struct objstore_req *r, const struct folder *f, struct temp *t)
{
    int error = temp_link(fs, t, f, key_name(r->key));
    if (error != EEXIST)
        return error ? failed(r, "naming", error) : ERR_OK;
    struct stat st;
    if (fstatat(f->fd, key_name(r->key), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode))
        return fs_failed(&r->complaint, "naming", r->key, EISDIR);
    return ERR_CONFLICT;
}

static enum err replace(struct fs *fs, struct objstore_req *r, const struct folder *f, struct temp *t)
{
    int error = temp_give_name(fs, t), lock;
    if (error)
        return failed(r, "naming", error);
    enum err err = lock_take(fs, r->key, &lock, &r->complaint);
    if (err)
        return err;
    if (r->condition == OBJSTORE_MATCH)
        err = etag_check(f, r->key, r->etag, &r->complaint);
    if (!err) {
        mark_hit("dir.put_locked");
        error = temp_rename(fs, t, f, key_name(r->key));
        err = error ? failed(r, "naming", error) : ERR_OK;
    }
    lock_give(fs, lock);
    return err;
}

static enum err publish(struct fs *fs, struct objstore_req *r, const struct folder *f, struct temp *t)
{
    if (r->condition == OBJSTORE_CREATE)
        return create(fs, r, f, t);
    /* A link needs no lock: If-Match holds only while there is a file, and then the link is refused. */
    if (r->condition == OBJSTORE_ANY && !t->name[0]) {
        int error = temp_link(fs, t, f, key_name(r->key));
        if (error != EEXIST)
            return error ? failed(r, "naming", error) : ERR_OK;
    }
    return replace(fs, r, f, t);
}

static enum err put_file(struct fs *fs, struct objstore_req *r, const struct folder *f)
{
    struct temp t;
    int error = temp_open(fs, f, &t);
    if (error)
        return failed(r, "making a file for", error);
    enum err err = fill(r, &t);
    if (!err)
        err = publish(fs, r, f, &t);
    temp_close(fs, &t);
    return err;
}

/* The folder is synced before a CONFLICT too: whoever reads what was there first may build on it. */
static enum err settle(struct fs *fs, struct objstore_req *r, struct folder *f, enum err err)
{
    if (err != ERR_OK && err != ERR_CONFLICT)
        return err;
    mark_hit("dir.put_named");
    enum err synced = folder_sync(fs, f, r->key, &r->complaint);
    if (!synced)
        return err;
    return err == ERR_OK && r->condition != OBJSTORE_ANY ? ERR_UNKNOWN : synced;
}

static enum err put_in(struct fs *fs, struct objstore_req *r, struct folder *f)
{
    enum err err = put_file(fs, r, f);
    if (err == ERR_NOSPACE && reserve_serves(r->key))
        err = reserve_put(fs, r, f);
    return settle(fs, r, f, err);
}

/* If-Match makes no folders for what cannot be there. */
static enum err open_folder(struct fs *fs, struct objstore_req *r, struct folder **f)
{
    size_t n = key_folder_bytes(r->key);
    if (r->condition == OBJSTORE_MATCH) {
        enum err err = folder_open(fs, r->key, n, FOLDER_READ, f, &r->complaint);
        if (err)
            return err == ERR_NOTFOUND ? ERR_CONFLICT : err;
        folder_release(fs, *f);
    }
    return folder_open(fs, r->key, n, FOLDER_WRITE, f, &r->complaint);
}

static enum err put_once(struct fs *fs, struct objstore_req *r, bool *moved)
{
    struct folder *f;
    *moved = false;
    enum err err = open_folder(fs, r, &f);
    if (err)
        return err;
    err = put_in(fs, r, f);
    /* A file cannot be made in a folder that was removed either: ext4 then says EPERM. */
    *moved = (err == ERR_HELD || err == ERR_DENIED) && !folder_current(fs, f);
    if (*moved)
        folder_forget(fs, f);
    folder_release(fs, f);
    return *moved ? ERR_HELD : err;
}

enum err fs_put(struct fs *fs, struct objstore_req *r)
{
    struct sha256 h = r->sha256 ? *r->sha256 : sha256_of_iov(r->body, r->body_count);
    bool moved = true;
    enum err err = ERR_HELD;
    for (int i = 0; i < TRIES && err == ERR_HELD && moved; i++)
        err = put_once(fs, r, &moved);
    if (err == ERR_OK) {
        etag_of_hash(&h, r->etag);
        if (atomic_load(&fs->reserve_low))
            reserve_fill(fs);
    }
    return err;
}
