#include "cli/default_store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"

#define SCHEME "file:"

static const char *absolute(const char *variable)
{
    const char *v = getenv(variable);
    return v && *v == '/' ? v : NULL;
}

static char *default_path(void)
{
    const char *data = absolute("XDG_DATA_HOME"), *home = absolute("HOME");
    if (!data && !home)
        return NULL;
    const char *base = data ? data : home, *tail = data ? "/ashlar" : "/.local/share/ashlar";
    size_t bytes = strlen(base) + strlen(tail) + 1;
    char *path = mem_alloc(bytes);
    snprintf(path, bytes, "%s%s", base, tail);
    return path;
}

/* A store's URL has %XX, options behind '?', and nothing behind '#'. */
static char *url_of(const char *path)
{
    char *url = mem_alloc(strlen(SCHEME) + 3 * strlen(path) + 1), *to = stpcpy(url, SCHEME);
    for (; *path; path++) {
        if (strchr("%?#", *path))
            to += snprintf(to, 4, "%%%02X", (unsigned char)*path);
        else
            *to++ = *path;
    }
    *to = '\0';
    return url;
}

char *default_store_url(void)
{
    char *path = default_path(), *url = path ? url_of(path) : NULL;
    mem_free(path);
    return url;
}

static int make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int r = mkdir(path, 0700);
        *slash = '/';
        if (r && errno != EEXIST && errno != EROFS && errno != EACCES)
            return errno;
    }
    return mkdir(path, 0700) && errno != EEXIST ? errno : 0;
}

enum err default_store_make(char **url, struct complaint *c)
{
    char *path = default_path();
    if (!path)
        return complain(c, ERR_INVALID,
                        "no store is named, and neither XDG_DATA_HOME nor HOME says where your data is; give "
                        "--store file:/path or --store s3://bucket");
    int e = make_folders(path);
    if (e)
        complain(c, ERR_DENIED, "the store %s cannot be made: %s; name another with --store", path,
                 strerror(e));
    else
        *url = url_of(path);
    mem_free(path);
    return e ? ERR_DENIED : ERR_OK;
}
