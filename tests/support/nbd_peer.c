#include "nbd_peer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

static struct peer *peer_of(struct nbd *n)
{
    return (struct peer *)n;
}

uint8_t peer_byte(uint64_t at)
{
    return (uint8_t)(at * 7 + (at >> 12) + 1);
}

/* --------------------------------------------------------------- handshake */

static void ask_list(struct nbd *n)
{
    nbd_list_entry(n, "alpha", "the first");
    nbd_list_entry(n, "beta", NULL);
    nbd_list_end(n);
}

static void answer_name(struct nbd *n, const char *name)
{
    static const char *const snapshots[] = {"monday", "a:b"};
    struct nbd_export e = {"demo", "a disk", PEER_SIZE, PEER_BLOCK, false, snapshots, COUNT_OF(snapshots)};
    if (strcmp(name, "ro") == 0) {
        e.read_only = true;
        e.name = "ro";
    }
    if (strcmp(name, "huge") == 0)
        e.size = INT64_MAX;
    if (strcmp(name, "held") == 0)
        nbd_refused(n, NBD_REP_ERR_POLICY, "held by quarry");
    else if (*name && !strstr("demo ro huge later", name))
        nbd_refused(n, NBD_REP_ERR_UNKNOWN, "no such export");
    else
        nbd_found(n, &e);
}

static void ask_look(struct nbd *n, const char *name)
{
    if (strcmp(name, "later") != 0)
        answer_name(n, name);
}

void peer_answer(struct peer *p)
{
    answer_name(&p->nbd, "later");
    nbd_resume(&p->nbd);
    peer_send(p);
}

/* ---------------------------------------------------------------- requests */

static struct nbd_request *ask_take(struct nbd *n, enum nbd_cmd cmd, uint32_t length)
{
    (void)cmd;
    (void)length;
    struct peer *p = peer_of(n);
    for (size_t i = 0; i < p->requests_max; i++)
        if (!p->requests[i].used) {
            p->requests[i] = (struct peer_request){.used = true};
            return &p->requests[i].nbd;
        }
    return NULL;
}

static void give_payload(struct peer *p, struct nbd_request *q)
{
    mem_free(p->payload);
    p->payload = mem_alloc(q->length);
    memset(p->payload, 0xee, q->length);
}

static bool ask_admit(struct nbd *n, struct nbd_request *q)
{
    struct peer *p = peer_of(n);
    assert(q->length > 0 && q->length <= NBD_PAYLOAD_MAX);
    if (p->admit_later)
        p->waiting = q;
    else
        give_payload(p, q);
    return !p->admit_later;
}

static struct iovec ask_payload(struct nbd *n, struct nbd_request *q, size_t index)
{
    size_t start = index * PEER_BLOCK;
    assert(start < q->length);
    return (struct iovec){peer_of(n)->payload + start, MIN(PEER_BLOCK, q->length - start)};
}

static void part_at(uint64_t offset, uint64_t end, uint64_t *bytes, unsigned *kind)
{
    *kind = (unsigned)(offset / PEER_BLOCK % 3);
    *bytes = MIN(end - offset, PEER_BLOCK - offset % PEER_BLOCK);
}

static void answer_read(struct peer *p, const struct nbd_request *q)
{
    uint64_t bytes, end = q->offset + q->length;
    unsigned kind;
    nbd_read_begin(&p->nbd, q);
    for (uint64_t at = q->offset; at < end; at += bytes) {
        part_at(at, end, &bytes, &kind);
        if (kind) {
            nbd_read_hole(&p->nbd, bytes);
            continue;
        }
        struct buf *b = buf_create(bytes + 8);
        for (uint64_t i = 0; i < bytes; i++)
            b->data[8 + i] = peer_byte(at + i);
        nbd_read_data(&p->nbd, b, 8, bytes);
        buf_unref(b);
    }
    nbd_read_end(&p->nbd);
}

static void answer_status(struct peer *p, const struct nbd_request *q)
{
    static const uint32_t flags[] = {0, NBD_STATE_HOLE | NBD_STATE_ZERO, NBD_STATE_ZERO};
    uint64_t bytes, end = q->offset + MIN(q->length, 3000 * PEER_BLOCK);
    unsigned kind;
    nbd_status_begin(&p->nbd, q);
    for (size_t i = 0; i < nbd_context_count(&p->nbd); i++) {
        nbd_status_context(&p->nbd, i);
        if (nbd_context(&p->nbd, i)->kind == NBD_CONTEXT_BREAKS) {
            nbd_status_extent(&p->nbd, q->length, 7);
            continue;
        }
        for (uint64_t at = q->offset; at < end; at += bytes) {
            part_at(at, UINT64_MAX, &bytes, &kind);
            nbd_status_extent(&p->nbd, bytes, flags[kind]);
        }
    }
    nbd_status_end(&p->nbd);
}

