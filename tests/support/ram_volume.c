#include "ram_volume.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

/* A disk is a sparse table of blocks. A missing block is a hole; one whose buffer is NULL and which is marked
 * is allocated zeros. */
#define LEAF_BLOCKS 4096u

struct block {
    struct buf *buf;
    bool allocated;
};

struct disk {
    struct link link;
    char *name;
    struct export_params params;
    struct block **leaves;
    size_t leaf_count;
    struct volume *open;
    uint32_t epoch;
};

struct volume {
    struct engine *engine;
    struct disk *disk;
    void (*lost)(struct volume *, void *, enum err);
    void *ctx;
    struct task lost_task;
    size_t under_way;
    bool fenced;
};

struct engine {
    struct loop *loop;
    struct list disks, held;
    struct budget budget;
    struct task serve;
    struct ram_faults faults;
    size_t open_volumes;
};

/* ------------------------------------------------------------------ engine */

static void serve_budget(struct task *t)
{
    budget_serve(&CONTAINER_OF(t, struct engine, serve)->budget);
}

static void room(struct budget *b)
{
    struct engine *e = CONTAINER_OF(b, struct engine, budget);
    loop_post(e->loop, &e->serve);
}

struct engine *ram_engine_create(struct loop *l, size_t write_buffer_bytes)
{
    struct engine *e = MEM_NEW(struct engine);
    e->loop = l;
    list_init(&e->disks);
    list_init(&e->held);
    budget_init(&e->budget, write_buffer_bytes, room);
    e->serve.run = serve_budget;
    return e;
}

static void disk_clear(struct disk *d)
{
    for (size_t l = 0; l < d->leaf_count; l++) {
        for (size_t i = 0; d->leaves[l] && i < LEAF_BLOCKS; i++)
            buf_unref(d->leaves[l][i].buf);
        mem_free(d->leaves[l]);
    }
    mem_free(d->leaves);
    mem_free(d->name);
}

void ram_engine_destroy(struct engine *e)
{
    assert(!e->open_volumes);
    struct link *k;
    while ((k = list_pop(&e->disks))) {
        struct disk *d = CONTAINER_OF(k, struct disk, link);
        disk_clear(d);
        mem_free(d);
    }
    task_cancel(&e->serve);
    mem_free(e);
}

struct ram_faults *ram_faults(struct engine *e)
{
    return &e->faults;
}

size_t ram_open_volumes(const struct engine *e)
{
    return e->open_volumes;
}

size_t ram_payload_bytes(const struct engine *e)
{
    return e->budget.used;
}

/* ----------------------------------------------------------------- exports */

enum err export_name_check(const char *name, struct complaint *c)
{
    if (!*name || strlen(name) > EXPORT_NAME_MAX || strchr(name, '@'))
        return complain(c, ERR_INVALID, "\"%.40s\" cannot be an export's name", name);
    return ERR_OK;
}

const char *volume_snapshot(const struct volume *v, size_t i)
{
    (void)v, (void)i;
    return NULL;
}

/* There are no snapshots, so nobody gets so far. */
void volume_base_open(struct volume_base_open *o)
{
    (void)o;
    assert(!"no snapshots in RAM");
}

void volume_base_open_cancel(struct volume_base_open *o)
{
    (void)o;
}

void volume_base_close(struct volume_base *b)
{
    (void)b;
}

enum err volume_name_split(const char *full, char name[EXPORT_NAME_MAX + 1], const char **snapshot,
                           struct complaint *c)
{
    enum err err = export_name_check(full, c);
    if (err)
        return err;
    strcpy(name, full);
    *snapshot = NULL;
    return ERR_OK;
}

enum err export_params_check(struct export_params *p, struct complaint *c)
{
    if (!p->block_size)
        p->block_size = BLOCK_SIZE_DEFAULT;
    if (!p->object_size)
        p->object_size = OBJECT_SIZE_DEFAULT;
    if (!p->size || p->size > INT64_MAX)
        return complain(c, ERR_INVALID, "the size of an export is 1 to 2^63 - 1 bytes");
    return ERR_OK;
}

static struct disk *find(struct engine *e, const char *name)
{
    LIST_EACH(&e->disks, k)
    if (strcmp(CONTAINER_OF(k, struct disk, link)->name, name) == 0)
        return CONTAINER_OF(k, struct disk, link);
    return NULL;
}

