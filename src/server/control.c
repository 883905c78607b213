#include "server/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/control_private.h"

#define SILENCE_NS (60 * NS_PER_S)

struct control {
    struct server *server;
    int fd;
    char *path;
    struct watch watch;
    struct timer pause; /* after accept failed for want of descriptors or memory */
    struct list peers;
    size_t peer_count;
    size_t jobs; /* under way */
    bool stopping;
};

/* ---------------------------------------------------------------------------- peers */

static void peer_close(struct control_peer *p)
{
    struct control *c = p->control;
    if (p->job)
        control_job_forget(p->job);
    timer_stop(&p->timer);
    watch_stop(&p->watch);
    close(p->fd);
    list_remove(&p->link);
    c->peer_count--;
    mem_free(p);
}

static void peer_watch(struct control_peer *p)
{
    unsigned events = p->sent < p->answer_bytes ? WATCH_WRITE : p->job ? 0 : WATCH_READ;
    watch_set(p->control->server->loop, &p->watch, p->fd, events);
    if (p->job)
        timer_stop(&p->timer);
    else
        timer_start(p->control->server->loop, &p->timer, SILENCE_NS);
}

static void peer_silent(struct timer *t)
{
    peer_close(CONTAINER_OF(t, struct control_peer, timer));
}

json_t *control_refusal(enum err err, const char *text)
{
    json_t *said = json_string(text);
    if (!said)
        said = json_string(err_text(err));
    return json_pack("{s:b, s:s, s:o}", "ok", 0, "error", err_name(err), "text", said);
}

/* One line, cut off with an answer that fits when it would be too long. */
static void put_answer(struct control_peer *p, json_t *answer)
{
    size_t n = json_dumpb(answer, p->answer, sizeof p->answer - 1, JSON_COMPACT);
    if (n == 0 || n >= sizeof p->answer - 1) {
        json_t *other = control_refusal(ERR_INVALID, "the answer is too long");
        n = json_dumpb(other, p->answer, sizeof p->answer - 1, JSON_COMPACT);
        json_decref(other);
    }
    json_decref(answer);
    p->answer[n] = '\n';
    p->answer_bytes = n + 1;
    p->sent = 0;
}

/* A whole line is there: it is answered at once, or becomes a job. */
static void peer_take(struct control_peer *p, const char *end)
{
    json_t *request = json_loadb(p->line, (size_t)(end - p->line), JSON_REJECT_DUPLICATES, NULL);
    p->received -= (size_t)(end + 1 - p->line);
    memmove(p->line, end + 1, p->received); /* what it sent ahead */
    if (p->control->stopping) {
        put_answer(p, control_refusal(ERR_SHUTDOWN, "the server is stopping"));
    } else if (!json_is_object(request)) {
        put_answer(p, control_refusal(ERR_INVALID, "a request is one line of JSON, an object"));
    } else {
        p->control->jobs++;
        p->job = control_job_start(p, request);
    }
    json_decref(request);
}

static bool peer_receive(struct control_peer *p)
{
    while (p->received < sizeof p->line) {
        ssize_t n = recv(p->fd, p->line + p->received, sizeof p->line - p->received, 0);
        if (n > 0) {
            p->received += (size_t)n;
        } else if (n == 0) {
            p->eof = true;
            return true;
        } else if (errno != EINTR) {
            if (errno == EAGAIN)
                return true;
            peer_close(p);
            return false;
        }
    }
    return true;
}

