#include <assert.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "server/private.h"

/* ------------------------------------------------------------------- pool */

struct request *request_get(struct server *s)
{
    struct link *k = list_pop(&s->spare_requests);
    if (!k)
        return MEM_NEW(struct request);
    s->spare_request_count--;
    return CONTAINER_OF(k, struct request, link);
}

void request_put(struct server *s, struct request *r)
{
    if (s->spare_request_count >= REQUESTS_KEPT) {
        mem_free(r);
        return;
    }
    list_push_front(&s->spare_requests, &r->link);
    s->spare_request_count++;
}

/* -------------------------------------------------------------- translation */

static const enum volume_verb verbs[] = {
    [NBD_CMD_READ] = VOLUME_READ,           [NBD_CMD_WRITE] = VOLUME_WRITE,
    [NBD_CMD_FLUSH] = VOLUME_FLUSH,         [NBD_CMD_TRIM] = VOLUME_TRIM,
    [NBD_CMD_CACHE] = VOLUME_CACHE,         [NBD_CMD_WRITE_ZEROES] = VOLUME_ZERO,
    [NBD_CMD_BLOCK_STATUS] = VOLUME_STATUS,
};

void request_translate(struct request *r)
{
    struct volume_req *v = &r->volume;
    const struct nbd_request *q = &r->nbd;
    bool change = q->cmd == NBD_CMD_WRITE || q->cmd == NBD_CMD_TRIM || q->cmd == NBD_CMD_WRITE_ZEROES;
    v->verb = verbs[q->cmd];
    v->flags = 0;
    if (change && q->flags & NBD_CMD_FLAG_FUA)
        v->flags |= VOLUME_FUA;
    if (q->flags & NBD_CMD_FLAG_NO_HOLE)
        v->flags |= VOLUME_NO_HOLE;
    if (q->flags & NBD_CMD_FLAG_REQ_ONE)
        v->flags |= VOLUME_REQ_ONE;
    v->offset = q->offset;
    v->bytes = q->length;
    if (v->verb == VOLUME_CACHE) /* a hint without a promise: as much as the volume takes at once */
        v->bytes = MIN(v->bytes, VOLUME_REQUEST_MAX);
    v->payload = NULL;
    v->payload_count = 0;
    v->segments = NULL;
    v->segment_count = 0;
    v->err = ERR_OK;
}

/* ------------------------------------------------------------------ answers */

static void answer_read(struct nbd *n, struct request *r)
{
    nbd_read_begin(n, &r->nbd);
    for (size_t i = 0; i < r->volume.segment_count; i++) {
        const struct volume_segment *s = &r->volume.segments[i];
        if (s->kind == VOLUME_DATA)
            nbd_read_data(n, s->buf, s->skip, s->bytes);
        else
            nbd_read_hole(n, s->bytes);
    }
    nbd_read_end(n);
}

void request_answer(struct request *r)
{
    struct nbd *n = &r->connection->nbd;
    if (r->volume.err)
        nbd_reply(n, &r->nbd, error_to_nbd(r->volume.err));
    else if (r->nbd.cmd == NBD_CMD_READ)
        answer_read(n, r);
    else if (r->nbd.cmd == NBD_CMD_BLOCK_STATUS)
        block_status_answer(r);
    else
        nbd_reply(n, &r->nbd, NBD_OK);
}
