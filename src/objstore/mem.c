#include "objstore/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "objstore/key.h"

struct object {
    char *key;
    uint8_t *content;
    size_t bytes;
    uint64_t version;
    int64_t modified_ms;
};

struct mem_store {
    struct objstore base;
    struct object *objects; /* by key */
    size_t count, room;
    uint64_t versions;
};

static struct mem_store *self(struct objstore *s)
{
    return CONTAINER_OF(s, struct mem_store, base);
}

/* The place of the first object whose key is not less. */
static size_t place_of(const struct mem_store *m, const char *key)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(m->objects[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct object *find(const struct mem_store *m, const char *key)
{
    size_t i = place_of(m, key);
    return i < m->count && strcmp(m->objects[i].key, key) == 0 ? &m->objects[i] : NULL;
}

static void describe(const struct object *o, struct objstore_req *r)
{
    snprintf(r->etag, sizeof r->etag, "%016" PRIx64, o->version);
    r->object_bytes = o->bytes;
    r->modified_ms = o->modified_ms;
}

static enum err get(struct mem_store *m, struct objstore_req *r)
{
    const struct object *o = find(m, r->key);
    if (!o)
        return ERR_NOTFOUND;
    size_t bytes = r->length ? r->length : o->bytes;
    uint64_t offset = r->length ? r->offset : 0;
    if ((!r->length && o->bytes > r->limit) || offset > o->bytes || bytes > o->bytes - offset)
        return ERR_CORRUPT;
    r->content = buf_create(bytes);
    memcpy(r->content->data, o->content + offset, bytes);
    m->base.counters.bytes_in += bytes;
    describe(o, r);
    return ERR_OK;
}

static enum err head(struct mem_store *m, struct objstore_req *r)
{
    const struct object *o = find(m, r->key);
    if (!o)
        return ERR_NOTFOUND;
    describe(o, r);
    return ERR_OK;
}

static struct object *insert(struct mem_store *m, const char *key)
{
    size_t i = place_of(m, key);
    if (m->count == m->room) {
        m->room = m->room ? 2 * m->room : 64;
        m->objects = mem_realloc(m->objects, m->room * sizeof *m->objects);
    }
    memmove(&m->objects[i + 1], &m->objects[i], (m->count - i) * sizeof *m->objects);
    m->count++;
    m->objects[i] = (struct object){.key = mem_strdup(key)};
    return &m->objects[i];
}

static bool refused(const struct object *o, const struct objstore_req *r)
{
    char etag[OBJSTORE_ETAG_MAX] = "";
    if (o)
        snprintf(etag, sizeof etag, "%016" PRIx64, o->version);
    return (r->condition == OBJSTORE_CREATE && o) ||
           (r->condition == OBJSTORE_MATCH && (!o || strcmp(etag, r->etag) != 0));
}

static enum err put(struct mem_store *m, struct objstore_req *r)
{
    struct object *o = find(m, r->key);
    if (refused(o, r))
        return ERR_CONFLICT;
    size_t bytes = 0;
    for (size_t i = 0; i < r->body_count; i++)
        bytes += r->body[i].iov_len;
    uint8_t *content = mem_alloc(bytes), *end = content;
    for (size_t i = 0; i < r->body_count; i++) {
        if (r->body[i].iov_len)
            memcpy(end, r->body[i].iov_base, r->body[i].iov_len);
        end += r->body[i].iov_len;
    }
    if (!o)
        o = insert(m, r->key);
    mem_free(o->content);
    o->content = content;
    o->bytes = bytes;
    o->version = ++m->versions;
    o->modified_ms = loop_wall_ms(m->base.loop);
    m->base.counters.bytes_out += bytes;
    describe(o, r);
    return ERR_OK;
}

static enum err delete_keys(struct mem_store *m, struct objstore_req *r)
{
    for (size_t k = 0; k < r->key_count; k++) {
        struct object *o = find(m, r->keys[k]);
        if (!o)
            continue;
        mem_free(o->key);
        mem_free(o->content);
        m->count--;
        memmove(o, o + 1, (m->count - (size_t)(o - m->objects)) * sizeof *o);
    }
    return ERR_OK;
}

/* The bytes of the key that are shown: all, or up to and with the '/' that ends a common prefix. */
static size_t shown_bytes(const struct objstore_req *r, const char *key)
{
    const char *slash = r->delimited ? strchr(key + strlen(r->key), '/') : NULL;
    return slash ? (size_t)(slash - key) + 1 : strlen(key);
}

static enum err list(struct mem_store *m, struct objstore_req *r)
{
    const char *after = r->after ? r->after : "";
    const char *last = after;
    char shown[OBJSTORE_KEY_MAX];
    r->entries = MEM_ARRAY(struct objstore_entry, r->list_limit);
    size_t prefix_bytes = strlen(r->key);
    for (size_t i = place_of(m, r->key); i < m->count; i++) {
        const struct object *o = &m->objects[i];
        if (strncmp(o->key, r->key, prefix_bytes) != 0)
            break;
        size_t n = shown_bytes(r, o->key);
        memcpy(shown, o->key, n);
        shown[n] = '\0';
        if (strcmp(shown, last) <= 0)
            continue;
        if (r->entry_count == r->list_limit) {
            r->truncated = true;
            break;
        }
        bool whole = o->key[n] == '\0';
        struct objstore_entry *e = &r->entries[r->entry_count++];
        *e = (struct objstore_entry){.key = mem_strdup(shown),
                                     .bytes = whole ? o->bytes : 0,
                                     .modified_ms = whole ? o->modified_ms : 0};
        last = e->key;
    }
    return ERR_OK;
}

static enum err run(struct mem_store *m, struct objstore_req *r)
{
    enum err bad = key_check_req(r, &r->complaint);
    if (bad)
        return bad;
    m->base.counters.requests[r->verb]++;
    r->date_ms = loop_wall_ms(m->base.loop);
    switch (r->verb) {
    case OBJSTORE_GET:
        return get(m, r);
    case OBJSTORE_HEAD:
        return head(m, r);
    case OBJSTORE_PUT:
        return put(m, r);
    case OBJSTORE_DELETE:
        return delete_keys(m, r);
    case OBJSTORE_LIST:
        return list(m, r);
    }
    return complain(&r->complaint, ERR_INVALID, "no such verb");
}

static void submit(struct objstore *s, struct objstore_req *r)
{
    r->err = run(self(s), r);
    objstore_answer(r);
}

static void cancel(struct objstore *s, struct objstore_req *r)
{
    (void)s;
    (void)r; /* it has happened, and its answer is on the way */
}

static void destroy(struct objstore *s)
{
    struct mem_store *m = self(s);
    for (size_t i = 0; i < m->count; i++) {
        mem_free(m->objects[i].key);
        mem_free(m->objects[i].content);
    }
    mem_free(m->objects);
    mem_free(m);
}

static const char *name(const struct objstore *s)
{
    (void)s;
    return "mem:";
}

static const struct objstore_ops ops = {.submit = submit, .cancel = cancel, .destroy = destroy, .name = name};

struct objstore *mem_store_create(struct loop *l)
{
    struct mem_store *m = MEM_NEW(struct mem_store);
    m->base.ops = &ops;
    m->base.loop = l;
    return &m->base;
}
