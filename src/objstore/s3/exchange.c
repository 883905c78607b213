#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "objstore/s3/store.h"
#include "objstore/s3/xml.h"

#define SPARE_MAX              72
#define SILENCE_S              20u
#define SILENCE_DELETE_S       60u /* a thousand deletions may take the server a while */
#define CONDITIONAL_MAX_IDLE_S 4u  /* servers close idle connections from about 5 s on */

static const char *const methods[] = {[HTTP_GET] = "GET",
                                      [HTTP_HEAD] = "HEAD",
                                      [HTTP_PUT] = "PUT",
                                      [HTTP_POST] = "POST",
                                      [HTTP_DELETE] = "DELETE"};

struct s3_attempt *s3_attempt_get(struct s3_store *s)
{
    struct link *k = list_pop(&s->spare);
    if (!k)
        return MEM_NEW(struct s3_attempt);
    s->spare_count--;
    return CONTAINER_OF(k, struct s3_attempt, link);
}

static void free_attempt(struct s3_attempt *a)
{
    text_finish(&a->path);
    text_finish(&a->query);
    text_finish(&a->url);
    text_finish(&a->call.error);
    for (size_t i = 0; i < HTTP_CALL_HEADERS; i++)
        text_finish(&a->lines[i]);
    mem_free(a);
}

void s3_attempt_put(struct s3_store *s, struct s3_attempt *a)
{
    buf_unref(a->call.content);
    a->call.content = NULL;
    a->request = NULL;
    if (s->spare_count == SPARE_MAX) {
        free_attempt(a);
        return;
    }
    s->spare_count++;
    list_push(&s->spare, &a->link);
}

void s3_attempts_finish(struct s3_store *s)
{
    struct link *k;
    while ((k = list_pop(&s->spare)))
        free_attempt(CONTAINER_OF(k, struct s3_attempt, link));
}

/* ------------------------------------------------------------------------ the request */

static enum http_method method_of(enum s3_act act)
{
    switch (act) {
    case S3_ACT_HEAD:
    case S3_ACT_LOOK:
        return HTTP_HEAD;
    case S3_ACT_PUT:
        return HTTP_PUT;
    case S3_ACT_DELETE_ONE:
        return HTTP_DELETE;
    case S3_ACT_DELETE_MANY:
        return HTTP_POST;
    default:
        return HTTP_GET;
    }
}

static enum objstore_verb counted_as(const struct s3_request *r)
{
    return r->act == S3_ACT_LOOK ? OBJSTORE_HEAD : r->act == S3_ACT_TELL ? OBJSTORE_GET : r->req->verb;
}

static void set_path(struct s3_request *r, struct s3_attempt *a)
{
    struct s3_store *s = r->s;
    const char *key = r->act == S3_ACT_DELETE_ONE ? r->left[0] : r->req->key;
    text_clear(&a->path);
    text_add(&a->path, text_of(&s->base_path));
    if (r->act == S3_ACT_LIST || r->act == S3_ACT_DELETE_MANY) {
        if (!a->path.bytes)
            text_add(&a->path, "/");
        return;
    }
    text_add(&a->path, "/");
    uri_encode(&a->path, text_of(&s->root), true);
    uri_encode(&a->path, key, true);
}

static void set_query(struct s3_request *r, struct s3_attempt *a)
{
    const struct objstore_req *q = r->req;
    struct uri_pair pairs[8];
    size_t n = 0;
    text_clear(&a->query);
    if (r->act == S3_ACT_DELETE_MANY)
        pairs[n++] = (struct uri_pair){"delete", ""};
    struct text prefix = {0}, most = {0};
    if (r->act == S3_ACT_LIST) {
        text_addf(&prefix, "%s%s", text_of(&r->s->root), q->key);
        text_addf(&most, "%zu", r->page);
        pairs[n++] = (struct uri_pair){"list-type", "2"};
        pairs[n++] = (struct uri_pair){"encoding-type", "url"};
        pairs[n++] = (struct uri_pair){"max-keys", text_of(&most)};
        pairs[n++] = (struct uri_pair){"prefix", text_of(&prefix)};
        if (q->delimited)
            pairs[n++] = (struct uri_pair){"delimiter", "/"};
        if (r->token.bytes)
            pairs[n++] = (struct uri_pair){"continuation-token", text_of(&r->token)};
        else if (r->start.bytes)
            pairs[n++] = (struct uri_pair){"start-after", text_of(&r->start)};
    }
    uri_add_query(&a->query, pairs, n);
    text_finish(&prefix);
    text_finish(&most);
}

static void set_url(struct s3_request *r, struct s3_attempt *a)
{
    text_clear(&a->url);
    text_add(&a->url, text_of(&r->s->origin));
    text_add(&a->url, text_of(&a->path));
    if (a->query.bytes) {
        text_add(&a->url, "?");
        text_add(&a->url, text_of(&a->query));
    }
}

/* Headers are added in the order of their names, which is the order in which they are signed. */
struct head {
    struct s3_attempt *a;
    struct signer_header of[HTTP_CALL_HEADERS];
    size_t count;
};

static void add_header(struct head *h, const char *name, const char *value)
{
    struct text *line = &h->a->lines[h->count];
    text_clear(line);
    text_addf(line, "%s: %s", name, value);
    h->of[h->count++] = (struct signer_header){name, line->at + strlen(name) + 2};
}

