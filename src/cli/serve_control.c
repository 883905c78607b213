/* Where the control socket is: in a directory of its own, which only this user can enter. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/serve.h"

#define FOLDER    "ashlar-"
#define LOOKS_MAX 4096

static bool is_deserted(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return false;
    memcpy(a.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool refused =
        fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) != 0 && errno == ECONNREFUSED;
    if (fd >= 0)
        close(fd);
    return refused;
}

/* What servers that were killed have left there. */
static void sweep(const char *base)
{
    DIR *folder = opendir(base);
    struct dirent *d;
    for (int looks = 0; folder && looks < LOOKS_MAX && (d = readdir(folder)); looks++) {
        char path[600], inside[620];
        struct stat st;
        if (strncmp(d->d_name, FOLDER, strlen(FOLDER)) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", base, d->d_name);
        snprintf(inside, sizeof inside, "%s/control", path);
        if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || !is_deserted(inside))
            continue;
        unlink(inside);
        rmdir(path);
    }
    if (folder)
        closedir(folder);
}

bool serve_control_path(char path[SERVE_CONTROL_MAX])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    const char *bases[] = {runtime && runtime[0] == '/' ? runtime : NULL, "/tmp"};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        char folder[SERVE_CONTROL_MAX];
        if (!bases[i])
            continue;
        int n = snprintf(folder, sizeof folder, "%s/" FOLDER "XXXXXX", bases[i]);
        if (n < 0 || (size_t)n + sizeof "/control" > sizeof folder)
            continue;
        sweep(bases[i]);
        if (!mkdtemp(folder))
            continue;
        snprintf(path, SERVE_CONTROL_MAX, "%.*s/control", n, folder);
        return true;
    }
    log_warn("serve", "no directory for the control socket (XDG_RUNTIME_DIR, /tmp): commands on exports that "
                      "clients have open will be refused");
    path[0] = '\0';
    return false;
}

void serve_control_remove(char path[SERVE_CONTROL_MAX])
{
    char *slash = strrchr(path, '/');
    if (!slash)
        return;
    unlink(path);
    *slash = '\0';
    rmdir(path);
    path[0] = '\0';
}
