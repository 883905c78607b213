/* Objects in the order of their keys: a folder sorts as its name with '/' behind, its own entries below it.
 * Each folder is scanned for the next few names only, so that memory is bounded however many files it has. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "objstore/dir/fs.h"
#include "objstore/key.h"

enum { TRIES = 16 };

struct listing {
    struct fs *fs;
    struct objstore_req *r;
    const char *after;
    char path[OBJSTORE_KEY_MAX]; /* of the folder under way, with its '/' at the end */
    size_t top;                  /* the bytes of path that the listing's first folder has */
};

/* Names in it end in '/' when they are folders'. */
struct scan {
    char **names; /* the smallest so far, in no order */
    size_t count, wanted;
    const char *floor; /* only what comes behind it */
    const char *worst; /* once `wanted` are there: what is not less is of no use */
    bool more;         /* some were left out */
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void drop_from(struct scan *s, size_t first)
{
    while (s->count > first)
        mem_free(s->names[--s->count]);
}

static void shrink(struct scan *s)
{
    qsort(s->names, s->count, sizeof *s->names, by_text);
    if (s->count <= s->wanted)
        return;
    s->more = true;
    drop_from(s, s->wanted);
    s->worst = s->names[s->count - 1];
}

static void keep(struct scan *s, const char *name)
{
    if (strcmp(name, s->floor) <= 0)
        return;
    if (s->worst && strcmp(name, s->worst) >= 0) {
        s->more = true;
        return;
    }
    s->names[s->count++] = mem_strdup(name);
    if (s->count == 2 * s->wanted)
        shrink(s);
}

/* The entry's name as a part of keys, false when it is none. */
static bool name_of(int folder, size_t path_bytes, const struct dirent *e, char name[NAME_MAX + 2])
{
    struct stat st;
    unsigned char type = e->d_type;
    if (path_bytes == 0 && (strcmp(e->d_name, FS_OWN) == 0 || strcmp(e->d_name, FS_LOST_FOUND) == 0))
        return false;
    if (path_bytes + strlen(e->d_name) + 1 >= OBJSTORE_KEY_MAX || !key_valid(e->d_name))
        return false;
    if (type == DT_UNKNOWN && fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        type = S_ISDIR(st.st_mode) ? DT_DIR : S_ISREG(st.st_mode) ? DT_REG : DT_UNKNOWN;
    if (type != DT_DIR && type != DT_REG)
        return false;
    snprintf(name, NAME_MAX + 2, "%s%s", e->d_name, type == DT_DIR ? "/" : "");
    return true;
}

static bool is_folder(const char *name)
{
    return name[strlen(name) - 1] == '/';
}

/* Whether the request can want the name, or something below it, in the folder that path ends with. */
static bool wanted(struct listing *l, size_t path_bytes, const char *name)
{
    const char *prefix = l->r->key + l->top;
    if (path_bytes == l->top && strncmp(name, prefix, strlen(prefix)) != 0)
        return false;
    int order = strncmp(l->path, l->after, path_bytes);
    if (order)
        return order > 0;
    const char *after = l->after + path_bytes;
    bool holds_after = is_folder(name) && !l->r->delimited && strncmp(after, name, strlen(name)) == 0;
    return strcmp(name, after) > 0 || holds_after;
}

static enum err failed(struct listing *l, int error)
{
    return fs_failed(&l->r->complaint, "listing", l->path[0] ? l->path : l->fs->path, error);
}

static DIR *open_entries(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d && fd >= 0)
        close(fd);
    return d;
}

static enum err scan_folder(struct listing *l, DIR *d, size_t path_bytes, struct scan *s)
{
    char name[NAME_MAX + 2];
    struct dirent *e;
    rewinddir(d);
    for (errno = 0; (e = readdir(d)); errno = 0)
        if (name_of(dirfd(d), path_bytes, e, name) && wanted(l, path_bytes, name))
            keep(s, name);
    if (errno)
        return failed(l, errno);
    shrink(s);
    return ERR_OK;
}

/* Whether there is any object below the folder. */
static enum err any_key(struct listing *l, int above, const char *folder, size_t path_bytes, bool *found)
{
    char name[NAME_MAX + 2];
    DIR *d = open_entries(above, folder);
    if (!d)
        return errno == ENOENT ? ERR_OK : failed(l, errno);
    struct dirent *e;
    enum err err = ERR_OK;
    while (!err && !*found && (e = readdir(d))) {
        if (!name_of(dirfd(d), path_bytes, e, name))
            continue;
        if (is_folder(name))
            err = any_key(l, dirfd(d), e->d_name, path_bytes + strlen(name), found);
        else
            *found = true;
    }
    closedir(d);
    return err;
}

static bool enough(struct listing *l)
{
    l->r->truncated = l->r->entry_count == l->r->list_limit;
    return l->r->truncated;
}

static void add(struct listing *l, const char *name, const struct stat *st)
{
    char key[OBJSTORE_KEY_MAX + NAME_MAX + 2];
    snprintf(key, sizeof key, "%s%s", l->path, name);
    l->r->entries[l->r->entry_count++] = (struct objstore_entry){.key = mem_strdup(key),
                                                                 .bytes = st ? (uint64_t)st->st_size : 0,
                                                                 .modified_ms = st ? fs_ms(&st->st_mtim) : 0};
}

static enum err list_folder(struct listing *l, int folder, const char *name);

static enum err list_name(struct listing *l, int folder, size_t path_bytes, char *name)
{
    struct stat st;
    if (!is_folder(name)) {
        if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW))
            return errno == ENOENT ? ERR_OK : failed(l, errno);
        if (S_ISREG(st.st_mode) && !enough(l))
            add(l, name, &st);
        return ERR_OK;
    }
    size_t n = strlen(name);
    name[n - 1] = '\0';
    enum err err = ERR_OK;
    if (l->r->delimited) {
        bool found = false;
        err = any_key(l, folder, name, path_bytes + n, &found);
        name[n - 1] = '/';
        if (!err && found && !enough(l))
            add(l, name, NULL);
        return err;
    }
    memcpy(l->path + path_bytes, name, n - 1);
    memcpy(l->path + path_bytes + n - 1, "/", 2);
    err = list_folder(l, folder, name);
    l->path[path_bytes] = '\0';
    name[n - 1] = '/';
    return err;
}

