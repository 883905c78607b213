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

char *default_store_url(void)
{
    const char *data = absolute("XDG_DATA_HOME"), *home = absolute("HOME");
    if (!data && !home)
        return NULL;
    const char *base = data ? data : home, *tail = data ? "/ashlar" : "/.local/share/ashlar";
    size_t bytes = strlen(SCHEME) + strlen(base) + strlen(tail) + 1;
    char *url = mem_alloc(bytes);
    snprintf(url, bytes, SCHEME "%s%s", base, tail);
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
    char *made = default_store_url();
    if (!made)
        return complain(c, ERR_INVALID,
                        "no store is named, and neither XDG_DATA_HOME nor HOME says where your "
                        "data is; give --store file:/path or --store s3://bucket");
    int e = make_folders(made + strlen(SCHEME));
    if (e) {
        complain(c, ERR_DENIED, "the store %s cannot be made: %s; name another with --store", made,
                 strerror(e));
        mem_free(made);
        return ERR_DENIED;
    }
    *url = made;
    return ERR_OK;
}
