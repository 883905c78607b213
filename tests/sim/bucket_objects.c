#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"
#include "bucket.h"

static void *must(void *p)
{
    assert(p);
    return p;
}

static void *copy_of(const void *from, size_t bytes)
{
    void *to = must(malloc(bytes ? bytes : 1));
    if (bytes)
        memcpy(to, from, bytes);
    return to;
}

/* The place of the first key that is not less. */
static size_t place_of(const struct bucket *b, const char *key)
{
    size_t low = 0, high = b->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(b->objects[mid]->key, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct object *bucket_find(const struct bucket *b, const char *key)
{
    size_t i = place_of(b, key);
    return i < b->count && strcmp(b->objects[i]->key, key) == 0 ? b->objects[i] : NULL;
}

static bool has_prefix(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

struct object *bucket_nth(const struct bucket *b, const char *prefix, size_t n)
{
    size_t i = place_of(b, prefix) + n;
    return i < b->count && has_prefix(b->objects[i]->key, prefix) ? b->objects[i] : NULL;
}

size_t bucket_count(const struct bucket *b, const char *prefix)
{
    size_t n = 0;
    while (bucket_nth(b, prefix, n))
        n++;
    return n;
}

static struct object *insert(struct bucket *b, const char *key)
{
    size_t i = place_of(b, key);
    if (b->count == b->room) {
        b->room = b->room ? 2 * b->room : 64;
        b->objects = must(realloc(b->objects, b->room * sizeof(struct object *)));
    }
    memmove(b->objects + i + 1, b->objects + i, (b->count - i) * sizeof(struct object *));
    b->count++;
    struct object *o = must(calloc(1, sizeof *o));
    o->key = copy_of(key, strlen(key) + 1);
    return b->objects[i] = o;
}

struct object *bucket_put(struct bucket *b, const char *key, const void *body, size_t bytes)
{
    struct object *o = bucket_find(b, key);
    if (!o)
        o = insert(b, key);
    free(o->body);
    o->body = copy_of(body, bytes);
    o->bytes = bytes;
    o->modified_ms = bucket_now_ms(b) / 1000 * 1000; /* Last-Modified counts seconds */
    snprintf(o->etag, sizeof o->etag, "\"%016llx\"",
             (unsigned long long)++b->versions * 0x9e3779b97f4a7c15ULL);
    return o;
}

bool bucket_delete(struct bucket *b, const char *key)
{
    size_t i = place_of(b, key);
    if (i == b->count || strcmp(b->objects[i]->key, key) != 0)
        return false;
    free(b->objects[i]->key);
    free(b->objects[i]->body);
    free(b->objects[i]);
    memmove(b->objects + i, b->objects + i + 1, (b->count - i - 1) * sizeof(struct object *));
    b->count--;
    return true;
}

/* ----------------------------------------------------------------------- the verbs */

static void apply_get(struct bucket *b, struct bucket_op *op)
{
    const struct object *o = bucket_find(b, op->key);
    op->err = o ? ERR_OK : ERR_NOTFOUND;
    if (!o)
        return;
    snprintf(op->etag, sizeof op->etag, "%s", o->etag);
    op->object_bytes = o->bytes;
    op->modified_ms = o->modified_ms;
    if (op->verb == OBJSTORE_HEAD)
        return;
    if (op->length ? op->offset > o->bytes || op->length > o->bytes - op->offset : o->bytes > op->limit) {
        op->err = ERR_CORRUPT;
        return;
    }
    op->content_bytes = op->length ? op->length : o->bytes;
    op->content = copy_of(o->body + (op->length ? op->offset : 0), op->content_bytes);
}

static void apply_put(struct bucket *b, struct bucket_op *op)
{
    const struct object *o = bucket_find(b, op->key);
    bool refused = (op->condition == OBJSTORE_CREATE && o) ||
                   (op->condition == OBJSTORE_MATCH && (!o || strcmp(o->etag, op->etag) != 0));
    if (refused) {
        op->err = ERR_CONFLICT;
        return;
    }
    op->err = ERR_OK;
    snprintf(op->etag, sizeof op->etag, "%s", bucket_put(b, op->key, op->body, op->body_bytes)->etag);
}

static void apply_delete(struct bucket *b, struct bucket_op *op)
{
    op->err = ERR_OK;
    for (size_t i = 0; i < op->key_count; i++)
        bucket_delete(b, op->keys[i]);
}

static void add_name(struct bucket_op *op, const char *name, size_t length, const struct object *o)
{
    op->names = must(realloc(op->names, (op->name_count + 1) * sizeof *op->names));
    op->sizes = must(realloc(op->sizes, (op->name_count + 1) * sizeof *op->sizes));
    op->names[op->name_count] = strndup(name, length);
    op->sizes[op->name_count++] = (struct object_size){o ? o->bytes : 0, o ? o->modified_ms : 0};
}

static void apply_list(struct bucket *b, struct bucket_op *op)
{
    size_t prefix = strlen(op->key);
    size_t limit = op->list_limit;
    op->err = ERR_OK;
    if (limit > 1 && sim_chance(b->sim, b->sim->faults.short_list)) {
        mark_hit("sim.short_list");
        limit = 1 + sim_below(b->sim, MIN(limit, 5));
    }
    for (size_t i = place_of(b, op->key); i < b->count && has_prefix(b->objects[i]->key, op->key); i++) {
        const struct object *o = b->objects[i];
        const char *slash = op->delimited ? strchr(o->key + prefix, '/') : NULL;
        size_t length = slash ? (size_t)(slash - o->key) + 1 : strlen(o->key);
        char name[OBJSTORE_KEY_MAX];
        snprintf(name, sizeof name, "%.*s", (int)length, o->key);
        if (strcmp(name, op->after) <= 0 ||
            (op->name_count && strcmp(name, op->names[op->name_count - 1]) == 0))
            continue;
        if (op->name_count == limit) {
            op->truncated = true;
            return;
        }
        add_name(op, name, length, slash ? NULL : o);
    }
}

void bucket_apply(struct bucket *b, struct bucket_op *op)
{
    b->requests[op->verb]++;
    op->date_ms = bucket_now_ms(b) / 1000 * 1000; /* so does Date */
    switch (op->verb) {
    case OBJSTORE_GET:
    case OBJSTORE_HEAD:
        apply_get(b, op);
        return;
    case OBJSTORE_PUT:
        apply_put(b, op);
        return;
    case OBJSTORE_DELETE:
        apply_delete(b, op);
        return;
    case OBJSTORE_LIST:
        apply_list(b, op);
        return;
    }
}

bool bucket_op_mutates(const struct bucket_op *op)
{
    return op->verb == OBJSTORE_PUT || op->verb == OBJSTORE_DELETE;
}

void bucket_op_free(struct bucket_op *op)
{
    for (size_t i = 0; i < op->key_count; i++)
        free(op->keys[i]);
    for (size_t i = 0; i < op->name_count; i++)
        free(op->names[i]);
    free(op->keys);
    free(op->names);
    free(op->sizes);
    free(op->key);
    free(op->after);
    free(op->body);
    free(op->content);
    free(op);
}
