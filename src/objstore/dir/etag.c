#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "objstore/dir/fs.h"

enum { PIECE = 1 << 18 };

void etag_of_hash(const struct sha256 *h, char etag[OBJSTORE_ETAG_MAX])
{
    hex_encode(h->bytes, sizeof h->bytes, etag);
}

int etag_of_file(int fd, char etag[OBJSTORE_ETAG_MAX])
{
    struct sha256_state s;
    uint8_t *piece = mem_alloc(PIECE);
    sha256_init(&s);
    ssize_t n;
    for (off_t offset = 0;; offset += n) {
        n = pread(fd, piece, PIECE, offset);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n <= 0)
            break;
        sha256_update(&s, piece, (size_t)n);
    }
    int error = n < 0 ? errno : 0;
    struct sha256 h = sha256_finish(&s);
    mem_free(piece);
    if (!error)
        etag_of_hash(&h, etag);
    return error;
}

enum err etag_check(const struct folder *f, const char *key, const char *etag, struct complaint *c)
{
    int fd = openat(f->fd, key_name(key), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? ERR_CONFLICT : fs_failed(c, "opening", key, errno);
    char there[OBJSTORE_ETAG_MAX];
    int error = etag_of_file(fd, there);
    close(fd);
    if (error)
        return fs_failed(c, "reading", key, error);
    return strcmp(there, etag) == 0 ? ERR_OK : ERR_CONFLICT;
}
