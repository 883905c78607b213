#include "nbd/nbd.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "nbd/private.h"

void nbd_pool_finish(struct nbd_pool *pool)
{
    mem_free(pool->receive);
    pool->receive = NULL;
}

void nbd_init(struct nbd *n, const struct nbd_ops *ops, struct nbd_pool *pool)
{
    memset(n, 0, sizeof *n);
    n->ops = ops;
    n->pool = pool;
    n->state = NBD_CLIENT_FLAGS;
    uint8_t *greeting = output_header(&n->output, NBD_GREETING_BYTES);
    put_be64(greeting, NBD_MAGIC);
    put_be64(greeting + 8, NBD_IHAVEOPT);
    put_be16(greeting + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

void handshake_forget(struct nbd *n)
{
    mem_free(n->name);
    n->name = NULL;
    queries_forget(n);
}

static void input_release(struct nbd *n)
{
    n->pool->kept -= n->kept;
    if (n->whole && !n->pool->receive)
        n->pool->receive = n->receive;
    else
        mem_free(n->receive);
    n->receive = NULL;
    n->whole = n->kept = false;
}

static void drop_payload(struct nbd *n)
{
    struct nbd_request *r = n->writing;
    if (!r)
        return;
    n->writing = NULL;
    n->under_way--;
    n->ops->drop(n, r);
}

void nbd_finish(struct nbd *n)
{
    drop_payload(n);
    n->state = NBD_STOPPED;
    if (n->end == NBD_ALIVE)
        n->end = NBD_ENDING;
    handshake_forget(n);
    contexts_forget(n);
    if (n->receive)
        input_release(n);
    n->start = n->end_at = 0;
    buf_unref(n->status);
    n->status = NULL;
    output_finish(&n->output);
}

void nbd_stop(struct nbd *n)
{
    n->state = NBD_STOPPED;
    if (n->end == NBD_ALIVE)
        n->end = NBD_ENDING;
}

void nbd_break(struct nbd *n, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(n->reason, sizeof n->reason, fmt, ap);
    va_end(ap);
    n->state = NBD_STOPPED;
    n->end = NBD_BROKEN;
}

static void shutdown_when_idle(struct nbd *n)
{
    if (n->shutting_down && n->under_way == 0 && n->end == NBD_ALIVE && n->state != NBD_OPTION_ASKED)
        nbd_stop(n);
}

void nbd_shutdown(struct nbd *n)
{
    n->shutting_down = true;
    if (n->end != NBD_ALIVE)
        return;
    if (n->writing) {
        drop_payload(n);
        nbd_stop(n);
    }
    shutdown_when_idle(n);
}

bool nbd_eof(struct nbd *n)
{
    bool between = n->state == NBD_STOPPED || (n->state == NBD_REQUEST && !input_bytes(n));
    drop_payload(n);
    if (n->end == NBD_ALIVE)
        nbd_stop(n);
    return between;
}

enum nbd_end nbd_end(const struct nbd *n)
{
    return n->end;
}

const char *nbd_reason(const struct nbd *n)
{
    return n->reason;
}

bool nbd_idle(const struct nbd *n)
{
    return n->under_way == 0 && n->state != NBD_OPTION_ASKED;
}

enum nbd_wait nbd_waits_for(const struct nbd *n)
{
    switch (n->state) {
    case NBD_CLIENT_FLAGS:
    case NBD_OPTION_HEAD:
    case NBD_OPTION_DATA:
    case NBD_OPTION_DRAIN:
        return NBD_WAIT_HANDSHAKE;
    case NBD_REQUEST:
        return input_bytes(n) && input_bytes(n) < NBD_REQUEST_BYTES ? NBD_WAIT_PAYLOAD : NBD_WAIT_REQUEST;
    case NBD_PAYLOAD:
    case NBD_PAYLOAD_DRAIN:
        return NBD_WAIT_PAYLOAD;
    case NBD_OPTION_ASKED:
    case NBD_ADMISSION:
    case NBD_STOPPED:
        break;
    }
    return NBD_WAIT_US;
}

uint32_t nbd_payload_missing(const struct nbd *n)
{
    return n->state == NBD_ADMISSION ? n->head.length - MIN(n->head.length, input_bytes(n)) : 0;
}

/* ------------------------------------------------------------------- input */

static bool output_full(const struct nbd *n)
{
    return n->output.bytes >= NBD_OUTPUT_HIGH;
}

/* How many bytes the next step needs at hand; 0: it does not wait for bytes. What has begun is taken in to
 * its end, whatever waits to be sent. */
static uint32_t wanted(const struct nbd *n)
{
    switch (n->state) {
    case NBD_CLIENT_FLAGS:
        return NBD_CLIENT_FLAGS_BYTES;
    case NBD_OPTION_HEAD:
        return output_full(n) ? 0 : NBD_OPTION_BYTES;
    case NBD_OPTION_DATA:
        return n->left;
    case NBD_REQUEST:
        return output_full(n) ? 0 : NBD_REQUEST_BYTES;
    case NBD_OPTION_DRAIN:
    case NBD_PAYLOAD:
    case NBD_PAYLOAD_DRAIN:
        return 1;
    case NBD_OPTION_ASKED:
    case NBD_ADMISSION:
    case NBD_STOPPED:
        break;
    }
    return 0;
}

bool nbd_wants_input(const struct nbd *n)
{
    uint32_t bytes = wanted(n);
    return input_bytes(n) < bytes;
}

/* Between calls short remains live in the stash, so that a connection at rest holds no buffer; long ones stay
 * in the buffer for as many connections as the pool allows, for all others in memory of their own size. */
static void input_open(struct nbd *n)
{
    uint32_t bytes = input_bytes(n);
    if (n->whole) {
        memmove(n->receive, n->receive + n->start, bytes);
    } else {
        uint8_t *whole = n->pool->receive ? n->pool->receive : mem_alloc(NBD_RECEIVE_BYTES);
        n->pool->receive = NULL;
        memcpy(whole, (n->receive ? n->receive : n->stash) + n->start, bytes);
        mem_free(n->receive);
        n->receive = whole;
        n->whole = true;
    }
    n->start = 0;
    n->end_at = bytes;
}

static void input_rest(struct nbd *n)
{
    uint32_t bytes = input_bytes(n);
    if (!n->receive || (n->kept && bytes > sizeof n->stash))
        return;
    uint8_t *rest = n->stash;
    if (bytes > sizeof n->stash) {
        if (!n->whole)
            return;
        if (n->pool->kept < NBD_RECEIVE_KEPT) {
            n->kept = true;
            n->pool->kept++;
            return;
        }
        rest = mem_alloc(bytes);
    }
    memcpy(rest, n->receive + n->start, bytes);
    input_release(n);
    n->receive = rest == n->stash ? NULL : rest;
    n->start = 0;
    n->end_at = bytes;
}

bool input_drain(struct nbd *n)
{
    uint32_t bytes = MIN(input_bytes(n), n->left);
    input_consume(n, bytes);
    n->left -= bytes;
    return n->left == 0;
}

#define LARGE_BYTES (UINT32_C(32) << 10)

/* How much to receive beside a payload: what can be used at once, or all there is room for where the pool
 * lets it be kept. */
static uint32_t room_bytes(const struct nbd *n)
{
    uint32_t free_bytes = NBD_RECEIVE_BYTES - n->end_at;
    if (!n->kept && n->pool->kept >= NBD_RECEIVE_KEPT) {
        bool drains = n->state == NBD_OPTION_DRAIN || n->state == NBD_PAYLOAD_DRAIN;
        uint32_t usable = drains ? n->left : wanted(n) - input_bytes(n);
        return n->state == NBD_PAYLOAD ? 0 : MIN(free_bytes, usable);
    }
    /* Large payloads follow each other: little of the next one should come here, from where it must be
     * copied. */
    bool large = n->state != NBD_OPTION_DATA && n->head.cmd == NBD_CMD_WRITE && n->head.length >= LARGE_BYTES;
    return large ? MIN(free_bytes, LARGE_BYTES / 8) : free_bytes;
}

static size_t payload_room(struct nbd *n, struct iovec *iov, size_t max)
{
    size_t count = 0, skip = n->part_done;
    uint32_t left = n->left;
    for (size_t part = n->part; left && count < max; part++, skip = 0) {
        struct iovec v = n->ops->payload(n, n->writing, part);
        iov[count].iov_base = (uint8_t *)v.iov_base + skip;
        iov[count].iov_len = MIN(v.iov_len - skip, left);
        left -= (uint32_t)iov[count++].iov_len;
    }
    return left ? 0 : count;
}

size_t nbd_room(struct nbd *n, struct iovec *iov)
{
    if (!nbd_wants_input(n))
        return 0;
    size_t count = 0;
    if (n->state == NBD_PAYLOAD) {
        count = payload_room(n, iov, NBD_ROOM_IOVECS - 1);
        if (!count) /* more parts than iovecs: what follows the payload is out of reach */
            return NBD_ROOM_IOVECS - 1;
    }
    input_open(n);
    uint32_t bytes = room_bytes(n);
    if (bytes)
        iov[count++] = (struct iovec){n->receive + n->end_at, bytes};
    return count;
}

static uint32_t payload_received(struct nbd *n, size_t bytes)
{
    uint32_t taken = (uint32_t)MIN(bytes, n->left);
    n->left -= taken;
    for (uint32_t rest = taken; rest;) {
        size_t room = n->ops->payload(n, n->writing, n->part).iov_len - n->part_done;
        uint32_t here = (uint32_t)MIN(room, rest);
        rest -= here;
        n->part_done += here;
        if (here == room) {
            n->part++;
            n->part_done = 0;
        }
    }
    return taken;
}

static bool step(struct nbd *n)
{
    switch (n->state) {
    case NBD_OPTION_HEAD:
        return !output_full(n) && handshake_step(n);
    case NBD_CLIENT_FLAGS:
    case NBD_OPTION_DATA:
    case NBD_OPTION_DRAIN:
        return handshake_step(n);
    case NBD_REQUEST:
        return !output_full(n) && transmission_step(n);
    case NBD_PAYLOAD:
    case NBD_PAYLOAD_DRAIN:
        return transmission_step(n);
    case NBD_OPTION_ASKED:
    case NBD_ADMISSION:
    case NBD_STOPPED:
        break;
    }
    return false;
}

bool nbd_resume(struct nbd *n)
{
    bool progress = false;
    while (step(n))
        progress = true;
    if (n->state == NBD_STOPPED)
        n->start = n->end_at = 0;
    input_rest(n);
    shutdown_when_idle(n);
    return progress;
}

void nbd_received(struct nbd *n, size_t bytes)
{
    if (bytes && n->state == NBD_PAYLOAD)
        bytes -= payload_received(n, bytes);
    n->end_at += (uint32_t)bytes;
    nbd_resume(n);
}

/* ------------------------------------------------------------------ output */

size_t nbd_output(struct nbd *n, struct iovec *iov, size_t max)
{
    return output_iovecs(&n->output, iov, max);
}

void nbd_output_compact(struct nbd *n)
{
    assert(!n->answering);
    output_compact(&n->output);
}

void nbd_sent(struct nbd *n, size_t bytes)
{
    output_sent(&n->output, bytes);
    if (!n->output.bytes && n->under_way == 0)
        output_rest(&n->output);
}
