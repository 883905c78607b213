/* http.h - HTTP/1.1 exchanges on a loop, many at once: libcurl's multi interface behind one struct.
 *
 * Guarantees
 *   1. done is called exactly once for each http_start that was not followed by http_cancel, from the loop.
 *   2. A call's memory is bounded: content by `limit`, an error's content by HTTP_ERROR_MAX, headers by
 *      HTTP_HEADERS_MAX_BYTES.
 *   3. A connection that was kept alive and turns out to be closed before anything of an answer came is
 *      replaced, and the request sent again, without the caller noticing - unless `once` is set and part of
 *      the body has left.
 *   4. No redirect is followed, nothing is cached, no cookie or .netrc is used. http_proxy, https_proxy and
 *      NO_PROXY are honoured as curl does.
 *
 * What is passed in is borrowed until done or cancel.
 */
#ifndef OBJSTORE_S3_HTTP_H
#define OBJSTORE_S3_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "loop/loop.h"
#include "objstore/s3/text.h"

#define HTTP_CALL_HEADERS      16
#define HTTP_VALUE_MAX         256
#define HTTP_ERROR_MAX         (64 << 10)
#define HTTP_HEADERS_MAX_BYTES (64 << 10)

struct http;

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_PUT, HTTP_POST, HTTP_DELETE };

enum http_failure {
    HTTP_ANSWERED,   /* status and head are set; content is whole */
    HTTP_NO_CONTACT, /* no connection, no name, no TLS: the request never left */
    HTTP_BROKEN,     /* the connection broke, went silent, or what came was not HTTP or not whole */
    HTTP_TOO_LARGE,  /* the content of a 2xx answer is over `limit` */
};

struct http_head {
    int status;
    bool has_length, is_chunked;
    uint64_t content_length;
    bool has_range; /* Content-Range: bytes first-last/whole */
    uint64_t range_first, range_last, range_whole;
    int64_t date_ms, modified_ms; /* 0: not said */
    bool is_minio;
    char etag[HTTP_VALUE_MAX], region[64], location[HTTP_VALUE_MAX];
};

struct http_call {
    /* ------------------------------------------------ what is asked; zeroed where it does not matter */
    enum http_method method;
    const char *url;
    const char *headers[HTTP_CALL_HEADERS]; /* "Name: value" */
    size_t header_count;
    const struct iovec *body; /* PUT, POST */
    size_t body_count;
    size_t limit;        /* of the content of a 2xx answer */
    bool once;           /* guarantee 3 */
    bool fresh;          /* on a new connection */
    unsigned silence_s;  /* nothing sent and nothing received for so long: HTTP_BROKEN */
    unsigned max_idle_s; /* use no connection that was idle for longer; 0: any */
    void (*done)(struct http_call *);

    /* ------------------------------------------------------------------------------ what is answered */
    enum http_failure failure;
    char why[CURL_ERROR_SIZE]; /* when not HTTP_ANSWERED: curl's own words, never empty */
    bool is_tls_failure;
    bool left; /* all or part of the request may have reached the server */
    struct http_head head;
    struct buf *content; /* of a 2xx answer: content->bytes long; the caller's to drop. NULL for HEAD */
    struct text error;   /* the content of any other answer, cut; the caller's to text_finish */

    /* -------------------------------------------------------------------------------------- http.c's */
    struct http *http;
    CURL *easy;
    struct curl_slist list[HTTP_CALL_HEADERS + 2];
    struct link link;
    size_t body_piece, body_skip; /* read so far: pieces, and bytes of the next one */
    size_t body_bytes;
    size_t received, header_bytes;
    bool too_large, error_cut;
};

/* NULL ca_file: the system's certificates. */
struct http *http_create(struct loop *, const char *ca_file);
/* No call may be under way. */
void http_destroy(struct http *);

void http_start(struct http *, struct http_call *);
/* Ends the call; done is not called. call->left says what may have happened. Harmless when none is under way.
 */
void http_cancel(struct http_call *);
bool http_is_running(const struct http_call *);

#endif