static bool peer_send(struct control_peer *p)
{
    while (p->sent < p->answer_bytes) {
        ssize_t n = send(p->fd, p->answer + p->sent, p->answer_bytes - p->sent, MSG_NOSIGNAL);
        if (n > 0) {
            p->sent += (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            return true;
        } else if (n == 0 || errno != EINTR) {
            peer_close(p);
            return false;
        }
    }
    return true;
}

static void peer_go_on(struct control_peer *p)
{
    while (peer_send(p)) {
        const char *end = memchr(p->line, '\n', p->received);
        if (p->job || p->sent < p->answer_bytes) {
            peer_watch(p);
            return;
        }
        if (!end && (p->eof || p->received == sizeof p->line || p->control->stopping)) {
            peer_close(p);
            return;
        }
        if (!end) {
            peer_watch(p);
            return;
        }
        peer_take(p, end);
    }
}

static void peer_ready(struct watch *w, unsigned events)
{
    struct control_peer *p = CONTAINER_OF(w, struct control_peer, watch);
    if (!(events & WATCH_READ) || peer_receive(p))
        peer_go_on(p);
}

void control_answer(struct control_peer *p, json_t *answer)
{
    p->job = NULL;
    put_answer(p, answer);
    peer_go_on(p);
}

struct server *control_server(const struct control *c)
{
    return c->server;
}

void control_job_over(struct control *c)
{
    c->jobs--;
    server_check_stopped(c->server);
}

/* ------------------------------------------------------------------------- listening */

static bool is_one_of_us(int fd)
{
    struct ucred cred = {.uid = (uid_t)-1};
    socklen_t bytes = sizeof cred;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &bytes) == 0 &&
           (cred.uid == geteuid() || cred.uid == 0);
}

static void resume(struct timer *t)
{
    control_start(CONTAINER_OF(t, struct control, pause));
}

static void came(struct watch *w, unsigned events)
{
    (void)events;
    struct control *c = CONTAINER_OF(w, struct control, watch);
    int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
        log_warn("control", "%s: accept: %s; trying again in a second", c->path, strerror(errno));
        watch_set(c->server->loop, &c->watch, c->fd, 0);
        timer_start(c->server->loop, &c->pause, NS_PER_S);
    }
    if (fd < 0)
        return;
    if (c->peer_count == CONTROL_PEERS_MAX || !is_one_of_us(fd)) {
        log_warn("control", "a connection is refused: %s",
                 is_one_of_us(fd) ? "too many are open" : "it is another user's");
        close(fd);
        return;
    }
    struct control_peer *p = MEM_NEW(struct control_peer);
    p->control = c;
    p->fd = fd;
    p->watch.ready = peer_ready;
    p->timer.fire = peer_silent;
    list_push(&c->peers, &p->link);
    c->peer_count++;
    peer_watch(p);
}

enum err control_open(struct server *s, const char *path, struct control **control, struct complaint *why)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return complain(why, ERR_INVALID, "the control socket's path is too long: %s", path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) != 0 ||
        listen(fd, CONTROL_PEERS_MAX) != 0) {
        enum err err =
            complain(why, ERR_DENIED, "cannot listen on the control socket %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return err;
    }
    struct control *c = MEM_NEW(struct control);
    c->server = s;
    c->fd = fd;
    c->path = mem_strdup(path);
    c->watch.ready = came;
    c->pause.fire = resume;
    list_init(&c->peers);
    *control = c;
    return ERR_OK;
}

void control_start(struct control *c)
{
    watch_set(c->server->loop, &c->watch, c->fd, WATCH_READ);
}

/* ------------------------------------------------------------------------------- life */

void control_stop(struct control *c)
{
    c->stopping = true;
    if (c->fd >= 0) {
        timer_stop(&c->pause);
        watch_stop(&c->watch);
        unlink(c->path);
        close(c->fd);
        c->fd = -1;
    }
    LIST_EACH(&c->peers, k)
    {
        struct control_peer *p = CONTAINER_OF(k, struct control_peer, link);
        if (!p->job && p->sent == p->answer_bytes)
            peer_close(p);
    }
}

bool control_idle(const struct control *c)
{
    return c->jobs == 0;
}

void control_destroy(struct control *c)
{
    if (!c)
        return;
    control_stop(c);
    for (struct link *k; (k = list_first(&c->peers));)
        peer_close(CONTAINER_OF(k, struct control_peer, link));
    mem_free(c->path);
    mem_free(c);
}
