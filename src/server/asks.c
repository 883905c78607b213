/* What the protocol asks for (struct nbd_ops), carried out by the engine. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
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

static void found(struct connection *c, const char *name, uint64_t size, uint32_t block_size, bool read_only)
{
    char description[80], a[SIZE_TEXT_MAX], b[SIZE_TEXT_MAX];
    snprintf(description, sizeof description, "%s in blocks of %s", size_format(size, a),
             size_format(block_size, b));
    nbd_found(&c->nbd, &(struct nbd_export){.name = name,
                                            .description = description,
                                            .size = size,
                                            .block_size = block_size,
                                            .read_only = read_only || c->server->config.read_only});
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
        found(c, op->infos->name, op->infos->params.size, op->infos->params.block_size, op->infos->read_only);
    else if (op->err == ERR_NOTFOUND && s->config.auto_create && !strchr(op->name, '@'))
        found(c, op->name, s->auto_create.size, s->auto_create.block_size, false);
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
        struct volume_info info;
        volume_info(v, &info);
        found(c, info.name, info.size, info.block_size, info.read_only);
        return;
    }
    ask(c, name, looked);
    export_info(&c->op);
}

static void joined(struct export_user *u, enum err err, const struct complaint *why)
{
    struct connection *c = CONTAINER_OF(u, struct connection, user);
    if (err) {
        refuse(c, c->export, err, why->text);
    } else {
        struct volume_info info;
        volume_info(u->export->volume, &info);
        c->joined = true;
        log_info("server", "export \"%s\": client %s connected", c->export, c->peer);
        found(c, info.name, info.size, info.block_size, info.read_only);
    }
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
    c->user = (struct export_user){.joined = joined, .lost = lost};
    exports_join(&c->server->exports, c->export, &c->user);
}

/* ---------------------------------------------------------------- requests */

static void finished(struct volume_req *v)
{
    struct request *r = CONTAINER_OF(v, struct request, volume);
    struct connection *c = r->connection;
    c->under_way--;
    c->promised -= r->reply_bytes;
    bool open = c->fd >= 0;
    if (open)
        request_answer(r);
    volume_req_finish(v);
    request_put(c->server, r);
    if (!open)
        connection_release(c);
    else if (c->under_way == 0)
        connection_pump(c);
    else
        connection_pump_later(c);
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
                           : cmd == NBD_CMD_BLOCK_STATUS ? 8 * NBD_STATUS_MAX
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
    c->promised += r->reply_bytes;
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