static enum err list_names(struct listing *l, DIR *d, size_t path_bytes, struct scan *s,
                           char floor[NAME_MAX + 2])
{
    enum err err = scan_folder(l, d, path_bytes, s);
    for (size_t i = 0; i < s->count && !err && !l->r->truncated; i++)
        err = list_name(l, dirfd(d), path_bytes, s->names[i]);
    if (s->count)
        snprintf(floor, NAME_MAX + 2, "%s", s->names[s->count - 1]);
    return err;
}

/* Recursion is as deep as a key has segments. */
static enum err list_folder(struct listing *l, int above, const char *name)
{
    size_t path_bytes = strlen(l->path);
    char floor[NAME_MAX + 2] = "";
    DIR *d = open_entries(above, name);
    if (!d)
        return errno == ENOENT ? ERR_OK : failed(l, errno);
    enum err err = ERR_OK;
    for (bool more = true; more && !err && !l->r->truncated;) {
        size_t room = l->r->list_limit - l->r->entry_count + 1; /* one more tells whether there is more */
        struct scan s = {.wanted = room, .floor = floor};
        s.names = mem_alloc(2 * room * sizeof *s.names);
        err = list_names(l, d, path_bytes, &s, floor);
        more = s.more;
        drop_from(&s, 0);
        mem_free(s.names);
    }
    closedir(d);
    return err;
}

static enum err list_once(struct fs *fs, struct objstore_req *r, bool *moved)
{
    struct folder *f;
    struct listing l = {.fs = fs, .r = r, .after = r->after ? r->after : ""};
    size_t n = key_folder_bytes(r->key);
    l.top = n ? n + 1 : 0;
    memcpy(l.path, r->key, l.top);
    *moved = false;
    enum err err = folder_open(fs, r->key, n, FOLDER_READ, &f, &r->complaint);
    if (err)
        return err == ERR_NOTFOUND ? ERR_OK : err;
    *moved = !folder_current(fs, f);
    if (*moved)
        folder_forget(fs, f);
    else
        err = list_folder(&l, f->fd, ".");
    folder_release(fs, f);
    return err;
}

enum err fs_list(struct fs *fs, struct objstore_req *r)
{
    bool moved = true;
    enum err err = ERR_HELD;
    r->entries = MEM_ARRAY(struct objstore_entry, r->list_limit);
    for (int i = 0; i < TRIES && moved; i++)
        err = list_once(fs, r, &moved);
    if (moved)
        err = ERR_HELD;
    if (err) {
        objstore_entries_free(r->entries, r->entry_count);
        r->entries = NULL;
        r->entry_count = 0;
        r->truncated = false;
        return err;
    }
    r->date_ms = fs_now_ms(fs);
    return ERR_OK;
}
