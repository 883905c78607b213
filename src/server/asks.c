/* What the protocol asks for (struct nbd_ops), carried out by the engine. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/private.h"

static struct connection *connection_of(struct nbd *n)
{
    return CONTAINER_OF(n, struct connection, nbd);
}

static struct request *request_of(struct nbd_request *q)
{
    return CONTAINER_OF(q, struct request, nbd);
}

/* --------------------------------------------------------------- handshake */

struct seen {
    const char *name;
    uint64_t size;
    uint32_t block_size;
    bool read_only;
    const char **snapshots;
    size_t snapshot_count;
};

static void found(struct connection *c, const struct seen *e)
{
    char description[80], a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    snprintf(description, sizeof description, "%s in blocks of %s", size_format(e->size, a),
             size_format(e->block_size, b));
    nbd_found(&c->nbd, &(struct nbd_export){.name = e->name,
                                            .description = description,
                                            .size = e->size,
                                            .block_size = e->block_size,
                                            .read_only = e->read_only || c->server->config.read_only,
                                            .snapshots = e->snapshots,
                                            .snapshot_count = e->snapshot_count});
}

static void found_volume(struct connection *c, const struct volume *v)
{
    struct volume_info info;
    volume_info(v, &info);
    struct seen e = {
        .name = info.name, .size = info.size, .block_size = info.block_size, .read_only = info.read_only};
    while (volume_snapshot(v, e.snapshot_count))
        e.snapshot_count++;
    e.snapshots = MEM_ARRAY(const char *, e.snapshot_count + 1);
    for (size_t i = 0; i < e.snapshot_count; i++)
        e.snapshots[i] = volume_snapshot(v, i);
    found(c, &e);
    mem_free(e.snapshots);
}

static void found_info(struct connection *c, const struct export_info *info)
{
    struct seen e = {.name = info->name,
                     .size = info->params.size,
                     .block_size = info->params.block_size,
                     .read_only = info->read_only,
                     .snapshot_count = info->snapshot_count};
    e.snapshots = MEM_ARRAY(const char *, e.snapshot_count + 1);
    for (size_t i = 0; i < e.snapshot_count; i++)
        e.snapshots[i] = info->snapshots[i].name;
    found(c, &e);
    mem_free(e.snapshots);
}

/* The export a client means. False: refused. */
static bool resolve(struct connection *c, const char **name)
{
    struct complaint why = {.text = ""};
    char plain[EXPORT_NAME_MAX + 1];
    const char *snapshot;
    if (!**name && c->server->config.default_export)
        *name = c->server->config.default_export;
    else if (!**name)
        complain(&why, ERR_NOTFOUND, "there is no default export; name one");
    if (**name && volume_name_split(*name, plain, &snapshot, &why) == ERR_OK)
        return true;
    nbd_refused(&c->nbd, NBD_REP_ERR_UNKNOWN, why.text);
    return false;
}

static void refuse(struct connection *c, const char *name, enum err err, const char *text)
{
    struct complaint why;
    if (text && *text)
        complain(&why, err, "%s", text);
    else if (err == ERR_NOTFOUND)
        complain(&why, err, "there is no export \"%s\"", name);
    else
        complain(&why, err, "export \"%s\": %s", name, err_text(err));
    log_info("server", "client %s: %s", c->peer, why.text);
    nbd_refused(&c->nbd, error_to_rep(err), why.text);
}

static bool asked(struct export_op *op)
{
    struct connection *c = CONTAINER_OF(op, struct connection, op);
    c->asking = false;
    if (c->fd >= 0)
        return true;
    export_infos_free(op->infos);
    connection_release(c);
    return false;
}

/* The name is kept here: the protocol forgets its own when the client goes away. */
static void remember(struct connection *c, const char *name)
{
    strncpy(c->export, name, sizeof c->export - 1);
}

static void ask(struct connection *c, const char *name, void (*done)(struct export_op *))
{
    remember(c, name);
    c->asking = true;
    c->op = (struct export_op){
        .engine = c->server->config.engine, .name = c->export, .brief = true, .done = done};
}

