#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/serve.h"

enum { FIRST_FD = 3 };

static bool number_of(const char *variable, long *n)
{
    const char *text = getenv(variable);
    char *end;
    if (!text || !*text)
        return false;
    *n = strtol(text, &end, 10);
    return *end == '\0' && *n >= 0;
}

static bool is_listening(int fd)
{
    int on = 0;
    socklen_t size = sizeof on;
    return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) && on;
}

enum err serve_inherited(int fds[SERVE_INHERITED_MAX], size_t *count, struct complaint *c)
{
    long pid, n;
    *count = 0;
    bool ours = number_of("LISTEN_PID", &pid) && pid == (long)getpid() && number_of("LISTEN_FDS", &n);
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!ours)
        return ERR_OK;
    if (n > SERVE_INHERITED_MAX)
        return complain(c, ERR_INVALID, "LISTEN_FDS hands over %ld sockets, but the most is %d", n,
                        SERVE_INHERITED_MAX);
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++) {
        if (!is_listening(fd))
            return complain(c, ERR_INVALID,
                            "descriptor %d, handed over by LISTEN_FDS, is no listening socket", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        fds[(*count)++] = fd;
    }
    return ERR_OK;
}