static struct disk *disk_create(struct engine *e, const char *name, const struct export_params *p)
{
    struct disk *d = MEM_NEW(struct disk);
    d->name = mem_strdup(name);
    d->params = *p;
    enum err err = export_params_check(&d->params, NULL);
    assert(err == ERR_OK);
    d->leaf_count = (size_t)((d->params.size - 1) / d->params.block_size / LEAF_BLOCKS + 1);
    d->leaves = MEM_ARRAY(struct block *, d->leaf_count);
    list_push(&e->disks, &d->link);
    return d;
}

struct answer {
    struct task task;
    void *op;
    void (*done)(void *op);
};

static void run_answer(struct task *t)
{
    struct answer *a = CONTAINER_OF(t, struct answer, task);
    a->done(a->op);
    mem_free(a);
}

static void answer_later(struct engine *e, void *op, void (*done)(void *))
{
    struct answer *a = MEM_NEW(struct answer);
    *a = (struct answer){.task.run = run_answer, .op = op, .done = done};
    loop_post(e->loop, &a->task);
}

static void export_op_done(void *op)
{
    struct export_op *o = op;
    o->done(o);
}

void export_create(struct export_op *o)
{
    o->err = find(o->engine, o->name) ? ERR_CONFLICT : ERR_OK;
    if (!o->err)
        disk_create(o->engine, o->name, o->params);
    answer_later(o->engine, o, export_op_done);
}

static struct export_info *describe(const struct disk *d, struct export_info *next)
{
    struct export_info *i = MEM_NEW(struct export_info);
    i->name = mem_strdup(d->name);
    i->params = d->params;
    i->epoch = d->epoch;
    i->next = next;
    return i;
}

void export_list(struct export_op *o)
{
    o->err = ERR_OK;
    o->infos = NULL;
    LIST_EACH(&o->engine->disks, k)
    o->infos = describe(CONTAINER_OF(k, struct disk, link), o->infos);
    answer_later(o->engine, o, export_op_done);
}

void export_info(struct export_op *o)
{
    struct disk *d = find(o->engine, o->name);
    o->err = d ? ERR_OK : ERR_NOTFOUND;
    o->infos = d ? describe(d, NULL) : NULL;
    answer_later(o->engine, o, export_op_done);
}

/* Snapshots, forks and sizes are not what tests of the wire are about. */
static void refuse(struct export_op *o)
{
    o->err = complain(&o->complaint, ERR_UNSUPPORTED, "exports in memory cannot do that");
    answer_later(o->engine, o, export_op_done);
}

void export_snapshot(struct export_op *o)
{
    refuse(o);
}

void export_remove_snapshot(struct export_op *o)
{
    refuse(o);
}

void export_fork(struct export_op *o)
{
    refuse(o);
}

void export_rollback(struct export_op *o)
{
    refuse(o);
}

void export_resize(struct export_op *o)
{
    refuse(o);
}

void export_remove(struct export_op *o)
{
    refuse(o);
}

static void change_refused(void *op)
{
    struct volume_change *c = op;
    c->done(c);
}

void volume_change(struct volume_change *c)
{
    c->err = complain(&c->complaint, ERR_UNSUPPORTED, "exports in memory cannot do that");
    answer_later(c->volume->engine, c, change_refused);
}

void export_infos_free(struct export_info *i)
{
    for (struct export_info *next; i; i = next) {
        next = i->next;
        mem_free(i->name);
        mem_free(i);
    }
}

/* ------------------------------------------------------------ open and close */

static void lost(struct task *t)
{
    struct volume *v = CONTAINER_OF(t, struct volume, lost_task);
    v->lost(v, v->ctx, ERR_FENCED);
}

static enum err open_now(struct volume_open *o)
{
    struct engine *e = o->engine;
    if (e->faults.held && strcmp(e->faults.held, o->name) == 0)
        return complain(&o->complaint, ERR_HELD, "export \"%s\" is held by quarry, pid 17, 127.0.0.1:10809",
                        o->name);
    struct disk *d = find(e, o->name);
    if (!d && !o->create)
        return ERR_NOTFOUND;
    if (!d)
        d = disk_create(e, o->name, o->create);
    assert(!d->open);
    struct volume *v = MEM_NEW(struct volume);
    *v = (struct volume){.engine = e, .disk = d, .lost = o->lost, .ctx = o->ctx, .lost_task.run = lost};
    d->open = v;
    d->epoch++;
    e->open_volumes++;
    o->volume = v;
    return ERR_OK;
}

static void opened(void *op)
{
    struct volume_open *o = op;
    if (!o->err)
        o->err = open_now(o);
    o->done(o);
}

void volume_open(struct volume_open *o)
{
    o->err = ERR_OK;
    o->volume = NULL;
    answer_later(o->engine, o, opened);
}