static void listed(struct export_op *op)
{
    if (!asked(op))
        return;
    struct connection *c = CONTAINER_OF(op, struct connection, op);
    if (op->err) {
        refuse(c, "", op->err, *op->complaint.text ? op->complaint.text : "the exports cannot be listed now");
    } else {
        for (const struct export_info *i = op->infos; i; i = i->next) {
            char a[SIZE_TEXT_MAX];
            nbd_list_entry(&c->nbd, i->name, size_format(i->params.size, a));
        }
        nbd_list_end(&c->nbd);
    }
    export_infos_free(op->infos);
    connection_pump(c);
}

static void ask_list(struct nbd *n)
{
    struct connection *c = connection_of(n);
    ask(c, "", listed);
    export_list(&c->op);
}

static void looked(struct export_op *op)
{
    if (!asked(op))
        return;
    struct connection *c = CONTAINER_OF(op, struct connection, op);
    const struct server *s = c->server;
    if (!op->err)
        found_info(c, op->infos);
    else if (op->err == ERR_NOTFOUND && s->config.auto_create && !strchr(op->name, '@'))
        found(c, &(struct seen){
                     .name = op->name, .size = s->auto_create.size, .block_size = s->auto_create.block_size});
    else
        refuse(c, op->name, op->err, op->complaint.text);
    export_infos_free(op->infos);
    connection_pump(c);
}

static void ask_look(struct nbd *n, const char *name)
{
    struct connection *c = connection_of(n);
    if (!resolve(c, &name))
        return;
    const struct volume *v = exports_find(&c->server->exports, name);
    if (v) {
        found_volume(c, v);
        return;
    }
    ask(c, name, looked);
    export_info(&c->op);
}

/* ------------------------------------------------------------------- bases */

void connection_leave_bases(struct connection *c)
{
    for (size_t i = 0; i < c->base_count; i++)
        bases_leave(&c->bases[i]);
    c->base_count = 0;
}

static void base_joined(struct base_user *, enum err, const struct complaint *);

/* The last snapshot; of a snapshot: the one before. NULL: there is none. */
static const char *last_snapshot(const struct connection *c)
{
    const struct volume *v = c->user.export->volume;
    const char *at = strchr(c->export, '@'), *last = NULL, *name;
    for (size_t i = 0; (name = volume_snapshot(v, i)) && !(at && strcmp(name, at + 1) == 0); i++)
        last = name;
    return last;
}

/* What that context compares with; NULL: nothing. */
static const char *snapshot_of(const struct connection *c, size_t context)
{
    const struct nbd_context *x = nbd_context(&c->nbd, context);
    return x->kind == NBD_CONTEXT_DEPTH ? last_snapshot(c) : x->snapshot;
}

/* True: all are there. False: one is waited for. */
static bool join_bases(struct connection *c)
{
    while (c->contexts_done < nbd_context_count(&c->nbd)) {
        size_t i = c->contexts_done++;
        const char *snapshot = snapshot_of(c, i);
        c->base_of[i] = 0;
        if (!snapshot)
            continue;
        char name[VOLUME_NAME_MAX + 1];
        snprintf(name, sizeof name, "%.*s@%.*s", (int)MIN(strcspn(c->export, "@"), EXPORT_NAME_MAX),
                 c->export, EXPORT_NAME_MAX, snapshot);
        c->bases[c->base_count] = (struct base_user){.joined = base_joined, .ctx = c};
        c->base_of[i] = (unsigned)++c->base_count;
        if (!bases_join(&c->server->bases, name, &c->bases[c->base_count - 1]))
            return false;
    }
    return true;
}

static void opened(struct connection *c)
{
    if (!join_bases(c))
        return;
    c->joined = true;
    log_info("server", "export \"%s\": client %s connected", c->export, c->peer);
    found_volume(c, c->user.export->volume);
    connection_pump(c);
}

static void base_joined(struct base_user *u, enum err err, const struct complaint *why)
{
    struct connection *c = u->ctx;
    if (!err) {
        opened(c);
        return;
    }
    connection_leave_bases(c);
    exports_leave(&c->user);
    refuse(c, c->export, err, why->text);
    connection_pump(c);
}

static void joined(struct export_user *u, enum err err, const struct complaint *why)
{
    struct connection *c = CONTAINER_OF(u, struct connection, user);
    if (!err) {
        opened(c);
        return;
    }
    refuse(c, c->export, err, why->text);
    connection_pump(c);
}