static void answer(struct peer *p, struct peer_request *r, enum nbd_error error)
{
    r->used = r->submitted = false;
    if (error)
        nbd_reply(&p->nbd, &r->nbd, error);
    else if (r->nbd.cmd == NBD_CMD_READ)
        answer_read(p, &r->nbd);
    else if (r->nbd.cmd == NBD_CMD_BLOCK_STATUS)
        answer_status(p, &r->nbd);
    else
        nbd_reply(&p->nbd, &r->nbd, NBD_OK);
}

static void ask_submit(struct nbd *n, struct nbd_request *q)
{
    struct peer *p = peer_of(n);
    struct peer_request *r = (struct peer_request *)q;
    assert(r->used && !r->submitted);
    r->submitted = true;
    p->submitted++;
    if (p->submitted < sizeof p->asked)
        p->asked[p->submitted - 1] = (char)('0' + q->cmd);
    if (q->cmd == NBD_CMD_WRITE && q->length) {
        mem_free(p->written);
        p->written = p->payload;
        p->written_bytes = q->length;
        p->payload = NULL;
    }
    if (!p->hold)
        answer(p, r, NBD_OK);
}

static void ask_drop(struct nbd *n, struct nbd_request *q)
{
    struct peer_request *r = (struct peer_request *)q;
    assert(r->used && !r->submitted);
    r->used = false;
    peer_of(n)->dropped++;
    peer_of(n)->waiting = NULL;
}

void peer_release(struct peer *p, enum nbd_error error)
{
    for (size_t i = PEER_REQUESTS; i-- > 0;) /* the last one first */
        if (p->requests[i].submitted)
            answer(p, &p->requests[i], error);
    nbd_resume(&p->nbd);
    peer_send(p);
}

void peer_admit(struct peer *p, enum nbd_error error)
{
    struct nbd_request *q = p->waiting;
    if (!q)
        return;
    p->waiting = NULL;
    if (error)
        ((struct peer_request *)q)->used = false;
    else
        give_payload(p, q);
    nbd_admitted(&p->nbd, q, error);
    nbd_resume(&p->nbd);
    peer_send(p);
}

size_t peer_under_way(const struct peer *p)
{
    size_t count = 0;
    for (size_t i = 0; i < PEER_REQUESTS; i++)
        count += p->requests[i].used;
    return count;
}

/* -------------------------------------------------------------------- bytes */

static const struct nbd_ops ops = {
    .list = ask_list,
    .look = ask_look,
    .open = ask_look,
    .take = ask_take,
    .admit = ask_admit,
    .payload = ask_payload,
    .submit = ask_submit,
    .drop = ask_drop,
};

void peer_init(struct peer *p)
{
    memset(p, 0, sizeof *p);
    p->requests_max = PEER_REQUESTS;
    p->send_limit = SIZE_MAX;
    nbd_init(&p->nbd, &ops, &p->pool);
}

void peer_finish(struct peer *p)
{
    nbd_finish(&p->nbd);
    nbd_pool_finish(&p->pool);
    mem_free(p->payload);
    mem_free(p->written);
    mem_free(p->out);
}

void peer_send(struct peer *p)
{
    do {
        struct iovec iov[7];
        size_t count, sent = 0;
        while (p->send_limit && (count = nbd_output(&p->nbd, iov, COUNT_OF(iov)))) {
            for (size_t i = 0; i < count; i++) {
                size_t n = MIN(iov[i].iov_len, p->send_limit - sent);
                if (n > p->out_room - p->out_bytes) {
                    p->out_room = 2 * (p->out_bytes + n);
                    p->out = mem_realloc(p->out, p->out_room);
                }
                memcpy(p->out + p->out_bytes, iov[i].iov_base, n);
                p->out_bytes += n;
                sent += n;
            }
            nbd_sent(&p->nbd, sent);
            p->send_limit -= p->send_limit == SIZE_MAX ? 0 : sent;
            sent = 0;
        }
    } while (nbd_resume(&p->nbd));
}

static size_t offer(struct peer *p, const uint8_t *bytes, size_t n)
{
    struct iovec iov[NBD_ROOM_IOVECS];
    size_t count = nbd_room(&p->nbd, iov), given = 0;
    assert(count <= NBD_ROOM_IOVECS);
    for (size_t i = 0; i < count && given < n; i++) {
        size_t here = MIN(iov[i].iov_len, n - given);
        memcpy(iov[i].iov_base, bytes + given, here);
        given += here;
    }
    if (count)
        nbd_received(&p->nbd, given);
    return given;
}

size_t peer_feed(struct peer *p, const void *bytes, size_t n, size_t slice)
{
    size_t done = 0;
    while (done < n && nbd_end(&p->nbd) == NBD_ALIVE) {
        size_t given = offer(p, (const uint8_t *)bytes + done, MIN(slice, n - done));
        if (!given)
            break;
        done += given;
        peer_send(p);
    }
    return done;
}
