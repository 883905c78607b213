/* store_url.h - which store a URL names, and opening it. The one place that knows every kind of store.
 *
 *   file:/path                                  a directory, made when it does not exist
 *   mem:                                        RAM of this process
 *   s3://bucket[/prefix][?endpoint=URL&region=R&path_style=0|1&profile=P&conditional_writes=off&ca=FILE]
 *
 * RFC 3986: %XX stands for a byte in any part ("%25" for '%' itself); the scheme is lower case. file:///path
 * is file:/path.
 */
#ifndef OBJSTORE_STORE_URL_H
#define OBJSTORE_STORE_URL_H

#include "base/err.h"
#include "loop/loop.h"
#include "objstore/objstore.h"
#include "objstore/s3/s3_config.h"

/* INVALID with a complaint that says what is wrong with the URL; NOTFOUND, DENIED when a directory cannot be
 * used. Opening s3: sends nothing yet. */
MUST_CHECK enum err objstore_open(struct loop *, const char *url, struct objstore **, struct complaint *);

/* The half of it that only reads the URL. */
enum store_kind { STORE_MEM, STORE_FILE, STORE_S3 };

struct store_url {
    enum store_kind kind;
    const char *path;    /* STORE_FILE: absolute */
    struct s3_config s3; /* STORE_S3 */
    char *text;          /* the decoded parts, which all others point into */
};

MUST_CHECK enum err store_url_parse(const char *url, struct store_url *, struct complaint *);
void store_url_finish(struct store_url *);

#endif
