/* http_head.h - one line of an answer's head at a time. */
#ifndef OBJSTORE_S3_HTTP_HEAD_H
#define OBJSTORE_S3_HTTP_HEAD_H

#include "objstore/s3/http.h"

/* A status line begins the head anew (after 100 Continue). Unknown, malformed and over-long lines change
 * nothing. */
void http_head_line(struct http_head *, const char *line, size_t bytes);

#endif
