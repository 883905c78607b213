/* s3_config.h - what an s3:// URL says about a bucket (objstore/store_url.h parses it, s3.h opens it).
 *
 * Strings are decoded, borrowed for the length of the call they are passed to, and NULL where the URL is
 * silent.
 */
#ifndef OBJSTORE_S3_S3_CONFIG_H
#define OBJSTORE_S3_S3_CONFIG_H

#include <stdbool.h>

struct s3_config {
    const char *bucket;   /* never NULL; not empty, no '/' */
    const char *prefix;   /* never NULL; "" or segments joined by '/', without one at either end */
    const char *endpoint; /* http://HOST[:PORT] or https://HOST[:PORT], nothing behind; NULL: AWS's own */
    const char *region;   /* NULL: from the environment or the profile */
    const char *profile;  /* NULL: from the environment, or "default" */
    const char *ca_file;  /* PEM; NULL: the system's */
    int path_style;       /* 1: http://endpoint/bucket/key, 0: http://bucket.endpoint/key, -1: not said */
    bool conditional_writes_off; /* the user accepts a store that ignores conditions */
};

#endif
