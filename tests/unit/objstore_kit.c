#include "objstore_kit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "loop/uv_loop.h"

void kit_fail(struct conformance *c, const char *file, int line, const char *fmt, ...)
{
    if (c->failure[0])
        return;
    const char *slash = strrchr(file, '/');
    int n = snprintf(c->failure, sizeof c->failure, "%s:%d: ", slash ? slash + 1 : file, line);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->failure + n, sizeof c->failure - (size_t)n, fmt, ap);
    va_end(ap);
}

/* ---------------------------------------------------------------- requests */

static struct conformance *current; /* one suite at a time */

static void answered(struct objstore_req *r)
{
    if (current->submitting)
        kit_fail(current, __FILE__, __LINE__, "done was called from inside objstore_submit");
    if (r->err == ERR_DENIED || r->err == ERR_UNAVAILABLE || r->err == ERR_NOSPACE || r->err == ERR_INVALID) {
        if (!r->complaint.text[0])
            kit_fail(current, __FILE__, __LINE__, "%s without a complaint", err_text(r->err));
    }
    if (--current->under_way == 0)
        uv_loop_stop(current->loop);
}

void kit_submit(struct conformance *c, struct objstore_req *r)
{
    current = c;
    r->done = answered;
    c->under_way++;
    c->submitting = true;
    objstore_submit(c->store, r);
    c->submitting = false;
}

void kit_wait(struct conformance *c)
{
    while (c->under_way)
        uv_loop_run(c->loop);
}

const char *kit_key(struct conformance *c, const char *fmt, ...)
{
    static char keys[64][OBJSTORE_KEY_MAX];
    static unsigned next;
    char *key = keys[next++ % 64];
    int n = snprintf(key, OBJSTORE_KEY_MAX, "%s", c->prefix);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(key + n, OBJSTORE_KEY_MAX - (size_t)n, fmt, ap);
    va_end(ap);
    return key;
}

void kit_put_init(struct kit_put *p, const char *key, const void *bytes, size_t n,
                  enum objstore_condition condition, const char *etag)
{
    *p = (struct kit_put){.req = {.verb = OBJSTORE_PUT, .key = key, .condition = condition, .body_count = 1}};
    memcpy(&p->body.iov_base, &bytes, sizeof bytes);
    p->body.iov_len = n;
    p->req.body = &p->body;
    if (etag)
        snprintf(p->req.etag, sizeof p->req.etag, "%s", etag);
}

enum err kit_put(struct conformance *c, const char *key, const void *bytes, size_t n,
                 enum objstore_condition condition, char *etag)
{
    struct kit_put p;
    kit_put_init(&p, key, bytes, n, condition, etag);
    kit_submit(c, &p.req);
    kit_wait(c);
    if (etag && p.req.err == ERR_OK)
        memcpy(etag, p.req.etag, sizeof p.req.etag);
    return p.req.err;
}

static enum err get(struct conformance *c, struct objstore_req *r, struct buf **content)
{
    kit_submit(c, r);
    kit_wait(c);
    if (r->err == ERR_OK && content)
        *content = r->content;
    else
        buf_unref(r->content);
    return r->err;
}

enum err kit_get(struct conformance *c, const char *key, size_t limit, struct buf **content, char *etag)
{
    struct objstore_req r = {.verb = OBJSTORE_GET, .key = key, .limit = limit};
    enum err err = get(c, &r, content);
    if (err == ERR_OK && etag)
        memcpy(etag, r.etag, sizeof r.etag);
    return err;
}

enum err kit_range(struct conformance *c, const char *key, uint64_t offset, size_t length,
                   struct buf **content)
{
    struct objstore_req r = {.verb = OBJSTORE_GET, .key = key, .offset = offset, .length = length};
    return get(c, &r, content);
}

enum err kit_delete(struct conformance *c, const char *const *keys, size_t count)
{
    struct objstore_req r = {.verb = OBJSTORE_DELETE, .key = "", .keys = keys, .key_count = count};
    kit_submit(c, &r);
    kit_wait(c);
    return r.err;
}

enum err kit_delete_one(struct conformance *c, const char *key)
{
    return kit_delete(c, &key, 1);
}

enum err kit_list(struct conformance *c, struct objstore_req *r, const char *prefix, const char *after,
                  size_t limit, bool delimited)
{
    *r = (struct objstore_req){
        .verb = OBJSTORE_LIST, .key = prefix, .after = after, .list_limit = limit, .delimited = delimited};
    kit_submit(c, r);
    kit_wait(c);
    return r->err;
}

bool kit_holds(struct conformance *c, const char *key, const void *bytes, size_t n)
{
    struct buf *b;
    if (kit_get(c, key, n + 1, &b, NULL) != ERR_OK)
        return false;
    bool same = b->bytes == n && (n == 0 || memcmp(b->data, bytes, n) == 0);
    buf_unref(b);
    return same;
}

void kit_pattern(uint8_t *bytes, size_t n, uint64_t seed)
{
    struct prng p;
    prng_seed(&p, seed);
    prng_fill(&p, bytes, n);
}
