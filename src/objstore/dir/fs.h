/* fs.h - the directory store's blocking half: everything here runs on worker threads (and at opening), knows
 * no loop, and may be called by several threads at once.
 *
 * Errors are answered to the request (its complaint included). ERR_HELD, which never leaves the store, means
 * that another process or thread has the key's lock just now: try again in a moment. CORRUPT with a complaint
 * is an I/O error, which may pass, too.
 */
#ifndef OBJSTORE_DIR_FS_H
#define OBJSTORE_DIR_FS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/list.h"
#include "objstore/objstore.h"

#define FS_OWN         ".ashlar"
#define FS_LOST_FOUND  "lost+found"
#define FS_FOLDERS_MAX 64 /* open folders kept */
#define FS_LOCKS_KEPT  16
#define FS_TEMP_MAX    40

struct fs {
    char *path;
    int root, own, tmp, reserve; /* directories */
    int owner_lock; /* a description of .ashlar/lock that holds this process's own byte, for good */
    int clock;      /* .ashlar/lock again, to be touched */
    uint64_t owner; /* names this process among temporary files */
    bool unnamed;   /* O_TMPFILE and linkat work here */
    atomic_uint_fast64_t temps;
    atomic_bool reserve_low;

    pthread_mutex_t mutex; /* over all below */
    struct list folders;   /* latest used first */
    size_t folder_count;
    struct list unsynced; /* folders whose fsync failed */
    int locks[FS_LOCKS_KEPT];
    size_t lock_count;
};

/* open.c */
MUST_CHECK enum err fs_open(struct fs *, const char *path, uint64_t owner, struct complaint *);
void fs_close(struct fs *);

/* The request, whichever its verb. Answers its results and returns its err. */
MUST_CHECK enum err fs_run(struct fs *, struct objstore_req *);
MUST_CHECK enum err fs_put(struct fs *, struct objstore_req *);
MUST_CHECK enum err fs_get(struct fs *, struct objstore_req *); /* and HEAD */
MUST_CHECK enum err fs_delete(struct fs *, struct objstore_req *);
MUST_CHECK enum err fs_list(struct fs *, struct objstore_req *);

/* errors.c: what an errno means, with a sentence about it. */
enum err fs_failed(struct complaint *, const char *doing, const char *key, int error);
int64_t fs_ms(const struct timespec *);
/* The file system's clock; 0 when it cannot be had. */
int64_t fs_now_ms(struct fs *);

/* ------------------------------------------------------------ folders.c: open directories */

struct folder {
    struct link link;     /* in fs->folders */
    struct link unsynced; /* in fs->unsynced */
    char *path;           /* without a '/' at the end; "" is the store's own */
    int fd;
    unsigned refs;
    bool durable; /* it and all above it are known to be on the disk */
};

enum folder_want { FOLDER_READ, FOLDER_WRITE };

/* The folder that the first n bytes of key name. WRITE makes it when it is missing, and durable; READ:
 * NOTFOUND. */
MUST_CHECK enum err folder_open(struct fs *, const char *key, size_t n, enum folder_want, struct folder **,
                                struct complaint *);
void folder_release(struct fs *, struct folder *);
/* It is not what its path names any more: the next folder_open looks again. */
void folder_forget(struct fs *, struct folder *);
/* False when it was removed (and perhaps made again) since it was opened. */
bool folder_current(struct fs *, const struct folder *);
/* fsync; on failure the whole store waits for it (folders_settle). */
MUST_CHECK enum err folder_sync(struct fs *, struct folder *, const char *key, struct complaint *);
/* Syncs what could not be synced before; while that fails, nothing may be answered. */
MUST_CHECK enum err folders_settle(struct fs *, struct complaint *);
void folders_close(struct fs *); /* no other call is under way */
/* Where the key's last segment begins; the bytes before it, less the '/', are its folder. */
const char *key_name(const char *key);
size_t key_folder_bytes(const char *key);

/* --------------------------------------------------------------------------- lock.c */

/* HELD when somebody else has it; *lock goes back to lock_give. */
MUST_CHECK enum err lock_take(struct fs *, const char *key, int *lock, struct complaint *);
MUST_CHECK enum err lock_take_slot(struct fs *, unsigned slot, int *lock, struct complaint *);
void lock_give(struct fs *, int lock);
/* This process's byte, held until fs_close. */
MUST_CHECK enum err lock_own(struct fs *, struct complaint *);
bool lock_owner_gone(struct fs *, uint64_t owner);

/* --------------------------------------------------------------------------- temp.c */

struct temp {
    int fd;
    char name[FS_TEMP_MAX]; /* in fs->tmp; "" while it has none */
};

/* On the file system of that folder. */
MUST_CHECK int temp_open(struct fs *, const struct folder *, struct temp *); /* 0 or an errno */
MUST_CHECK int temp_give_name(struct fs *, struct temp *);
/* link(2): EEXIST when there is such a name. */
MUST_CHECK int temp_link(struct fs *, struct temp *, const struct folder *, const char *name);
/* rename(2), whatever is there. The temp needs a name. */
MUST_CHECK int temp_rename(struct fs *, struct temp *, const struct folder *, const char *name);
void temp_close(struct fs *, struct temp *); /* and removes what is left of it */
void temps_clean(struct fs *);               /* those of processes that are gone */
MUST_CHECK int write_all(int fd, const struct iovec *, size_t count, size_t *bytes); /* 0 or an errno */

/* --------------------------------------------------------------------------- etag.c */

/* Hashes the open file from its start. 0 or an errno. */
MUST_CHECK int etag_of_file(int fd, char etag[OBJSTORE_ETAG_MAX]);
void etag_of_hash(const struct sha256 *, char etag[OBJSTORE_ETAG_MAX]);
/* OK when the key's ETag is that one; CONFLICT when not, or nothing is there. Under the key's lock. */
MUST_CHECK enum err etag_check(const struct folder *, const char *key, const char *etag, struct complaint *);

/* ------------------------------------------------------------------------ reserve.c */

/* True for keys that may use it. */
bool reserve_serves(const char *key);
MUST_CHECK enum err reserve_put(struct fs *, struct objstore_req *, struct folder *);
/* Allocates what is missing, as far as there is room. */
void reserve_fill(struct fs *);

/* ------------------------------------------------------------------------- faults.c */

/* Whether to leave out the fsync of this key's file or folder; false in builds without -Dfaults=true. */
bool fault_no_file_sync(const char *key);
bool fault_no_folder_sync(const char *key);

#endif
