/* Faults for crash tests: ASHLAR_FAULTS=file=PATTERN,dir=PATTERN,... leaves out the fsync of the file, or of
 * the folder, of every key that matches the pattern (fnmatch(3): '*' stops at '/', but alone it means every
 * key). Only in builds with -Dfaults=true. */
#include "objstore/dir/fs.h"

#ifdef ASHLAR_FAULTS
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool listed(const char *kind, const char *key)
{
    char pattern[OBJSTORE_KEY_MAX];
    size_t kind_bytes = strlen(kind);
    for (const char *s = getenv("ASHLAR_FAULTS"); s && *s;) {
        size_t n = strcspn(s, ",");
        if (n > kind_bytes && strncmp(s, kind, kind_bytes) == 0) {
            snprintf(pattern, sizeof pattern, "%.*s", (int)(n - kind_bytes), s + kind_bytes);
            if (strcmp(pattern, "*") == 0 || fnmatch(pattern, key, FNM_PATHNAME) == 0)
                return true;
        }
        s += n + (s[n] == ',');
    }
    return false;
}

bool fault_no_file_sync(const char *key)
{
    return listed("file=", key);
}

bool fault_no_folder_sync(const char *key)
{
    return listed("dir=", key);
}

#else

bool fault_no_file_sync(const char *key)
{
    (void)key;
    return false;
}

bool fault_no_folder_sync(const char *key)
{
    (void)key;
    return false;
}

#endif
