#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "volume/engine.h"

/* One read: these files are short, and the kernel gives them whole. */
static bool file_read(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    if (n <= 0)
        return false;
    out[n] = 0;
    return true;
}

struct process_stat {
    int64_t pid;
    char state;
    long threads;
    uint64_t start_time;
};

/* proc(5), /proc/PID/stat: "pid (comm) state ...", where comm may hold anything, ')' included. */
static bool stat_read(const char *path, struct process_stat *out)
{
    char text[1024];
    if (!file_read(path, text, sizeof text))
        return false;
    const char *after = strrchr(text, ')');
    struct process_stat s = {.pid = strtoll(text, NULL, 10)};
    unsigned long long start = 0;
    if (!after ||
        sscanf(after + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %*s %llu",
               &s.state, &s.threads, &start) != 3)
        return false;
    s.start_time = start;
    *out = s;
    return true;
}

static bool boot_id_read(char *out, size_t size)
{
    char text[64];
    if (!file_read("/proc/sys/kernel/random/boot_id", text, sizeof text))
        return false;
    text[strcspn(text, "\n")] = 0;
    size_t bytes = strlen(text) + 1;
    if (bytes == 1 || bytes > size)
        return false;
    memcpy(out, text, bytes);
    return true;
}

static bool pid_ns_read(uint64_t *inode)
{
    char text[64];
    ssize_t n = readlink("/proc/self/ns/pid", text, sizeof text - 1);
    if (n <= 0)
        return false;
    text[n] = 0;
    unsigned long long v;
    if (sscanf(text, "pid:[%llu]", &v) != 1)
        return false;
    *inode = v;
    return true;
}

static bool no_such_process(int64_t pid)
{
    return kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/* A process that ended and was not yet waited for still has its number and its start time. */
static bool has_ended(const struct process_stat *s)
{
    return (s->state == 'Z' || s->state == 'X') && s->threads <= 1;
}

static bool is_gone(const struct host *host, const struct process_id *p)
{
    const struct process_id *self = &host->self;
    if (!self->boot_id[0] || strcmp(p->boot_id, self->boot_id) != 0 || self->pid_ns == 0 ||
        p->pid_ns != self->pid_ns || p->pid <= 0 || p->pid > INT32_MAX)
        return false;
    if (no_such_process(p->pid))
        return true;
    char path[64];
    struct process_stat s;
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)p->pid);
    if (!stat_read(path, &s))
        return no_such_process(p->pid);
    return s.start_time != p->start_time || has_ended(&s);
}

static struct process_id own_id(void)
{
    struct process_id self = {.pid = getpid()};
    if (gethostname(self.host, sizeof self.host - 1) != 0 || !self.host[0])
        strcpy(self.host, "localhost");
    struct process_stat s;
    /* A /proc of another pid namespace numbers processes differently: then nothing can be known about others.
     */
    if (!stat_read("/proc/self/stat", &s) || s.pid != self.pid || !pid_ns_read(&self.pid_ns) ||
        !boot_id_read(self.boot_id, sizeof self.boot_id)) {
        self.boot_id[0] = 0;
        self.pid_ns = 0;
    } else {
        self.start_time = s.start_time;
    }
    return self;
}

void host_init(struct host *host)
{
    *host = (struct host){.self = own_id(), .is_gone = is_gone};
}
