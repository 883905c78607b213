/* bare_loop ADDRESS BYTES - the least program that answers NBD from memory: one thread, reads taken in
 * batches, one writev for all replies. What no server on this machine can be faster than.
 *
 * It serves as many connections as come, each waited for in turn by poll; it prints "ready" once it
 * listens and ends when its standard input does. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "nbd/proto.h"
#include "nbd_socket.h"

#define CONNECTIONS_MAX 1024u
#define IN_BYTES        (256u << 10)
#define REPLIES_MAX     (IOV_MAX / 2)

struct connection {
    int fd;
    size_t have;
    uint8_t *in;
};

static uint8_t *memory;
static uint64_t memory_bytes;
static struct connection connections[CONNECTIONS_MAX];
static struct pollfd polled[2 + CONNECTIONS_MAX]; /* standard input, the listener, connections */
static unsigned connection_count;

static struct iovec iov[2 * REPLIES_MAX];
static uint8_t headers[REPLIES_MAX][NBD_SIMPLE_REPLY_BYTES];
static unsigned reply_count;
static int iov_count;

static void send_replies(int fd)
{
    struct iovec *at = iov;
    while (iov_count > 0) {
        struct msghdr m = {.msg_iov = at, .msg_iovlen = (size_t)iov_count};
        ssize_t sent = sendmsg(fd, &m, MSG_NOSIGNAL);
        if (sent < 0)
            break;
        while (iov_count > 0 && (size_t)sent >= at->iov_len) {
            sent -= (ssize_t)at->iov_len;
            at++;
            iov_count--;
        }
        if (iov_count > 0) {
            at->iov_base = (char *)at->iov_base + sent;
            at->iov_len -= (size_t)sent;
        }
    }
    iov_count = 0;
    reply_count = 0;
}

static void reply(const uint8_t *request, uint64_t offset, uint32_t bytes)
{
    uint8_t *header = headers[reply_count++];
    put_be32(header, NBD_SIMPLE_REPLY_MAGIC);
    put_be32(header + 4, 0);
    memcpy(header + 8, request + 8, 8);
    iov[iov_count++] = (struct iovec){.iov_base = header, .iov_len = NBD_SIMPLE_REPLY_BYTES};
    if (bytes)
        iov[iov_count++] = (struct iovec){.iov_base = memory + offset, .iov_len = bytes};
}

/* What has arrived of a write's payload is copied, the rest is received into place. */
static bool take_payload(struct connection *c, const uint8_t *from, size_t arrived, uint64_t offset,
                         uint32_t bytes)
{
    memcpy(memory + offset, from, arrived);
    return arrived == bytes || full_recv(c->fd, memory + offset + arrived, bytes - arrived);
}

static bool answer_all(struct connection *c)
{
    size_t at = 0;
    while (c->have - at >= NBD_REQUEST_BYTES) {
        const uint8_t *request = c->in + at;
        uint16_t command = get_be16(request + 6);
        uint64_t offset = get_be64(request + 16);
        uint32_t bytes = get_be32(request + 24);
        at += NBD_REQUEST_BYTES;
        if (get_be32(request) != NBD_REQUEST_MAGIC || command == NBD_CMD_DISC || bytes > memory_bytes ||
            offset > memory_bytes - bytes)
            return false;
        if (command == NBD_CMD_WRITE) {
            size_t arrived = MIN(c->have - at, bytes);
            if (!take_payload(c, c->in + at, arrived, offset, bytes))
                return false;
            at += arrived;
        }
        reply(request, offset, command == NBD_CMD_READ ? bytes : 0);
        if (reply_count == REPLIES_MAX)
            send_replies(c->fd);
    }
    memmove(c->in, c->in + at, c->have - at);
    c->have -= at;
    send_replies(c->fd);
    return true;
}

static bool serve(struct connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->have, IN_BYTES - c->have, 0);
    if (got <= 0)
        return false;
    c->have += (size_t)got;
    return answer_all(c);
}

static void accept_one(int listener)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 || connection_count == CONNECTIONS_MAX || !nbd_serve_handshake(fd, memory_bytes)) {
        close(fd);
        return;
    }
    uint8_t *in = malloc(IN_BYTES);
    if (!in)
        fail("memory");
    connections[connection_count] = (struct connection){.fd = fd, .in = in};
    polled[2 + connection_count++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static void drop(unsigned i)
{
    close(connections[i].fd);
    free(connections[i].in);
    connections[i] = connections[--connection_count];
    polled[2 + i] = polled[2 + connection_count];
}

int main(int argc, char **argv)
{
    if (argc != 3 || !size_parse(argv[2], &memory_bytes)) {
        fprintf(stderr, "usage: bare_loop ADDRESS BYTES\n");
        return 2;
    }
    memory = mmap(NULL, memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail("memory");
    memset(memory, 0xa5, memory_bytes);
    polled[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    polled[1] = (struct pollfd){.fd = nbd_listen(argv[1]), .events = POLLIN};
    puts("ready");
    fflush(stdout);
    while (polled[0].revents == 0) {
        if (poll(polled, 2 + connection_count, -1) < 0 && errno != EINTR)
            fail("poll");
        for (unsigned i = connection_count; i-- > 0;)
            if (polled[2 + i].revents && !serve(&connections[i]))
                drop(i);
        if (polled[1].revents)
            accept_one(polled[1].fd);
    }
    return 0;
}
