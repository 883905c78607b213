#include "cli/remote.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "server/control.h"

static json_t *request_of(const struct edit *e)
{
    const struct export_op *op = &e->op;
    json_t *o = json_pack("{s:s, s:s}", "request", e->request, "export", op->name);
    if (!o)
        return NULL;
    if (op->snapshot)
        json_object_set_new(o, "snapshot", json_string(op->snapshot));
    if (op->child)
        json_object_set_new(o, "child", json_string(op->child));
    if (op->size)
        json_object_set_new(o, "size", json_integer((json_int_t)op->size));
    json_object_set_new(o, "shrink", json_boolean(op->shrink));
    json_object_set_new(o, "discard", json_boolean(op->discard));
    return o;
}

static int dial(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static bool send_line(int fd, const json_t *request)
{
    char line[CONTROL_LINE_MAX];
    size_t n = json_dumpb(request, line, sizeof line - 1, JSON_COMPACT), sent = 0;
    if (n == 0 || n >= sizeof line)
        return false;
    line[n++] = '\n';
    while (sent < n) {
        ssize_t now = send(fd, line + sent, n - sent, MSG_NOSIGNAL);
        if (now < 0 && errno != EINTR)
            return false;
        sent += now > 0 ? (size_t)now : 0;
    }
    return true;
}

static json_t *receive_line(int fd)
{
    char line[CONTROL_LINE_MAX];
    size_t got = 0;
    while (got < sizeof line && !memchr(line, '\n', got)) {
        ssize_t now = recv(fd, line + got, sizeof line - got, 0);
        if (now == 0 || (now < 0 && errno != EINTR))
            return NULL;
        got += now > 0 ? (size_t)now : 0;
    }
    return json_loadb(line, got, JSON_DISABLE_EOF_CHECK, NULL);
}

static void take_answer(struct edit *e, const json_t *answer)
{
    struct export_op *op = &e->op;
    const char *text = json_string_value(json_object_get(answer, "text"));
    const char *error = json_string_value(json_object_get(answer, "error"));
    const char *saved = json_string_value(json_object_get(answer, "saved"));
    if (json_is_true(json_object_get(answer, "ok"))) {
        op->err = ERR_OK;
        snprintf(op->saved, sizeof op->saved, "%s", saved ? saved : "");
        return;
    }
    op->err = ERR_UNKNOWN;
    for (unsigned i = 1; i < ERR_COUNT && error; i++)
        if (strcmp(err_name((enum err)i), error) == 0)
            op->err = (enum err)i;
    complain(&op->complaint, op->err, "%s", text ? text : err_text(op->err));
}

void remote_run(const char *socket_path, struct edit *e)
{
    struct export_op *op = &e->op;
    json_t *request = request_of(e), *answer = NULL;
    int fd = request ? dial(socket_path) : -1;
    if (!request) {
        op->err = complain(&op->complaint, ERR_INVALID, "the name of %s is not UTF-8, which its server needs",
                           op->name);
    } else if (fd < 0) {
        op->err = complain(&op->complaint, ERR_UNAVAILABLE,
                           "export %s is held by a server of this machine whose control socket %s cannot be "
                           "reached: %s",
                           op->name, socket_path, strerror(errno));
    } else if (!send_line(fd, request) || !(answer = receive_line(fd))) {
        op->err =
            complain(&op->complaint, ERR_UNKNOWN,
                     "the server that holds export %s went away before it answered: look whether it was "
                     "done",
                     op->name);
    } else {
        op->complaint.text[0] = '\0';
        take_answer(e, answer);
    }
    json_decref(request);
    json_decref(answer);
    if (fd >= 0)
        close(fd);
}
