#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "objstore/s3/store.h"
#include "objstore/s3/xml.h"

/* Without its quotes. An ETag too long to be kept is none: a later MATCH cannot hold. */
static void take_etag(struct objstore_req *q, const char *etag)
{
    size_t n = strlen(etag);
    if (n >= 2 && etag[0] == '"' && etag[n - 1] == '"') {
        etag++;
        n -= 2;
    }
    if (n >= sizeof q->etag)
        n = 0;
    memcpy(q->etag, etag, n);
    q->etag[n] = '\0';
}

/* ------------------------------------------------------------------------------ GET, HEAD */

static void got(struct s3_request *r, struct http_call *c)
{
    struct objstore_req *q = r->req;
    const struct http_head *h = &c->head;
    size_t came = c->content->bytes;
    bool whole = h->status == 200 && (q->length == 0 || (q->offset == 0 && came == q->length));
    bool part = h->status == 206 && q->length && h->has_range && h->range_first == q->offset && came > 0 &&
                h->range_last - h->range_first == came - 1;
    if (!whole && !part) {
        s3_request_nonsense(r, q->length ? "a range was asked for, another came"
                                         : "an object was asked for, something else came");
        return;
    }
    if (!h->has_length && !h->is_chunked) {
        s3_request_nonsense(r, "an object of which nobody says where it ends");
        return;
    }
    if (part && came != q->length) {
        log_error("s3", "%s: the object ends before the range that is wanted from it", q->key);
        s3_request_finish(r, ERR_CORRUPT);
        return;
    }
    q->content = c->content;
    c->content = NULL;
    take_etag(q, h->etag);
    q->object_bytes = whole ? came : h->range_whole;
    q->modified_ms = h->modified_ms;
    s3_request_finish(r, ERR_OK);
}

static void headed(struct s3_request *r, struct http_call *c)
{
    struct objstore_req *q = r->req;
    if (!c->head.has_length) {
        s3_request_nonsense(r, "an object of which nobody says how long it is");
        return;
    }
    take_etag(q, c->head.etag);
    q->object_bytes = c->head.content_length;
    q->modified_ms = c->head.modified_ms;
    s3_request_finish(r, ERR_OK);
}

/* ------------------------------------------------------------------------------------ PUT */

/* Every S3 server names the ETag of what it has stored. Whoever says 200 to anything does not. */
static void stored(struct s3_request *r, struct http_call *c)
{
    if (!c->head.etag[0]) {
        s3_request_nonsense(r, "an object was stored, but without an ETag");
        return;
    }
    if (r->req->condition == OBJSTORE_MATCH && !r->s->emulate_conditions)
        r->s->etag_form_proven = true;
    take_etag(r->req, c->head.etag);
    s3_request_finish(r, ERR_OK);
}

/* The object that a PUT has to do with is there, or (etag NULL) not. */
static void looked(struct s3_request *r, const char *etag)
{
    struct s3_store *s = r->s;
    struct objstore_req now = {0};
    bool holds;
    if (etag)
        take_etag(&now, etag);
    if (r->req->condition == OBJSTORE_CREATE)
        holds = !etag;
    else
        holds = etag && now.etag[0] && strcmp(now.etag, r->req->etag) == 0;
    if (r->was_full) {
        s3_request_finish(r, holds ? ERR_NOSPACE : ERR_UNKNOWN);
        return;
    }
    if (!holds) {
        s3_request_finish(r, ERR_CONFLICT);
        return;
    }
    if (!s->emulate_conditions) {
        s->quotes_etags = !s->quotes_etags;
        log_info("s3", "%s wants ETags %s quotes", s->name, s->quotes_etags ? "in" : "without");
    }
    r->act = S3_ACT_PUT;
    s3_request_again(r);
}

/* --------------------------------------------------------------------------------- DELETE */

static void deleted_one(struct s3_request *r)
{
    memmove(r->left, r->left + 1, --r->left_count * sizeof *r->left);
    r->tries = 0;
    if (r->left_count == 0)
        s3_request_finish(r, ERR_OK);
    else
        s3_request_again(r);
}

