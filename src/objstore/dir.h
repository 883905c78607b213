/* dir.h - the store in a directory: an object is a file, its path below the directory is its key.
 *
 * On disk
 *   {key}                 the object, and nothing but its bytes (`sha256sum blocks/...` works)
 *   .ashlar/lock          byte-range locks (below); its time, touched, is the store's clock
 *   .ashlar/tmp/          files being written, {owner:016x}-{number:016x}
 *   .ashlar/reserve/      00 to 0f: files of 64 KiB, allocated, for heartbeats on a full disk
 *
 * `.ashlar` and `lost+found` are not keys (INVALID) and are never listed; neither are symbolic links, which
 * are not followed below the directory, nor files whose names cannot be keys. A segment of a key has at most
 * 255 bytes.
 *
 * Guarantees, beyond objstore.h's
 *   1. A name appears only after the file's bytes and size are on the disk (fdatasync); OK and CONFLICT are
 *      answered only after the folder is (fsync), and every folder up to the store's that this process had
 *      not synced before. A file whose fdatasync failed is thrown away, never synced again; when a folder's
 *      fsync fails the store answers nothing until one of the same folder succeeds.
 *   2. Atomic against other processes: CREATE is link(2); replacing and removing happen under a lock on the
 *      key (an open-file-description lock on one byte of .ashlar/lock, chosen by the key's hash), in which
 *      If-Match compares. The kernel drops it with its process. Nobody waits for a lock on a thread.
 *   3. The ETag is the SHA-256 of the content in hex, as S3's is a hash of the content: it comes back when
 *      the same content does, so whoever relies on If-Match must never write a version twice (DESIGN:
 *      serial and nonce). Times and inode numbers would not do: clocks are coarse and inodes are reused. It
 *      is given for PUT, HEAD and GET of a whole object; a GET of a part leaves it empty, because it would
 *      have to read the rest.
 *   4. date_ms: on PUT, HEAD, LIST and GET of a whole object, by the file system's clock (the time of a
 *      file just written or touched); otherwise 0.
 *   5. ENOSPC and EDQUOT are NOSPACE at once, and nothing has changed. A key below `servers/` is then
 *      written into a reserved file which changes places with the old version (renameat2), so that beats
 *      never use the reserve up. On file systems without fallocate(2) there is no reserve.
 *   6. EACCES, EPERM, EROFS (DENIED) and what else may pass (UNAVAILABLE) are tried again, 50 ms to 6.4 s
 *      apart, until the patience is over, DENIED only once if there is a bound to it. A conditional PUT
 *      whose file was named, but whose folder could not be synced, is UNKNOWN.
 *   7. A folder two or more levels deep goes with its last object; a PUT that meets one going makes it again.
 *   8. Files left behind by processes that are gone are removed at the next opening.
 *
 * Requests run as jobs; at most 4 of BACKGROUND priority at once, so that a pool of more threads has some to
 * spare for what somebody waits for.
 */
#ifndef OBJSTORE_DIR_H
#define OBJSTORE_DIR_H

#include "base/err.h"
#include "objstore/objstore.h"

/* Makes the directory (0700) and those above it when missing. DENIED, NOTFOUND (not a directory), UNSUPPORTED
 * (a file system without locks), NOSPACE or UNAVAILABLE, with a complaint. Blocks for a moment. */
MUST_CHECK enum err dir_store_create(struct loop *, const char *path, struct objstore **, struct complaint *);

#endif
