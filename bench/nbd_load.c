/* nbd_load - asks an NBD server for as much as it can give, and says how much that was.
 *
 *   nbd_load ADDRESS EXPORT [name=value]...
 *     op=read|write  bytes=4096  depth=64  connections=1  order=random|sequential
 *     from=0 range=SIZE     the part of the export that is worked on; default all of it
 *     seconds=3 | count=N   how long, or how many requests
 *     flush=N               a FLUSH after every N writes of a connection, which waits for them and is
 *                            waited for
 *     last_flush=1          one at the end, which counts into the time
 *     pid=N                 the server's process: its CPU time is measured, and that of its children
 *
 * Requests are sent and replies taken in batches, so that this program costs a fraction of what any server
 * costs. Every 4 KiB that are written are unlike any others. Prints one line of JSON. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "latency.h"
#include "nbd/proto.h"
#include "nbd_socket.h"

#define CONNECTIONS_MAX 1024u
#define DEPTH_MAX       1024u
#define IN_BYTES        (512u << 10)
#define BATCH           64u

struct slot {
    uint8_t header[NBD_REQUEST_BYTES];
    uint8_t *payload;
    uint64_t sent_ns;
    uint16_t command;
};

struct connection {
    int fd;
    bool wants_out, flushing;
    struct slot *slots;
    unsigned *idle, idle_count;              /* slots */
    unsigned *pending, first, pending_count; /* slots to be sent: a ring of `depth` */
    size_t sent_of_first;
    unsigned in_flight;
    uint64_t unflushed, next;
    uint8_t reply[NBD_SIMPLE_REPLY_BYTES];
    size_t reply_have;
    uint64_t skip; /* payload still to come */
};

static struct options {
    bool write, sequential, last_flush;
    uint64_t bytes, depth, connections, from, range, seconds, count, flush, pid;
} o = {.bytes = 4096, .depth = 64, .connections = 1};

static struct connection connections[CONNECTIONS_MAX];
static struct latency requests, flushes;
static uint64_t submitted, finished, deadline_ns, stamp, chance = 88172645463325252u;
static uint8_t in[IN_BYTES];
static int epoll;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t random_number(void)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance;
}

