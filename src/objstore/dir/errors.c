#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "objstore/dir/fs.h"

static enum err meaning(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERR_NOSPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERR_DENIED;
    case ENAMETOOLONG:
    case ENOTDIR:
    case EISDIR:
    case ELOOP:
    case EXDEV:
        return ERR_INVALID;
    default:
        return ERR_UNAVAILABLE;
    }
}

static const char *advice(int error)
{
    switch (error) {
    case ENOSPC:
        return "; make room on its file system";
    case EDQUOT:
        return "; raise the quota or remove something";
    case EACCES:
    case EPERM:
        return "; the directory must belong to the user who runs this";
    case EROFS:
        return "; its file system is mounted read-only";
    case ENAMETOOLONG:
        return "; no part of a name may exceed 255 bytes";
    case ENOTDIR:
    case ELOOP:
        return "; something else than a folder or file is in the way, and symbolic links are not followed";
    case EXDEV:
        return "; all of the directory must be on one file system";
    default:
        return "";
    }
}

enum err fs_failed(struct complaint *c, const char *doing, const char *key, int error)
{
    char text[128];
    return complain(c, meaning(error), "%s %.200s: %s%s", doing, key, strerror_r(error, text, sizeof text),
                    advice(error));
}

int64_t fs_ms(const struct timespec *t)
{
    return (int64_t)t->tv_sec * 1000 + t->tv_nsec / 1000000;
}

int64_t fs_now_ms(struct fs *fs)
{
    struct stat st;
    if (futimens(fs->clock, NULL) || fstat(fs->clock, &st))
        return 0;
    return fs_ms(&st.st_mtim);
}