static void lost(struct export_user *u)
{
    connection_shutdown(CONTAINER_OF(u, struct connection, user));
}

static void ask_open(struct nbd *n, const char *name)
{
    struct connection *c = connection_of(n);
    if (!resolve(c, &name))
        return;
    remember(c, name);
    c->contexts_done = 0;
    c->user = (struct export_user){.joined = joined, .lost = lost};
    exports_join(&c->server->exports, c->export, &c->user);
}

/* ---------------------------------------------------------------- requests */

static void finish(struct request *r)
{
    struct connection *c = r->connection;
    c->under_way--;
    c->server->under_way--;
    c->promised -= r->reply_bytes;
    bool open = c->fd >= 0;
    if (open)
        request_answer(r);
    volume_req_finish(&r->volume);
    block_status_finish(r);
    request_put(c->server, r);
    if (!open)
        connection_release(c);
    else if (c->under_way == 0)
        connection_pump(c);
    else
        connection_pump_later(c);
}

static void finished(struct volume_req *v)
{
    finish(CONTAINER_OF(v, struct request, volume));
}

static void admitted(struct volume_req *v)
{
    struct request *r = CONTAINER_OF(v, struct request, volume);
    struct connection *c = r->connection;
    connection_awaits_admission(c, false);
    nbd_admitted(&c->nbd, &r->nbd, error_to_nbd(v->err));
    if (v->err)
        request_put(c->server, r);
    connection_pump(c);
}

static struct nbd_request *ask_take(struct nbd *n, enum nbd_cmd cmd, uint32_t length)
{
    struct connection *c = connection_of(n);
    /* CACHE holds what it has read until it has all. */
    uint32_t reply_bytes = cmd == NBD_CMD_READ           ? length
                           : cmd == NBD_CMD_CACHE        ? MIN(length, VOLUME_REQUEST_MAX)
                           : cmd == NBD_CMD_BLOCK_STATUS ? 8 * NBD_STATUS_MAX * (uint32_t)nbd_context_count(n)
                                                         : 0;
    if (!connection_may_take(c, reply_bytes))
        return NULL;
    struct request *r = request_get(c->server);
    r->connection = c;
    r->reply_bytes = reply_bytes;
    c->requests++;
    return &r->nbd;
}

static bool ask_admit(struct nbd *n, struct nbd_request *q)
{
    struct request *r = request_of(q);
    request_translate(r);
    r->volume.admitted = admitted;
    struct connection *c = connection_of(n);
    bool now = volume_prepare_write(c->user.export->volume, &r->volume);
    connection_awaits_admission(c, !now);
    return now;
}

static struct iovec ask_payload(struct nbd *n, struct nbd_request *q, size_t index)
{
    (void)n;
    const struct volume_req *v = &request_of(q)->volume;
    assert(index < v->payload_count);
    return (struct iovec){v->payload[index]->data, v->payload[index]->bytes};
}

static void ask_submit(struct nbd *n, struct nbd_request *q)
{
    struct connection *c = connection_of(n);
    struct request *r = request_of(q);
    struct volume *v = c->user.export->volume;
    if (q->cmd != NBD_CMD_WRITE || !q->length)
        request_translate(r);
    if (q->cmd == NBD_CMD_READ && volume_read_now(v, &r->volume)) {
        request_answer(r);
        volume_req_finish(&r->volume);
        request_put(c->server, r);
        return;
    }
    r->volume.done = finished;
    c->under_way++;
    c->server->under_way++;
    c->promised += r->reply_bytes;
    if (q->cmd == NBD_CMD_BLOCK_STATUS)
        block_status_submit(r, finish);
    else
        volume_submit(v, &r->volume);
}

static void ask_drop(struct nbd *n, struct nbd_request *q)
{
    struct connection *c = connection_of(n);
    connection_awaits_admission(c, false);
    volume_drop_write(c->user.export->volume, &request_of(q)->volume);
    request_put(c->server, request_of(q));
}

const struct nbd_ops connection_ops = {
    .list = ask_list,
    .look = ask_look,
    .open = ask_open,
    .take = ask_take,
    .admit = ask_admit,
    .payload = ask_payload,
    .submit = ask_submit,
    .drop = ask_drop,
};
