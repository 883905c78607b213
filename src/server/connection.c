#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/private.h"

#define SEND_IOVECS 512
#define LINGER_NS   (2 * NS_PER_S)

static void describe_peer(struct connection *c)
{
    struct sockaddr_storage a = {0};
    socklen_t bytes = sizeof a;
    char host[48] = "?", port[8] = "?";
    if (getpeername(c->fd, (struct sockaddr *)&a, &bytes) == 0 && a.ss_family == AF_UNIX) {
        struct ucred cred = {0};
        bytes = sizeof cred;
        getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes);
        snprintf(c->peer, sizeof c->peer, "unix pid %d uid %u", (int)cred.pid, cred.uid);
        return;
    }
    getnameinfo((struct sockaddr *)&a, bytes, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(c->peer, sizeof c->peer, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void set_options(int fd)
{
    int on = 1, idle_s = 60, interval_s = 10, probes = 6;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        return; /* not TCP */
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

/* -------------------------------------------------------------------- time */

/* Its last replies are all that keeps the server from stopping. */
static bool last_moment(const struct connection *c)
{
    return c->server->stopping && nbd_end(&c->nbd) == NBD_ENDING;
}

static uint64_t timer_length_ns(const struct connection *c, enum nbd_wait what)
{
    const struct server_config *config = &c->server->config;
    switch (what) {
    case NBD_WAIT_HANDSHAKE:
        return c->handshake_left_ns;
    case NBD_WAIT_PAYLOAD:
        return last_moment(c) ? config->handshake_ns : config->payload_idle_ns;
    case NBD_WAIT_REQUEST:
    case NBD_WAIT_US:
        break;
    }
    return 0;
}

/* The handshake's clock runs while it is the client's turn; the other one starts anew with every byte. */
static void settle_timer(struct connection *c)
{
    enum nbd_wait what = nbd_waits_for(&c->nbd);
    if (nbd_end(&c->nbd) == NBD_ENDING && nbd_idle(&c->nbd))
        what = NBD_WAIT_PAYLOAD;
    if (what == c->timer_for)
        return;
    uint64_t now = loop_now_ns(c->server->loop);
    if (c->timer_for == NBD_WAIT_HANDSHAKE)
        c->handshake_left_ns -= MIN(c->handshake_left_ns, now - c->timer_since_ns);
    c->timer_for = what;
    c->timer_since_ns = now;
    uint64_t length = timer_length_ns(c, what);
    if (what == NBD_WAIT_HANDSHAKE || what == NBD_WAIT_PAYLOAD)
        timer_start(c->server->loop, &c->timer, length);
    else
        timer_stop(&c->timer);
}

static void timed_out(struct timer *t)
{
    struct connection *c = CONTAINER_OF(t, struct connection, timer);
    uint64_t now = loop_now_ns(c->server->loop);
    if (c->lingering) {
        connection_close(c, NULL);
        return;
    }
    if (c->timer_for == NBD_WAIT_HANDSHAKE) {
        connection_close(c, "the handshake took too long");
        return;
    }
    uint64_t silent_ns = now - (last_moment(c) ? c->timer_since_ns : MAX(c->last_byte_ns, c->timer_since_ns)),
             limit_ns = timer_length_ns(c, c->timer_for);
    if (silent_ns < limit_ns)
        timer_start(c->server->loop, &c->timer, limit_ns - silent_ns);
    else if (nbd_end(&c->nbd) == NBD_ENDING)
        connection_close(c, "the client does not fetch its last replies");
    else
        connection_close(c, "the rest of a request did not come");
}

/* ------------------------------------------------------------------- bytes */

/* False: the connection is gone. */
static bool send_output(struct connection *c)
{
    struct iovec iov[SEND_IOVECS];
    while (nbd_output_bytes(&c->nbd)) {
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = nbd_output(&c->nbd, iov, SEND_IOVECS)};
        ssize_t sent = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK;
        c->sent_bytes += (uint64_t)sent;
        c->last_byte_ns = loop_now_ns(c->server->loop);
        nbd_sent(&c->nbd, (size_t)sent);
    }
    return true;
}

/* False: closed. */
static bool receive(struct connection *c)
{
    struct iovec iov[NBD_ROOM_IOVECS];
    size_t count = nbd_room(&c->nbd, iov);
    if (!count)
        return true;
    ssize_t got;
    do
        got = readv(c->fd, iov, (int)count);
    while (got < 0 && errno == EINTR);
    int error = errno;
    nbd_received(&c->nbd, got > 0 ? (size_t)got : 0);
    if (got > 0) {
        c->received_bytes += (uint64_t)got;
        c->last_byte_ns = loop_now_ns(c->server->loop);
    } else if (got == 0) {
        c->eof = true;
        if (!c->joined || !nbd_eof(&c->nbd)) {
            connection_close(c, c->joined ? "the client left in the middle of a request"
                                          : "the client left in the handshake");
            return false;
        }
    } else if (error != EAGAIN && error != EWOULDBLOCK) {
        connection_close(c, strerror(error));
        return false;
    }
    return true;
}

static void settle_watch(struct connection *c)
{
    bool reads = !c->eof && nbd_wants_input(&c->nbd);
    unsigned events = (reads ? WATCH_READ : 0) | (nbd_output_bytes(&c->nbd) ? WATCH_WRITE : 0) |
                      (!reads && !c->eof && !c->hung_up ? WATCH_HANGUP : 0);
    if (events != c->watched)
        watch_set(c->server->loop, &c->watch, c->fd, events);
    c->watched = events;
}

/* A socket closed with unread input may take back replies the client has not read yet: where requests may
 * still be on their way, the client is given a moment to see the end first. */
static void end(struct connection *c)
{
    if (c->eof || !c->linger || shutdown(c->fd, SHUT_WR) != 0) {
        connection_close(c, NULL);
        return;
    }
    c->lingering = true;
    c->watched = WATCH_READ;
    watch_set(c->server->loop, &c->watch, c->fd, WATCH_READ);
    timer_start(c->server->loop, &c->timer, LINGER_NS);
}

static void discard_input(struct connection *c)
{
    static char bin[64 << 10];
    ssize_t got = read(c->fd, bin, sizeof bin);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
        connection_close(c, NULL);
}

void connection_pump(struct connection *c)
{
    if (c->lingering)
        return;
    task_cancel(&c->flush);
    do {
        if (!send_output(c)) {
            connection_close(c, strerror(errno));
            return;
        }
    } while (nbd_resume(&c->nbd));
    if (nbd_end(&c->nbd) == NBD_BROKEN) {
        connection_close(c, nbd_reason(&c->nbd));
        return;
    }
    if (nbd_end(&c->nbd) == NBD_ENDING && nbd_idle(&c->nbd) && !nbd_output_bytes(&c->nbd)) {
        end(c);
        return;
    }
    connection_account(c);
    settle_watch(c);
    settle_timer(c);
}

static void pump_task(struct task *t)
{
    connection_pump(CONTAINER_OF(t, struct connection, flush));
}

void connection_pump_later(struct connection *c)
{
    loop_post(c->server->loop, &c->flush);
}

/* Who only sends nothing more still waits for answers to what it has sent; but no answer reaches who has
 * closed both directions, and a payload that is not all in the socket never comes. */
static bool has_left(struct connection *c)
{
    struct pollfd both = {.fd = c->fd};
    int unread = 0;
    if (poll(&both, 1, 0) > 0 && both.revents & (POLLERR | POLLHUP))
        return true;
    uint32_t missing = nbd_payload_missing(&c->nbd);
    return missing && ioctl(c->fd, FIONREAD, &unread) == 0 && (uint32_t)unread < missing;
}

static void ready(struct watch *w, unsigned events)
{
    struct connection *c = CONTAINER_OF(w, struct connection, watch);
    if (events & WATCH_HANGUP && !c->lingering && has_left(c)) {
        connection_close(c, "the client left without waiting for its answers");
        return;
    }
    c->hung_up = c->hung_up || events & WATCH_HANGUP;
    if (c->lingering)
        discard_input(c);
    else if (!(events & WATCH_READ) || receive(c))
        connection_pump(c);
}

/* -------------------------------------------------------------------- life */

void connection_open(struct server *s, int fd)
{
    struct connection *c = MEM_NEW(struct connection);
    c->server = s;
    c->fd = fd;
    c->watch.ready = ready;
    c->timer.fire = timed_out;
    c->flush.run = pump_task;
    c->timer_for = NBD_WAIT_US;
    c->handshake_left_ns = s->config.handshake_ns;
    describe_peer(c);
    set_options(fd);
    nbd_init(&c->nbd, &connection_ops, &s->nbd_pool);
    list_push(&s->connections, &c->link);
    s->connection_count++;
    s->stats.connections_total++;
    connection_pump(c);
}

void connection_shutdown(struct connection *c)
{
    if (c->fd < 0)
        return;
    c->linger = !nbd_idle(&c->nbd);
    nbd_shutdown(&c->nbd);
    timer_stop(&c->timer);
    c->timer_for = NBD_WAIT_US;
    connection_pump_later(c);
}

static void log_closed(const struct connection *c, const char *why)
{
    if (c->joined)
        log_info("server",
                 "export \"%s\": client %s gone after %llu requests, %llu bytes in, %llu bytes out%s%s",
                 c->export, c->peer, (unsigned long long)c->requests, (unsigned long long)c->received_bytes,
                 (unsigned long long)c->sent_bytes, why ? ": " : "", why ? why : "");
    else
        log_info("server", "client %s gone without an export%s%s", c->peer, why ? ": " : "", why ? why : "");
}

void connection_close(struct connection *c, const char *why)
{
    assert(c->fd >= 0);
    struct server *s = c->server;
    log_closed(c, why);
    task_cancel(&c->flush);
    timer_stop(&c->timer);
    watch_stop(&c->watch);
    close(c->fd);
    c->fd = -1;
    nbd_finish(&c->nbd);
    connection_stop_waiting(c);
    connection_account(c);
    s->stats.requests += c->requests;
    s->stats.received_bytes += c->received_bytes;
    s->stats.sent_bytes += c->sent_bytes;
    connection_release(c);
}

void connection_release(struct connection *c)
{
    struct server *s = c->server;
    connection_account(c);
    if (c->under_way || c->asking)
        return;
    connection_leave_bases(c);
    exports_leave(&c->user);
    list_remove(&c->link);
    s->connection_count--;
    mem_free(c);
    server_check_stopped(s);
}