static void add_condition(struct head *h, struct s3_request *r, char quoted[OBJSTORE_ETAG_MAX + 2])
{
    if (r->act != S3_ACT_PUT || r->s->emulate_conditions || r->req->condition == OBJSTORE_ANY)
        return;
    if (r->req->condition == OBJSTORE_CREATE) {
        add_header(h, "if-none-match", "*");
        return;
    }
    const char *quote = r->s->quotes_etags ? "\"" : "";
    snprintf(quoted, OBJSTORE_ETAG_MAX + 2, "%s%s%s", quote, r->req->etag, quote);
    add_header(h, "if-match", quoted);
}

static void add_range(struct head *h, struct s3_request *r)
{
    char range[64];
    const struct objstore_req *q = r->req;
    if (r->act == S3_ACT_TELL)
        add_header(h, "range", "bytes=0-0");
    if (r->act != S3_ACT_GET || q->length == 0)
        return;
    snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)q->offset,
             (unsigned long long)(q->offset + q->length - 1));
    add_header(h, "range", range);
}

static void add_md5(struct head *h, const struct text *body)
{
    unsigned char digest[16];
    gnutls_datum_t d = {digest, sizeof digest}, encoded;
    int e = gnutls_hash_fast(GNUTLS_DIG_MD5, body->at, body->bytes, digest);
    if (e == 0)
        e = gnutls_base64_encode2(&d, &encoded);
    assert(e == 0);
    add_header(h, "content-md5", (const char *)encoded.data);
    gnutls_free(encoded.data);
}

static void set_payload_hash(struct s3_request *r, struct s3_attempt *a)
{
    struct sha256 hash;
    if (r->act == S3_ACT_PUT)
        hash = r->body_hash;
    else if (r->act == S3_ACT_DELETE_MANY)
        hash = sha256_of(r->deletion.at, r->deletion.bytes);
    else
        hash = sha256_of("", 0);
    hex_encode(hash.bytes, sizeof hash.bytes, a->payload_hash);
}

static void set_body(struct s3_request *r, struct s3_attempt *a)
{
    a->call.body = NULL;
    a->call.body_count = 0;
    if (r->act == S3_ACT_PUT) {
        a->call.body = r->req->body;
        a->call.body_count = r->req->body_count;
    } else if (r->act == S3_ACT_DELETE_MANY) {
        text_clear(&r->deletion);
        xml_add_deletion(&r->deletion, text_of(&r->s->root), r->left, r->left_count);
        r->deletion_piece = (struct iovec){r->deletion.at, r->deletion.bytes};
        a->call.body = &r->deletion_piece;
        a->call.body_count = 1;
    }
}

static void sign(struct s3_request *r, struct s3_attempt *a, struct head *h)
{
    struct s3_store *s = r->s;
    struct signer_request q = {.method = methods[a->call.method],
                               .path = text_of(&a->path),
                               .query = text_of(&a->query),
                               .headers = h->of,
                               .header_count = h->count,
                               .payload_hash = a->payload_hash,
                               .time = a->time,
                               .region = s->region,
                               .service = "s3"};
    struct text *line = &a->lines[h->count];
    text_clear(line);
    text_add(line, "authorization: ");
    signer_authorize(&q, s->credentials.access_key, s3_signing_key(s, a->time), line);
    a->credentials_serial = s->credentials_serial;
    a->call.header_count = h->count + 1;
    for (size_t i = 0; i <= h->count; i++)
        a->call.headers[i] = a->lines[i].at;
}

static void set_headers(struct s3_request *r, struct s3_attempt *a)
{
    struct s3_store *s = r->s;
    struct head h = {.a = a};
    char quoted[OBJSTORE_ETAG_MAX + 2];
    a->skew_ms = s->skew_ms;
    a->signed_ms = loop_wall_ms(s->base.loop) + a->skew_ms;
    signer_format_time(a->signed_ms, a->time);
    set_payload_hash(r, a);
    if (r->act == S3_ACT_DELETE_MANY)
        add_md5(&h, &r->deletion);
    add_header(&h, "host", text_of(&s->host));
    add_condition(&h, r, quoted);
    add_range(&h, r);
    add_header(&h, "x-amz-content-sha256", a->payload_hash);
    add_header(&h, "x-amz-date", a->time);
    if (s->credentials.session_token)
        add_header(&h, "x-amz-security-token", s->credentials.session_token);
    sign(r, a, &h);
}

static size_t limit_of(const struct s3_request *r)
{
    if (r->act == S3_ACT_GET)
        return r->req->length ? r->req->length : r->req->limit;
    return r->act == S3_ACT_LIST ? S3_LIST_BYTES_MAX : S3_REPLY_BYTES_MAX;
}

void s3_attempt_start(struct s3_request *r, struct s3_attempt *a, bool fresh)
{
    struct s3_store *s = r->s;
    struct http_call *c = &a->call;
    unsigned patient = r->tries < 3 ? r->tries : 3;
    a->request = r;
    a->started_ns = loop_now_ns(s->base.loop);
    c->method = method_of(r->act);
    c->limit = limit_of(r);
    c->once = r->act == S3_ACT_PUT && r->conditional;
    c->max_idle_s = c->once ? CONDITIONAL_MAX_IDLE_S : 0;
    c->fresh = fresh;
    c->silence_s = (c->method == HTTP_POST ? SILENCE_DELETE_S : SILENCE_S) << patient;
    set_body(r, a);
    set_path(r, a);
    set_query(r, a);
    set_url(r, a);
    set_headers(r, a);
    c->url = text_of(&a->url);
    s->base.counters.requests[counted_as(r)]++;
    http_start(s->http, c);
}
