#include "objstore/s3/s3.h"

#include <assert.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/mem.h"
#include "objstore/key.h"
#include "objstore/s3/store.h"

static struct s3_store *self(struct objstore *s)
{
    return CONTAINER_OF(s, struct s3_store, base);
}

static void submit(struct objstore *s, struct objstore_req *q)
{
    q->impl = NULL;
    q->err = key_check_req(q, &q->complaint);
    if (q->err)
        objstore_answer(q);
    else
        s3_request_submit(self(s), q);
}

static void cancel(struct objstore *s, struct objstore_req *q)
{
    (void)s;
    if (q->impl)
        s3_request_cancel(q->impl);
}

static const char *name(const struct objstore *s)
{
    return ((const struct s3_store *)(const void *)s)->name; /* base comes first */
}

static void destroy(struct objstore *base)
{
    struct s3_store *s = self(base);
    assert(list_empty(&s->all));
    if (s->http)
        http_destroy(s->http);
    s3_credentials_abandon(s);
    s3_attempts_finish(s);
    text_finish(&s->root);
    text_finish(&s->host);
    text_finish(&s->origin);
    text_finish(&s->base_path);
    mem_free(s->name);
    mem_free(s->bucket);
    mem_free(s->region);
    mem_free(s->profile);
    mem_free(s);
}

static const struct objstore_ops ops = {.submit = submit, .cancel = cancel, .destroy = destroy, .name = name};

/* ------------------------------------------------------------------------ where the bucket is */

static enum err check_bucket(const char *bucket, struct complaint *c)
{
    size_t n = strlen(bucket);
    bool ok = n >= 1 && n <= 255 && strcmp(bucket, ".") != 0 && strcmp(bucket, "..") != 0;
    for (size_t i = 0; i < n; i++) {
        char b = bucket[i];
        ok = ok &&
             ((b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') || strchr("-._", b));
    }
    return ok ? ERR_OK : complain(c, ERR_INVALID, "'%s' cannot be the name of a bucket", bucket);
}

static bool is_host_label(const char *bucket)
{
    for (; *bucket; bucket++) {
        if (!((*bucket >= 'a' && *bucket <= 'z') || (*bucket >= '0' && *bucket <= '9') || *bucket == '-'))
            return false;
    }
    return true;
}

static enum err find_endpoint(const struct s3_store *s, const char *url, struct endpoint *e,
                              struct complaint *c)
{
    struct text t = {0};
    if (!url)
        text_addf(&t, "https://s3.%s.amazonaws.com%s", s->region,
                  strncmp(s->region, "cn-", 3) == 0 ? ".cn" : "");
    enum err err = endpoint_parse(url ? url : text_of(&t), e, c);
    text_finish(&t);
    return err;
}

static enum err place_bucket(struct s3_store *s, const struct s3_config *cfg, const char *url,
                             struct complaint *c)
{
    struct endpoint e;
    enum err err = find_endpoint(s, url, &e, c);
    if (err)
        return err;
    bool by_path = cfg->path_style == 1 || (cfg->path_style < 0 && (url || !is_host_label(s->bucket)));
    if (!by_path && e.is_address)
        return complain(
            c, ERR_INVALID,
            "a bucket's name cannot go before the address %s: leave out path_style=0, or name the host",
            e.host);
    if (by_path)
        text_addf(&s->base_path, "/%s", s->bucket);
    else
        text_addf(&s->host, "%s.", s->bucket);
    endpoint_add_host(&s->host, &e);
    text_addf(&s->origin, "http%s://%s", e.tls ? "s" : "", text_of(&s->host));
    return ERR_OK;
}

static void name_store(struct s3_store *s, const struct s3_config *cfg)
{
    struct text t = {0};
    text_addf(&t, "s3://%s%s%s", cfg->bucket, *cfg->prefix ? "/" : "", cfg->prefix);
    s->name = t.at;
    if (*cfg->prefix)
        text_addf(&s->root, "%s/", cfg->prefix);
}

static enum err configure(struct s3_store *s, const struct s3_config *cfg, struct complaint *c)
{
    enum err e = check_bucket(cfg->bucket, c);
    if (!e)
        e = credentials_load(cfg->profile, &s->credentials, c);
    if (e)
        return e;
    const char *region = cfg->region ? cfg->region : s->credentials.region;
    const char *endpoint = cfg->endpoint ? cfg->endpoint : s->credentials.endpoint;
    const char *ca_file = cfg->ca_file ? cfg->ca_file : s->credentials.ca_file;
    s->bucket = mem_strdup(cfg->bucket);
    s->region = mem_strdup(region ? region : "us-east-1");
    s->profile = cfg->profile ? mem_strdup(cfg->profile) : NULL;
    s->emulate_conditions = cfg->conditional_writes_off;
    name_store(s, cfg);
    if (ca_file && access(ca_file, R_OK) != 0)
        return complain(c, ERR_INVALID, "cannot read %s, the file of certificate authorities", ca_file);
    if (strspn(s->region, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") !=
        strlen(s->region))
        return complain(c, ERR_INVALID, "'%s' cannot be the name of a region", s->region);
    e = place_bucket(s, cfg, endpoint, c);
    if (!e)
        s->http = http_create(s->base.loop, ca_file);
    return e;
}

enum err s3_store_create(struct loop *l, const struct s3_config *cfg, struct objstore **out,
                         struct complaint *c)
{
    struct s3_store *s = MEM_NEW(struct s3_store);
    s->base.ops = &ops;
    s->base.loop = l;
    s->key_serial = UINT32_MAX;
    list_init(&s->all);
    list_init(&s->queues[0]);
    list_init(&s->queues[1]);
    list_init(&s->turns);
    list_init(&s->spare);
    pace_init(&s->pace);
    enum err e = configure(s, cfg, c);
    if (e)
        destroy(&s->base);
    else
        *out = &s->base;
    return e;
}
