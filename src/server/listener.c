#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/address.h"
#include "server/private.h"

#define ACCEPTS_AT_ONCE 64

/* --------------------------------------------------------------- accepting */

static void ready(struct watch *, unsigned);

static void resume(struct timer *t)
{
    struct listener *l = CONTAINER_OF(t, struct listener, pause);
    watch_set(l->server->loop, &l->watch, l->fd, WATCH_READ);
}

/* Descriptors or memory are short: it will not be better at once, and the socket stays ready. */
static void pause_accepting(struct listener *l, int error)
{
    log_warn("server", "%s: accept: %s; trying again in a second", l->address, strerror(error));
    watch_set(l->server->loop, &l->watch, l->fd, 0);
    timer_start(l->server->loop, &l->pause, NS_PER_S);
}

static void accepted(struct server *s, int fd)
{
    if (s->connection_count < s->config.connections_max) {
        connection_open(s, fd);
        return;
    }
    s->stats.connections_refused++;
    log_warn("server", "a client was turned away: %zu connections are open, the most allowed",
             s->connection_count);
    close(fd);
}

static void ready(struct watch *w, unsigned events)
{
    (void)events;
    struct listener *l = CONTAINER_OF(w, struct listener, watch);
    for (int i = 0; i < ACCEPTS_AT_ONCE; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            accepted(l->server, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_accepting(l, errno);
        if (fd < 0 && errno != ECONNABORTED && errno != EINTR)
            return;
    }
}

/* ----------------------------------------------------------------- opening */

static struct listener *add(struct server *s, int fd)
{
    struct listener *l = MEM_NEW(struct listener);
    struct address bound = {.bytes = sizeof bound.socket};
    char text[ADDRESS_TEXT_MAX];
    l->server = s;
    l->fd = fd;
    l->watch.ready = ready;
    l->pause.fire = resume;
    getsockname(fd, (struct sockaddr *)&bound.socket, &bound.bytes);
    address_format(&bound, text);
    l->address = mem_strdup(text);
    s->listeners = mem_realloc(s->listeners, (s->listener_count + 1) * sizeof(struct listener *));
    s->listeners[s->listener_count++] = l;
    return l;
}

/* A socket nobody listens on any more was left behind by a server that died. */
static bool remove_stale(const struct address *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)&a->socket, a->bytes) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale && unlink(address_unix_path(a)) == 0;
}

static bool bind_and_listen(int fd, const struct address *a)
{
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->socket.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&a->socket, a->bytes) != 0 &&
        !(errno == EADDRINUSE && address_unix_path(a) && remove_stale(a) &&
          bind(fd, (const struct sockaddr *)&a->socket, a->bytes) == 0))
        return false;
    return listen(fd, SOMAXCONN) == 0;
}

static enum err open_one(struct server *s, const struct address *a, struct complaint *c)
{
    char text[ADDRESS_TEXT_MAX];
    struct stat st;
    address_format(a, text);
    int fd = socket(a->socket.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || !bind_and_listen(fd, a)) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return error == EADDRINUSE
                   ? complain(c, ERR_HELD, "%s is in use: another server listens there", text)
                   : complain(c, ERR_DENIED, "cannot listen on %s: %s", text, strerror(error));
    }
    struct listener *l = add(s, fd);
    if (address_unix_path(a) && stat(address_unix_path(a), &st) == 0) {
        l->unix_path = mem_strdup(address_unix_path(a));
        l->unix_inode = st.st_ino;
    }
    return ERR_OK;
}

enum err listener_open(struct server *s, const char *where, struct complaint *c)
{
    struct address addresses[ADDRESSES_MAX];
    size_t count = 0;
    enum err err = address_parse(where, addresses, &count, c);
    for (size_t i = 0; i < count && !err; i++)
        err = open_one(s, &addresses[i], c);
    return err;
}

enum err listener_inherit(struct server *s, int fd, struct complaint *c)
{
    int listening = 0, flags = fcntl(fd, F_GETFL);
    socklen_t bytes = sizeof listening;
    if (flags < 0 || getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &bytes) != 0 || !listening)
        return complain(c, ERR_INVALID, "descriptor %d was handed over as a listening socket and is none",
                        fd);
    fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    add(s, fd);
    return ERR_OK;
}

/* -------------------------------------------------------------------- life */

void listeners_start(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++)
        watch_set(s->loop, &s->listeners[i]->watch, s->listeners[i]->fd, WATCH_READ);
}

static void listener_close(struct listener *l)
{
    struct stat st;
    if (l->fd < 0)
        return;
    timer_stop(&l->pause);
    watch_stop(&l->watch);
    if (l->unix_path && stat(l->unix_path, &st) == 0 && st.st_ino == l->unix_inode)
        unlink(l->unix_path);
    close(l->fd);
    l->fd = -1;
}

void listeners_close(struct server *s)
{
    for (size_t i = 0; i < s->listener_count; i++)
        listener_close(s->listeners[i]);
}
