#include "dir_kit.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loop/uv_loop.h"
#include "objstore/dir.h"

void opened_init(struct opened *o, const char *path)
{
    struct complaint why = {""};
    *o = (struct opened){.loop = uv_loop_create()};
    if (dir_store_create(o->loop, path, &o->store, &why)) {
        fprintf(stderr, "%s\n", why.text);
        abort();
    }
    o->c = (struct conformance){.loop = o->loop, .store = o->store, .prefix = ""};
}

void opened_finish(struct opened *o)
{
    objstore_destroy(o->store);
    uv_loop_destroy(o->loop);
}

pid_t child_start(int (*run)(const char *, unsigned, int), const char *path, unsigned number, int fd)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(run(path, number, fd));
    return pid;
}

int child_wait(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid)
        abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static bool say(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool said = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return said;
}

bool private_mounts(void)
{
    char map[64];
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWNS)) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) || !say("/proc/self/setgroups", "deny"))
            return false;
        snprintf(map, sizeof map, "0 %u 1\n", uid);
        if (!say("/proc/self/uid_map", map))
            return false;
        snprintf(map, sizeof map, "0 %u 1\n", gid);
        if (!say("/proc/self/gid_map", map))
            return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}
