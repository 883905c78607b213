#include "cli/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/check_ranges.h"
#include "volume/gc/roots.h"

#define READS_AT_ONCE 8u

static const char *const folders[] = {[OBJECT_BLOCK] = "blocks/", [OBJECT_MAP] = "maps/"};

struct reading {
    struct check *check;
    struct objstore_req req;
    struct job job;
    struct key key;
    struct check_object *object;
    struct sha256 hash;
    bool busy;
};

static void wake(struct check *c)
{
    if (--c->pending == 0)
        runtime_wake(c->runtime);
}

static void interrupted(struct runtime *r, int count)
{
    (void)count;
    struct check *c = r->interrupted_ctx;
    c->canceled = true;
    if (c->in_roots)
        roots_cancel(&c->roots);
}

static void object_key(struct key *key, enum object_kind kind, const struct object_name *name)
{
    if (kind == OBJECT_BLOCK)
        key_block(key, name);
    else
        key_map(key, name);
}

/* --------------------------------------------------------------------------- the objects */

static int by_name(const void *a, const void *b)
{
    const struct object_name *x = a, *y = b;
    int order = memcmp(x->hash.bytes, y->hash.bytes, 32);
    return order ? order : x->turn < y->turn ? -1 : x->turn > y->turn;
}

static struct check_object *object_add(struct check_objects *all, const struct object_name *name)
{
    if (all->count == all->room) {
        all->room = MAX(2 * all->room, (size_t)1024);
        all->objects = mem_realloc(all->objects, all->room * sizeof *all->objects);
    }
    struct check_object *o = &all->objects[all->count++];
    memset(o, 0, sizeof *o);
    o->name = *name;
    return o;
}

struct check_object *check_find(const struct check_objects *all, const struct object_name *name)
{
    return all->count ? bsearch(name, all->objects, all->count, sizeof *all->objects, by_name) : NULL;
}

static void listed(struct objstore_req *r)
{
    wake(CONTAINER_OF(r, struct check, list));
}

static enum err list(struct check *c, enum object_kind kind)
{
    char after[OBJSTORE_KEY_MAX] = "";
    struct objstore_req *r = &c->list;
    bool more = true;
    while (more && !c->canceled) {
        *r = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .key = folders[kind],
                                   .after = after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .patience_ns = RUNTIME_PATIENCE_NS,
                                   .done = listed};
        c->pending = 1;
        objstore_submit(c->runtime->store, r);
        runtime_wait(c->runtime);
        if (r->err) {
            *c->why = r->complaint;
            return r->err;
        }
        for (size_t i = 0; i < r->entry_count; i++) {
            struct object_name name;
            if (key_parse_object(r->entries[i].key, folders[kind], &name))
                object_add(&c->there[kind], &name)->bytes = r->entries[i].bytes;
        }
        more = r->truncated && r->entry_count;
        if (more)
            snprintf(after, sizeof after, "%s", r->entries[r->entry_count - 1].key);
        objstore_entries_free(r->entries, r->entry_count);
    }
    struct check_objects *all = &c->there[kind];
    if (all->count)
        qsort(all->objects, all->count, sizeof *all->objects, by_name);
    return ERR_OK;
}

/* ------------------------------------------------------------------------ the references */

static void refer(struct check *c, enum object_kind kind, const struct object_name *name, uint64_t end)
{
    struct check_object *o = check_find(&c->there[kind], name);
    if (o && end <= o->bytes) {
        c->result->objects += !o->referred;
        o->referred = true;
        return;
    }
    struct sha256 id = name->hash;
    put_le32(id.bytes, get_le32(id.bytes) ^ name->turn);
    if (digests_add(&c->suspected[kind], &id)) {
        struct check_object *s = object_add(&c->suspects[kind], name);
        s->bytes = end;
    }
}

static void found_export(struct roots *r, const char *name, const struct manifest *m)
{
    struct check *c = r->ctx;
    c->result->exports++;
    c->result->snapshots += m->snapshot_count;
    check_ranges_note(c, name, m);
}

static void found_page(struct roots *r, const struct page_ref *page)
{
    refer(r->ctx, OBJECT_MAP, &page->object, (uint64_t)page->offset + page->bytes);
}

static void found_piece(struct roots *r, const struct piece_ref *piece)
{
    refer(r->ctx, OBJECT_BLOCK, &piece->object, (uint64_t)piece->offset + piece->stored_bytes);
}

static void found_doubt(struct roots *r, const char *what)
{
    (void)r;
    printf("damaged: %s\n", what);
}

static void roots_done(struct roots *r)
{
    wake(r->ctx);
}

static enum err go_through(struct check *c)
{
    c->roots = (struct roots){.engine = c->runtime->engine,
                              .ctx = c,
                              .export = found_export,
                              .page = found_page,
                              .piece = found_piece,
                              .doubt = found_doubt,
                              .done = roots_done};
    c->pending = 1;
    c->in_roots = true;
    roots_start(&c->roots);
    runtime_wait(c->runtime);
    c->in_roots = false;
    enum err err = c->roots.err;
    if (err)
        *c->why = c->roots.complaint;
    c->result->doubts = c->roots.doubts;
    c->result->pages = c->roots.pages.pages;
    roots_finish(&c->roots);
    return err;
}

/* ---------------------------------------------------------------- what is really missing */

