/* store.h - inside the S3 store: the store, its requests, and one sending of a request. */
#ifndef OBJSTORE_S3_STORE_H
#define OBJSTORE_S3_STORE_H

#include "objstore/objstore.h"
#include "objstore/s3/credentials.h"
#include "objstore/s3/http.h"
#include "objstore/s3/pace.h"
#include "objstore/s3/signer.h"
#include "objstore/s3/uri.h"
#include "objstore/s3/verdict.h"

#define S3_KEPT_FOR_DEMAND 8
#define S3_LIST_BYTES_MAX  (16 << 20) /* 1,000 keys of 3 KiB, and what goes around them */
#define S3_REPLY_BYTES_MAX (4 << 20)

struct s3_store {
    struct objstore base;
    struct http *http;
    char *name, *bucket, *region, *profile;
    struct text root;      /* "" or "prefix/" */
    struct text host;      /* the Host header */
    struct text origin;    /* "https://HOST" */
    struct text base_path; /* "" or "/bucket" */
    bool emulate_conditions;

    struct credentials credentials;
    unsigned credentials_serial;
    struct s3_reload *reload; /* NULL: none under way */
    uint64_t reloaded_ns;
    struct sha256 key; /* for key_day and credentials_serial */
    char key_day[9];
    unsigned key_serial;
    int64_t skew_ms;

    bool bucket_seen, deletes_singly;
    bool counts_skipped_keys; /* MinIO's way of listing: see list.c */
    bool quotes_etags, etag_form_proven;

    struct list all;       /* struct s3_request */
    struct list queues[2]; /* by priority, those that wait for a place */
    struct list turns;     /* conditional PUTs in emulation that wait for another one to the same key */
    size_t running, running_background;
    struct pace pace;
    struct list spare; /* struct s3_attempt */
    size_t spare_count;
    uint64_t troubled_ns, told_ns; /* since when, and when a log line last said so */
    uint64_t troubles;             /* attempts in vain since the last answer */
    bool told;                     /* a line said so since then */
};

enum s3_state { S3_NEW, S3_HASHING, S3_TURN, S3_QUEUED, S3_RUNNING, S3_WAITING };

/* What is sent next, or under way. */
enum s3_act {
    S3_ACT_GET,
    S3_ACT_HEAD,
    S3_ACT_PUT,
    S3_ACT_LIST,
    S3_ACT_DELETE_ONE,  /* keys[0] of those left */
    S3_ACT_DELETE_MANY, /* all that are left */
    S3_ACT_TELL,        /* GET, after 404 to a HEAD: is it the key or the bucket that is missing? */
    S3_ACT_LOOK, /* HEAD: which ETag is there? Before a PUT in emulation; after a doubtful 412; after 507 */
};

#define S3_ATTEMPTS_MAX 3u

struct s3_attempt {
    struct http_call call;
    struct link link; /* among the spare */
    struct s3_request *request;
    struct text path, query, url, lines[HTTP_CALL_HEADERS];
    char time[SIGNER_TIME_MAX], payload_hash[SHA256_HEX];
    int64_t signed_ms, skew_ms; /* the time it was signed with, and how much of that was correction */
    uint64_t started_ns;
    unsigned credentials_serial;
};

struct s3_request {
    struct s3_store *s;
    struct objstore_req *req;
    struct link link, all;
    enum s3_state state;
    enum s3_act act;
    struct s3_attempt *attempts[S3_ATTEMPTS_MAX]; /* all but one are sent because the others were slow */
    struct timer wait, slow, patience;
    unsigned tries, refusals;
    bool conditional;  /* a PUT that is sent once */
    bool has_place;    /* counted in running */
    bool etag_checked; /* the doubtful 412 was looked into */
    bool was_full;     /* no space for a conditional PUT: a look tells whether it was applied all the same */
    bool end_early;    /* canceled or out of patience while hashing */
    bool fresh;        /* the next sending goes on a new connection */
    enum err last_err; /* of the sending before; OK: none yet */
    size_t body_bytes;
    struct sha256 body_hash;
    struct job hashing;
    const char **left; /* DELETE: keys still to be deleted */
    size_t left_count;
    struct text deletion; /* body of DeleteObjects */
    struct iovec deletion_piece;
    struct text md5_line;
    struct text start, token; /* LIST: where to begin; where the server says to go on */
    size_t page;              /* LIST: entries asked for at a time */
    size_t barren, endless;   /* LIST: pages without a new key; how often it came to no end */
    bool careful;             /* LIST: see list.c */
};

/* ------------------------------------------------------------------- exchange.c */

void s3_attempt_start(struct s3_request *, struct s3_attempt *, bool fresh);
struct s3_attempt *s3_attempt_get(struct s3_store *);
void s3_attempt_put(struct s3_store *, struct s3_attempt *);
void s3_attempts_finish(struct s3_store *);

/* -------------------------------------------------------------------- request.c */

void s3_request_submit(struct s3_store *, struct objstore_req *);
void s3_request_cancel(struct s3_request *);
/* Starts what there is place for. */
void s3_pump(struct s3_store *);
/* Takes the request out of everything, answers it and frees it. */
void s3_request_finish(struct s3_request *, enum err);
/* Gives its place among those under way to others, and ends what it has sent. */
void s3_request_leave(struct s3_request *);
void s3_request_enqueue(struct s3_request *, bool first);
/* Sends again what act now says, at once. */
void s3_request_again(struct s3_request *);

/* ---------------------------------------------------------------------- retry.c */

/* Sends again after a while, or gives up. */
void s3_request_trouble(struct s3_request *, struct http_call *, const struct verdict *);
/* The answer makes no sense: taken for trouble that may pass. */
void s3_request_nonsense(struct s3_request *, const char *what);
enum err s3_request_complain(struct s3_request *, struct http_call *, const struct verdict *);
void s3_request_waited(struct timer *);
void s3_tell_recovery(struct s3_store *);

/* -------------------------------------------------------------------- answers.c */

/* Goes on with the request after a 2xx or 404 answer to what was asked for. */
void s3_answer_done(struct s3_request *, struct http_call *);
void s3_answer_missing(struct s3_request *, struct http_call *, const struct verdict *);

/* ----------------------------------------------------------------------- list.c */

/* From the beginning, with nothing listed yet. */
void s3_list_begin(struct s3_request *);
void s3_list_answered(struct s3_request *, struct http_call *);

/* ------------------------------------------------------------------- rotation.c */

/* The server refused these credentials: reads them anew unless that was just done. True when others are
 * there. */
bool s3_credentials_refused(struct s3_store *, unsigned serial);
void s3_credentials_abandon(struct s3_store *);
const struct sha256 *s3_signing_key(struct s3_store *, const char *time);

#endif