static double cpu_of_one_us(unsigned long pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%lu/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    const char *after_name = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    if (!after_name ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        fail(path);
    fclose(f);
    return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_of_us(unsigned long pid)
{
    char path[64];
    unsigned long child;
    double us = pid ? cpu_of_one_us(pid) : 0;
    snprintf(path, sizeof path, "/proc/%lu/task/%lu/children", pid, pid);
    FILE *f = pid ? fopen(path, "r") : NULL;
    while (f && fscanf(f, "%lu", &child) == 1)
        us += cpu_of_one_us(child);
    if (f)
        fclose(f);
    return us;
}

static double own_cpu_us(void)
{
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

/* -------------------------------------------------------------------- requests */

static bool over(void)
{
    return o.count ? submitted >= o.count : now_ns() >= deadline_ns;
}

static void make_unlike_any_other(uint8_t *payload)
{
    for (uint64_t at = 0; at + 8 <= o.bytes; at += 4096)
        put_le64(payload + at, ++stamp);
}

static void queue(struct connection *c, uint16_t command, uint64_t offset, uint64_t bytes, uint64_t t)
{
    unsigned index = c->idle[--c->idle_count];
    struct slot *s = &c->slots[index];
    put_be32(s->header, NBD_REQUEST_MAGIC);
    put_be16(s->header + 4, 0);
    put_be16(s->header + 6, command);
    put_be64(s->header + 8, index);
    put_be64(s->header + 16, offset);
    put_be32(s->header + 24, (uint32_t)bytes);
    s->command = command;
    s->sent_ns = t;
    if (command == NBD_CMD_WRITE)
        make_unlike_any_other(s->payload);
    c->pending[(c->first + c->pending_count++) % o.depth] = index;
    c->in_flight++;
}

static uint64_t next_offset(struct connection *c)
{
    uint64_t places = o.range / o.bytes;
    uint64_t place = o.sequential ? c->next++ % places : random_number() % places;
    return o.from + place * o.bytes;
}

static void fill(struct connection *c)
{
    uint64_t t = now_ns();
    bool flush_due = o.flush && c->unflushed >= o.flush;
    while (c->idle_count && !c->flushing && !flush_due && !over()) {
        queue(c, o.write ? NBD_CMD_WRITE : NBD_CMD_READ, next_offset(c), o.bytes, t);
        submitted++;
        flush_due = o.flush && ++c->unflushed >= o.flush;
    }
    if (flush_due && !c->flushing && c->in_flight == 0) {
        c->flushing = true;
        c->unflushed = 0;
        queue(c, NBD_CMD_FLUSH, 0, 0, t);
    }
}

static unsigned gather(struct connection *c, struct iovec *iov)
{
    unsigned n = 0;
    size_t skip = c->sent_of_first;
    for (unsigned i = 0; i < c->pending_count && n < 2 * BATCH; i++) {
        struct slot *s = &c->slots[c->pending[(c->first + i) % o.depth]];
        size_t of_header = MIN(skip, sizeof s->header);
        if (of_header < sizeof s->header)
            iov[n++] =
                (struct iovec){.iov_base = s->header + of_header, .iov_len = sizeof s->header - of_header};
        skip -= of_header;
        if (s->command == NBD_CMD_WRITE)
            iov[n++] = (struct iovec){.iov_base = s->payload + skip, .iov_len = o.bytes - skip};
        skip = 0;
    }
    return n;
}

static void was_sent(struct connection *c, size_t sent)
{
    c->sent_of_first += sent;
    while (c->pending_count) {
        struct slot *s = &c->slots[c->pending[c->first]];
        size_t whole = sizeof s->header + (s->command == NBD_CMD_WRITE ? o.bytes : 0);
        if (c->sent_of_first < whole)
            return;
        c->sent_of_first -= whole;
        c->first = (c->first + 1) % (unsigned)o.depth;
        c->pending_count--;
    }
}

static void want_out(struct connection *c, bool wanted)
{
    if (c->wants_out == wanted)
        return;
    c->wants_out = wanted;
    struct epoll_event e = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void push(struct connection *c)
{
    while (c->pending_count) {
        struct iovec iov[2 * BATCH + 2];
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = gather(c, iov)};
        ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0)
            fail("send");
        was_sent(c, (size_t)sent);
    }
    want_out(c, c->pending_count > 0);
}

/* --------------------------------------------------------------------- replies */

static void answered(struct connection *c, uint64_t t)
{
    uint64_t index = get_be64(c->reply + 8);
    errno = 0;
    if (get_be32(c->reply) != NBD_SIMPLE_REPLY_MAGIC || index >= o.depth)
        fail("not a simple reply");
    if (get_be32(c->reply + 4)) {
        errno = (int)get_be32(c->reply + 4);
        fail("the server answered");
    }
    struct slot *s = &c->slots[index];
    bool flush = s->command == NBD_CMD_FLUSH;
    latency_add(flush ? &flushes : &requests, t - s->sent_ns);
    if (flush)
        c->flushing = false;
    else
        finished++;
    c->skip = s->command == NBD_CMD_READ ? o.bytes : 0;
    c->idle[c->idle_count++] = (unsigned)index;
    c->in_flight--;
}

static void take(struct connection *c, size_t n, uint64_t t)
{
    for (size_t at = 0; at < n;) {
        if (c->skip) {
            size_t skipped = MIN(c->skip, n - at);
            c->skip -= skipped;
            at += skipped;
            continue;
        }
        size_t part = MIN(sizeof c->reply - c->reply_have, n - at);
        memcpy(c->reply + c->reply_have, in + at, part);
        c->reply_have += part;
        at += part;
        if (c->reply_have == sizeof c->reply) {
            c->reply_have = 0;
            answered(c, t);
        }
    }
}

static void pull(struct connection *c)
{
    ssize_t got = recv(c->fd, in, sizeof in, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        fail("the server hung up");
    take(c, (size_t)got, now_ns());
}

/* ------------------------------------------------------------------------------ */

static void *memory(size_t bytes)
{
    void *p = calloc(1, bytes);
    if (!p)
        fail("memory");
    return p;
}

static void connection_open(struct connection *c, const char *address, const char *name, uint64_t number)
{
    c->fd = nbd_dial(address);
    uint64_t size = nbd_go(c->fd, name);
    if (!o.range)
        o.range = size - o.from;
    errno = 0;
    if (o.range < o.bytes || o.from + o.range > size)
        fail("the range is outside the export");
    c->next = number * (o.range / o.bytes / o.connections);
    c->slots = memory(o.depth * sizeof *c->slots);
    c->idle = memory(o.depth * sizeof *c->idle);
    c->pending = memory(o.depth * sizeof *c->pending);
    for (unsigned i = 0; i < o.depth; i++) {
        c->idle[c->idle_count++] = (unsigned)o.depth - 1 - i;
        if (!o.write)
            continue;
        c->slots[i].payload = memory(o.bytes);
        for (uint64_t at = 0; at + 8 <= o.bytes; at += 8)
            put_le64(c->slots[i].payload + at, random_number());
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
}

static bool is_busy(void)
{
    for (uint64_t i = 0; i < o.connections; i++)
        if (connections[i].in_flight)
            return true;
    return false;
}

static void run(void)
{
    struct epoll_event events[CONNECTIONS_MAX];
    do {
        int n = epoll_wait(epoll, events, CONNECTIONS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & ~(uint32_t)EPOLLOUT)
                pull(c);
            fill(c);
            push(c);
        }
    } while (is_busy());
}

static bool option_set(const char *text)
{
    static const struct {
        const char *name;
        uint64_t *value;
    } numbers[] = {{"bytes", &o.bytes}, {"depth", &o.depth}, {"connections", &o.connections},
                   {"from", &o.from},   {"range", &o.range}, {"seconds", &o.seconds},
                   {"count", &o.count}, {"flush", &o.flush}, {"pid", &o.pid}};
    const char *equals = strchr(text, '=');
    if (!equals)
        return false;
    size_t n = (size_t)(equals - text);
    for (unsigned i = 0; i < COUNT_OF(numbers); i++)
        if (strlen(numbers[i].name) == n && strncmp(text, numbers[i].name, n) == 0)
            return size_parse(equals + 1, numbers[i].value);
    o.write |= strcmp(text, "op=write") == 0;
    o.sequential |= strcmp(text, "order=sequential") == 0;
    o.last_flush |= strcmp(text, "last_flush=1") == 0;
    return strcmp(text, "op=read") == 0 || strcmp(text, "order=random") == 0 || o.write || o.sequential ||
           o.last_flush;
}

static void options_parse(int argc, char **argv)
{
    bool good = argc >= 3;
    for (int i = 3; i < argc && good; i++)
        good = option_set(argv[i]);
    if (!good || !o.bytes || !o.depth || o.depth > DEPTH_MAX || !o.connections ||
        o.connections > CONNECTIONS_MAX || o.bytes > 32 * MIB) {
        fprintf(stderr,
                "usage: nbd_load ADDRESS EXPORT [name=value]...; the head of its source says which\n");
        exit(2);
    }
    if (!o.seconds && !o.count)
        o.seconds = 3;
}

static void flush_all_at_the_end(void)
{
    struct connection *c = &connections[0];
    c->flushing = true;
    queue(c, NBD_CMD_FLUSH, 0, 0, now_ns());
    push(c);
    while (c->in_flight) {
        struct epoll_event e;
        if (epoll_wait(epoll, &e, 1, -1) == 1)
            pull(c);
        push(c);
    }
}

static void print_results(double seconds, double server_us, double own_us)
{
    double n = (double)MAX(finished, 1);
    printf("{\"operations\": %llu, \"seconds\": %.6f, \"operations_per_s\": %.1f, \"bytes_per_s\": %.0f, "
           "\"p50_us\": %.2f, \"p99_us\": %.2f, \"flushes\": %llu, \"flush_p50_us\": %.2f, "
           "\"flush_p99_us\": %.2f, \"server_cpu_us\": %.3f, \"load_cpu_us\": %.3f}\n",
           (unsigned long long)finished, seconds, (double)finished / seconds,
           (double)finished * (double)o.bytes / seconds, latency_us(&requests, 0.5),
           latency_us(&requests, 0.99), (unsigned long long)flushes.total, latency_us(&flushes, 0.5),
           latency_us(&flushes, 0.99), server_us / n, own_us / n);
}

int main(int argc, char **argv)
{
    options_parse(argc, argv);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint64_t i = 0; i < o.connections; i++)
        connection_open(&connections[i], argv[1], argv[2], i);
    double server_us = cpu_of_us(o.pid), own_us = own_cpu_us();
    uint64_t began = now_ns();
    deadline_ns = began + o.seconds * 1000000000u;
    for (uint64_t i = 0; i < o.connections; i++) {
        fill(&connections[i]);
        push(&connections[i]);
    }
    run();
    if (o.last_flush)
        flush_all_at_the_end();
    double seconds = (double)(now_ns() - began) / 1e9;
    print_results(seconds, cpu_of_us(o.pid) - server_us, own_cpu_us() - own_us);
    return 0;
}