static void headed(struct objstore_req *r)
{
    wake(CONTAINER_OF(r, struct check, list));
}

static enum err confirm(struct check *c, enum object_kind kind)
{
    struct objstore_req *r = &c->list;
    struct check_objects *s = &c->suspects[kind];
    size_t kept = 0;
    for (size_t i = 0; i < s->count && !c->canceled; i++) {
        struct key key;
        object_key(&key, kind, &s->objects[i].name);
        *r = (struct objstore_req){
            .verb = OBJSTORE_HEAD, .key = key.text, .patience_ns = RUNTIME_PATIENCE_NS, .done = headed};
        c->pending = 1;
        objstore_submit(c->runtime->store, r);
        runtime_wait(c->runtime);
        if (r->err && r->err != ERR_NOTFOUND) {
            *c->why = r->complaint;
            return r->err;
        }
        if (!r->err && r->object_bytes >= s->objects[i].bytes)
            continue;
        printf("%s: %s\n", key.text, r->err ? "missing" : "too short");
        s->objects[kept] = s->objects[i];
        s->objects[kept++].bad = true;
        c->result->missing++;
    }
    s->count = kept;
    if (kept)
        qsort(s->objects, kept, sizeof *s->objects, by_name);
    return ERR_OK;
}

/* --------------------------------------------------------------------------- reading all */

static void hash_work(struct job *j)
{
    struct reading *r = CONTAINER_OF(j, struct reading, job);
    r->hash = sha256_of(r->req.content->data, r->req.content->bytes);
}

static void hash_done(struct job *j)
{
    struct reading *r = CONTAINER_OF(j, struct reading, job);
    struct check *c = r->check;
    c->result->bytes_read += r->req.content->bytes;
    buf_unref(r->req.content);
    if (!sha256_equal(&r->hash, &r->object->name.hash)) {
        printf("%s: damaged: its content does not have the SHA-256 of its name\n", r->key.text);
        r->object->bad = true;
        c->result->damaged++;
    }
    r->busy = false;
    wake(c);
}

static void object_read(struct objstore_req *req)
{
    struct reading *r = CONTAINER_OF(req, struct reading, req);
    struct check *c = r->check;
    if (req->err == ERR_OK) {
        r->job = (struct job){.work = hash_work, .done = hash_done};
        job_start(c->runtime->loop, &r->job);
        return;
    }
    if (req->err != ERR_NOTFOUND &&
        !c->read_err) { /* gone: the collector's; whoever needs it was rewritten */
        c->read_err = req->err;
        *c->why = req->complaint;
    }
    r->busy = false;
    wake(c);
}

static void read_start(struct check *c, struct reading *r, enum object_kind kind, struct check_object *o)
{
    object_key(&r->key, kind, &o->name);
    r->check = c;
    r->object = o;
    r->busy = true;
    r->req = (struct objstore_req){.verb = OBJSTORE_GET,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = r->key.text,
                                   .limit = o->bytes + 1,
                                   .patience_ns = RUNTIME_PATIENCE_NS,
                                   .done = object_read};
    c->pending++;
    objstore_submit(c->runtime->store, &r->req);
}

static enum err read_all(struct check *c, enum object_kind kind)
{
    struct reading reads[READS_AT_ONCE] = {0};
    struct check_objects *all = &c->there[kind];
    for (size_t i = 0; i < all->count && !c->canceled && !c->read_err;) {
        c->pending = 0;
        for (size_t k = 0; k < READS_AT_ONCE && i < all->count; i++)
            if (all->objects[i].referred && all->objects[i].bytes <= OBJECT_SIZE_MAX)
                read_start(c, &reads[k++], kind, &all->objects[i]);
        if (c->pending)
            runtime_wait(c->runtime);
    }
    return c->read_err;
}

/* ------------------------------------------------------------------------------ the whole */

static enum err run(struct check *c, bool read_data)
{
    enum err err = list(c, OBJECT_BLOCK);
    if (!err)
        err = list(c, OBJECT_MAP);
    if (!err && !c->canceled)
        err = go_through(c);
    for (enum object_kind kind = OBJECT_BLOCK; kind <= OBJECT_MAP && !err && !c->canceled; kind++)
        err = confirm(c, kind);
    for (enum object_kind kind = OBJECT_BLOCK; kind <= OBJECT_MAP && read_data && !err && !c->canceled;
         kind++)
        err = read_all(c, kind);
    const struct check_result *r = c->result;
    if (!err && !c->canceled && (r->missing || r->damaged || r->doubts))
        err = check_ranges_tell(c);
    return c->canceled ? complain(c->why, ERR_CANCELED, "interrupted") : err;
}

enum err check_run(struct runtime *r, bool read_data, struct check_result *result, struct complaint *why)
{
    struct check *c = MEM_NEW(struct check);
    *result = (struct check_result){0};
    c->runtime = r;
    c->result = result;
    c->why = why;
    r->interrupted = interrupted;
    r->interrupted_ctx = c;
    enum err err = run(c, read_data);
    r->interrupted = NULL;
    for (int kind = 0; kind < 2; kind++) {
        mem_free(c->there[kind].objects);
        mem_free(c->suspects[kind].objects);
        digests_finish(&c->suspected[kind]);
    }
    check_ranges_finish(c);
    mem_free(c);
    return err;
}
