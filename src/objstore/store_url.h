/* store_url.h - which store a URL names, and opening it. The one place that knows every kind of store.
 *
 *   file:/path                                  a directory, made when it does not exist
 *   mem:                                        RAM of this process
 *   s3://bucket[/prefix][?endpoint=URL&region=R&path_style=0|1&profile=P&conditional_writes=off&ca=FILE]
 */
#ifndef OBJSTORE_STORE_URL_H
#define OBJSTORE_STORE_URL_H

#include "base/err.h"
#include "loop/loop.h"
#include "objstore/objstore.h"

/* INVALID with a complaint that says what is wrong with the URL; NOTFOUND, DENIED when a directory cannot be used.
 * Opening s3: sends nothing yet. */
MUST_CHECK enum err objstore_open(struct loop *, const char *url, struct objstore **, struct complaint *);

#endif