struct not_deleted {
    struct s3_request *r;
    size_t count;
    struct verdict verdict;
    bool odd;
};

static void keep_for_later(void *ctx, const char *key, const char *code)
{
    struct not_deleted *n = ctx;
    struct s3_request *r = n->r;
    const struct text *root = &r->s->root;
    if (strcmp(code, "NoSuchKey") == 0)
        return;
    if (strncmp(key, text_of(root), root->bytes) != 0) {
        n->odd = true;
        return;
    }
    for (size_t i = n->count; i < r->left_count; i++) {
        if (strcmp(r->left[i], key + root->bytes) == 0) {
            const char *k = r->left[i];
            r->left[i] = r->left[n->count];
            r->left[n->count++] = k;
            snprintf(n->verdict.error.code, sizeof n->verdict.error.code, "%s", code);
            return;
        }
    }
    n->odd = true;
}

static void deleted_many(struct s3_request *r, struct http_call *c)
{
    struct not_deleted n = {.r = r};
    if (!xml_parse_deleted(c->content->data, c->content->bytes, keep_for_later, &n) || n.odd) {
        s3_request_nonsense(r, "the answer to DeleteObjects");
        return;
    }
    r->left_count = n.count;
    if (n.count == 0) {
        s3_request_finish(r, ERR_OK);
        return;
    }
    bool denied = strcmp(n.verdict.error.code, "AccessDenied") == 0;
    bool slow_down = strcmp(n.verdict.error.code, "SlowDown") == 0;
    n.verdict.kind = denied ? S3_DENIED : slow_down ? S3_THROTTLED : S3_TROUBLE;
    s3_request_trouble(r, c, &n.verdict);
}

/* ------------------------------------------------------------------------------ dispatching */

void s3_answer_done(struct s3_request *r, struct http_call *c)
{
    r->s->bucket_seen = true;
    switch (r->act) {
    case S3_ACT_GET:
        got(r, c);
        break;
    case S3_ACT_HEAD:
        headed(r, c);
        break;
    case S3_ACT_PUT:
        stored(r, c);
        break;
    case S3_ACT_LIST:
        s3_list_answered(r, c);
        break;
    case S3_ACT_DELETE_ONE:
        deleted_one(r);
        break;
    case S3_ACT_DELETE_MANY:
        deleted_many(r, c);
        break;
    case S3_ACT_TELL:
        r->act = S3_ACT_HEAD;
        s3_request_again(r);
        break;
    case S3_ACT_LOOK:
        looked(r, c->head.etag);
        break;
    }
}

void s3_answer_missing(struct s3_request *r, struct http_call *c, const struct verdict *v)
{
    struct s3_store *s = r->s;
    if (strcmp(v->error.code, "NoSuchKey") == 0)
        s->bucket_seen = true;
    bool known = s->bucket_seen;
    if (v->is_bare && (r->act == S3_ACT_GET || r->act == S3_ACT_TELL)) {
        s3_request_nonsense(
            r, "404 without saying what is not there"); /* something that stands before the server */
    } else if (r->act == S3_ACT_LOOK) {
        looked(r, NULL);
    } else if (r->act == S3_ACT_HEAD && !known) {
        r->act = S3_ACT_TELL;
        s3_request_again(r);
    } else if (known && (r->act == S3_ACT_GET || r->act == S3_ACT_HEAD || r->act == S3_ACT_TELL)) {
        s3_request_finish(r, ERR_NOTFOUND);
    } else if (known && r->act == S3_ACT_DELETE_ONE) {
        deleted_one(r);
    } else if (known && r->act == S3_ACT_PUT && r->req->condition == OBJSTORE_MATCH) {
        s3_request_finish(r, ERR_CONFLICT);
    } else {
        struct verdict trouble = *v;
        trouble.kind = r->act == S3_ACT_PUT ? S3_TROUBLE : S3_REJECTED;
        s3_request_trouble(r, c, &trouble);
    }
}