void volume_open_cancel(struct volume_open *o)
{
    o->err = ERR_CANCELED;
}

static void closed(void *op)
{
    struct volume_close *c = op;
    struct volume *v = c->volume;
    assert(!v->under_way);
    task_cancel(&v->lost_task);
    v->engine->open_volumes--;
    v->disk->open = NULL;
    c->err = v->fenced ? ERR_FENCED : ERR_OK;
    mem_free(v);
    c->done(c);
}

void volume_close(struct volume_close *c)
{
    answer_later(c->volume->engine, c, closed);
}

void volume_close_abandon(struct volume_close *c)
{
    (void)c; /* it is posted already */
}

void volume_info(const struct volume *v, struct volume_info *i)
{
    *i = (struct volume_info){
        .size = v->disk->params.size,
        .block_size = v->disk->params.block_size,
        .object_size = v->disk->params.object_size,
        .breaks = 7,
        .epoch = v->disk->epoch,
    };
    strncpy(i->name, v->disk->name, EXPORT_NAME_MAX);
}

struct engine *volume_engine(const struct volume *v)
{
    return v->engine;
}

void ram_fence(struct engine *e, const char *name)
{
    struct disk *d = find(e, name);
    if (d && d->open) {
        d->open->fenced = true;
        loop_post(e->loop, &d->open->lost_task);
    }
}

/* ------------------------------------------------------------------ content */

static struct block *block_at(struct disk *d, uint64_t index, bool make)
{
    struct block **leaf = &d->leaves[index / LEAF_BLOCKS];
    if (!*leaf && !make)
        return NULL;
    if (!*leaf)
        *leaf = MEM_ARRAY(struct block, LEAF_BLOCKS);
    return &(*leaf)[index % LEAF_BLOCKS];
}

static void block_set(struct block *b, struct buf *buf, bool allocated)
{
    buf_unref(b->buf);
    b->buf = buf;
    b->allocated = allocated;
}

/* A buffer of our own, which may be written: shared ones are copied. */
static struct buf *block_writable(struct disk *d, struct block *b)
{
    if (b->buf && b->buf->bytes == d->params.block_size && atomic_load(&b->buf->refs) == 1)
        return b->buf;
    struct buf *copy = buf_create(d->params.block_size);
    memset(copy->data, 0, copy->bytes);
    if (b->buf)
        memcpy(copy->data, b->buf->data, MIN(copy->bytes, b->buf->bytes));
    block_set(b, copy, true);
    return copy;
}

static void change(struct disk *d, uint64_t offset, uint64_t bytes, struct buf **payload, bool hole)
{
    uint64_t size = d->params.block_size;
    for (uint64_t n; bytes; offset += n, bytes -= n) {
        uint64_t skip = offset % size;
        n = MIN(bytes, size - skip);
        struct buf *data = payload ? *payload++ : NULL;
        struct block *b = block_at(d, offset / size, data || !hole);
        if (!b)
            continue;
        if (n == size)
            block_set(b, data ? buf_ref(data) : NULL, data || !hole);
        else if (data)
            memcpy(block_writable(d, b)->data + skip, data->data, n);
        else if (b->buf)
            memset(block_writable(d, b)->data + skip, 0, n);
        else
            b->allocated |= !hole;
    }
}

static void add_segment(struct volume_req *r, struct volume_segment s)
{
    struct volume_segment *last = r->segment_count ? &r->segments[r->segment_count - 1] : NULL;
    if (last && last->kind == s.kind && (s.kind != VOLUME_DATA || r->verb == VOLUME_STATUS)) {
        last->bytes += s.bytes;
        return;
    }
    r->segments[r->segment_count++] = s;
}

static void look(struct volume *v, struct volume_req *r)
{
    struct disk *d = v->disk;
    uint64_t size = d->params.block_size, offset = r->offset, bytes = r->bytes;
    size_t most = (size_t)(bytes / size + 2);
    if (r->verb == VOLUME_STATUS)
        most = MIN(most, r->status_limit ? r->status_limit : 1024);
    if (!r->segments || r->impl != (void *)(uintptr_t)most) {
        mem_free(r->segments);
        r->segments = MEM_ARRAY(struct volume_segment, most);
        r->impl = (void *)(uintptr_t)most;
    }
    r->segment_count = 0;
    for (uint64_t n; bytes && r->segment_count < most; offset += n, bytes -= n) {
        uint64_t skip = offset % size;
        n = MIN(bytes, size - skip);
        struct block *b = block_at(d, offset / size, false);
        struct volume_segment s = {VOLUME_HOLE, n, NULL, 0};
        if (b && b->buf)
            s = (struct volume_segment){VOLUME_DATA, n, r->verb == VOLUME_READ ? buf_ref(b->buf) : NULL,
                                        skip};
        else if (b && b->allocated)
            s.kind = VOLUME_ALLOCATED_ZEROS;
        add_segment(r, s);
    }
}

