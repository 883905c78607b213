#include "nbd_socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "nbd/proto.h"

#define OPTION_BYTES_MAX 8192u

void fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "not as expected");
    exit(1);
}

/* ------------------------------------------------------------------- transport */

union address {
    struct sockaddr any;
    struct sockaddr_un un;
    struct sockaddr_in in;
};

static socklen_t address_parse(const char *text, union address *a)
{
    memset(a, 0, sizeof *a);
    if (strncmp(text, "unix:", 5) == 0) {
        a->un.sun_family = AF_UNIX;
        if (strlen(text + 5) >= sizeof a->un.sun_path)
            fail("the socket's path is too long");
        memcpy(a->un.sun_path, text + 5, strlen(text + 5));
        return sizeof a->un;
    }
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        fail("the address is unix:PATH or HOST:PORT");
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    a->in.sin_family = AF_INET;
    a->in.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (inet_pton(AF_INET, host, &a->in.sin_addr) != 1)
        fail(host);
    return sizeof a->in;
}

static void no_delay(int fd, const union address *a)
{
    if (a->any.sa_family == AF_INET)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

int nbd_dial(const char *address)
{
    union address a;
    socklen_t n = address_parse(address, &a);
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, &a.any, n) != 0)
        fail(address);
    no_delay(fd, &a);
    return fd;
}

int nbd_listen(const char *address)
{
    union address a;
    socklen_t n = address_parse(address, &a);
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (fd < 0 || bind(fd, &a.any, n) != 0 || listen(fd, 1024) != 0)
        fail(address);
    no_delay(fd, &a);
    return fd;
}

bool full_send(int fd, const void *from, size_t n)
{
    for (const char *p = from; n > 0;) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool full_recv(int fd, void *to, size_t n)
{
    for (char *p = to; n > 0;) {
        ssize_t got = recv(fd, p, n, 0);
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

/* ------------------------------------------------------------------- the client */

static void must_send(int fd, const void *from, size_t n)
{
    if (!full_send(fd, from, n))
        fail("send");
}

static void must_recv(int fd, void *to, size_t n)
{
    errno = 0;
    if (!full_recv(fd, to, n))
        fail("the server hung up");
}

static void send_go(int fd, const char *name)
{
    uint8_t option[NBD_OPTION_BYTES + 4 + 256 + 2];
    uint32_t n = (uint32_t)strlen(name);
    if (n > 256)
        fail("the export's name is too long");
    put_be64(option, NBD_IHAVEOPT);
    put_be32(option + 8, NBD_OPT_GO);
    put_be32(option + 12, 4 + n + 2);
    put_be32(option + 16, n);
    memcpy(option + 20, name, n);
    put_be16(option + 20 + n, 0);
    must_send(fd, option, NBD_OPTION_BYTES + 4 + n + 2);
}

uint64_t nbd_go(int fd, const char *name)
{
    uint8_t greeting[NBD_GREETING_BYTES], flags[4], reply[NBD_OPTION_REPLY_BYTES], data[OPTION_BYTES_MAX];
    uint64_t size = 0;
    must_recv(fd, greeting, sizeof greeting);
    put_be32(flags, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    must_send(fd, flags, sizeof flags);
    send_go(fd, name);
    for (;;) {
        must_recv(fd, reply, sizeof reply);
        uint32_t type = get_be32(reply + 12), bytes = get_be32(reply + 16);
        errno = 0;
        if (bytes > sizeof data)
            fail("an option reply is too long");
        must_recv(fd, data, bytes);
        if (type == NBD_REP_ACK)
            return size;
        if (type == NBD_REP_INFO && bytes >= 10 && get_be16(data) == NBD_INFO_EXPORT)
            size = get_be64(data + 2);
        else if (type != NBD_REP_INFO)
            fail("the server refused NBD_OPT_GO");
    }
}

/* ------------------------------------------------------------------- the server */

static bool send_reply(int fd, uint32_t option, uint32_t type, const void *data, uint32_t bytes)
{
    uint8_t reply[NBD_OPTION_REPLY_BYTES];
    put_be64(reply, NBD_REP_MAGIC);
    put_be32(reply + 8, option);
    put_be32(reply + 12, type);
    put_be32(reply + 16, bytes);
    return full_send(fd, reply, sizeof reply) && full_send(fd, data, bytes);
}

#define SERVED_FLAGS (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_CAN_MULTI_CONN)

static bool answer_option(int fd, uint32_t option, uint64_t bytes)
{
    uint8_t info[12];
    put_be16(info, NBD_INFO_EXPORT);
    put_be64(info + 2, bytes);
    put_be16(info + 10, SERVED_FLAGS);
    if (option == NBD_OPT_EXPORT_NAME)
        return full_send(fd, info + 2, 10);
    if (option == NBD_OPT_GO || option == NBD_OPT_INFO)
        return send_reply(fd, option, NBD_REP_INFO, info, sizeof info) &&
               send_reply(fd, option, NBD_REP_ACK, "", 0);
    return send_reply(fd, option, NBD_REP_ERR_UNSUP, "", 0);
}

bool nbd_serve_handshake(int fd, uint64_t bytes)
{
    uint8_t greeting[NBD_GREETING_BYTES], flags[4], option[NBD_OPTION_BYTES], data[OPTION_BYTES_MAX];
    put_be64(greeting, NBD_MAGIC);
    put_be64(greeting + 8, NBD_IHAVEOPT);
    put_be16(greeting + 16, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
    if (!full_send(fd, greeting, sizeof greeting) || !full_recv(fd, flags, sizeof flags))
        return false;
    while (full_recv(fd, option, sizeof option)) {
        uint32_t n = get_be32(option + 12), number = get_be32(option + 8);
        if (n > sizeof data || !full_recv(fd, data, n) || number == NBD_OPT_ABORT ||
            !answer_option(fd, number, bytes))
            return false;
        if (number == NBD_OPT_GO || number == NBD_OPT_EXPORT_NAME)
            return true;
    }
    return false;
}