/* ----------------------------------------------------------------- requests */

static void make_payload(struct volume *v, struct volume_req *r)
{
    uint64_t size = v->disk->params.block_size, offset = r->offset, bytes = r->bytes;
    r->payload_count = (size_t)((offset % size + bytes - 1) / size + 1);
    r->payload = MEM_ARRAY(struct buf *, r->payload_count);
    for (size_t i = 0; i < r->payload_count; i++) {
        uint64_t n = MIN(bytes, size - offset % size);
        r->payload[i] = buf_create(n);
        offset += n;
        bytes -= n;
    }
}

static void free_payload(struct volume_req *r)
{
    for (size_t i = 0; i < r->payload_count; i++)
        buf_unref(r->payload[i]);
    mem_free(r->payload);
    r->payload = NULL;
    r->payload_count = 0;
}

static void granted(struct budget_wait *w)
{
    struct volume_req *r = CONTAINER_OF(w, struct volume_req, admission);
    r->err = ERR_OK;
    make_payload(r->volume, r);
    r->admitted(r);
}

static void refused(struct task *t)
{
    struct volume_req *r = CONTAINER_OF(t, struct volume_req, task);
    r->err = ERR_NOSPACE;
    r->admitted(r);
}

bool volume_prepare_write(struct volume *v, struct volume_req *r)
{
    r->volume = v;
    if (v->engine->faults.full) {
        r->task.run = refused;
        loop_post(v->engine->loop, &r->task);
        return false;
    }
    if (budget_try(&v->engine->budget, r->bytes)) {
        make_payload(v, r);
        return true;
    }
    r->admission.bytes = r->bytes;
    r->admission.granted = granted;
    budget_wait(&v->engine->budget, &r->admission);
    return false;
}

void volume_drop_write(struct volume *v, struct volume_req *r)
{
    task_cancel(&r->task);
    budget_unwait(&v->engine->budget, &r->admission);
    if (r->payload) {
        free_payload(r);
        budget_give(&v->engine->budget, r->bytes);
    }
}

static void answer(struct task *t)
{
    struct volume_req *r = CONTAINER_OF(t, struct volume_req, task);
    r->volume->under_way--;
    r->done(r);
}

static enum err carry_out(struct volume *v, struct volume_req *r)
{
    bool is_change = r->verb == VOLUME_WRITE || r->verb == VOLUME_TRIM || r->verb == VOLUME_ZERO;
    if (v->fenced)
        return ERR_FENCED;
    if (v->engine->faults.full && is_change)
        return ERR_NOSPACE;
    if (r->verb == VOLUME_READ && r->offset < v->engine->faults.corrupt_below)
        return ERR_CORRUPT;
    if (is_change)
        change(v->disk, r->offset, r->bytes, r->payload,
               r->verb == VOLUME_TRIM || !(r->flags & VOLUME_NO_HOLE));
    else if (r->verb == VOLUME_READ || r->verb == VOLUME_STATUS)
        look(v, r);
    return ERR_OK;
}

void volume_submit(struct volume *v, struct volume_req *r)
{
    r->volume = v;
    r->err = carry_out(v, r);
    if (r->payload) {
        free_payload(r);
        budget_give(&v->engine->budget, r->bytes);
    }
    r->task.run = answer;
    v->under_way++;
    if (v->engine->faults.hold)
        list_push(&v->engine->held, &r->link);
    else
        loop_post(v->engine->loop, &r->task);
}

void ram_release(struct engine *e)
{
    struct link *k;
    while ((k = list_pop(&e->held))) {
        struct volume_req *r = CONTAINER_OF(k, struct volume_req, link);
        if (r->volume->fenced)
            r->err = ERR_FENCED;
        loop_post(e->loop, &r->task);
    }
}

void volume_req_finish(struct volume_req *r)
{
    for (size_t i = 0; i < r->segment_count; i++)
        buf_unref(r->segments[i].buf);
    mem_free(r->segments);
    r->segments = NULL;
    r->impl = NULL;
    r->segment_count = 0;
}

bool volume_read_now(struct volume *v, struct volume_req *r)
{
    const struct ram_faults *f = &v->engine->faults;
    if (f->hold || f->slow_reads || r->offset < f->corrupt_below || v->fenced)
        return false;
    r->err = ERR_OK;
    look(v, r);
    return true;
}
