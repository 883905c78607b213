/* latency_relay LISTEN TARGET DELAY_MS MBIT - a store from afar: passes bytes on between whoever connects to
 * LISTEN and TARGET, DELAY_MS late in either direction, and at most MBIT megabits a second in each direction
 * of each connection (0: no limit). A new connection takes a round trip before anything passes, as TCP's
 * does. Addresses are HOST:PORT or unix:PATH. Ends with its standard input. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "nbd_socket.h"

#define CHUNK_BYTES (64u << 10)
#define QUEUED_MAX  (4u << 20) /* a direction's bytes under way: what a long fat pipe holds */

struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t bytes, sent;
    uint8_t data[CHUNK_BYTES];
};

struct end {
    struct pair *pair;
    int fd;
    bool ended; /* nothing more comes from here */
    /* what came from here, on its way to the other end: */
    struct chunk *first, **last;
    size_t queued;
    uint64_t clear_ns; /* when the pipe has taken in what is queued */
    bool passed_end, reads, writes;
};

struct pair {
    struct pair *next, **link;
    struct end ends[2];
};

static struct pair *pairs;
static uint64_t delay_ns;
static double ns_per_byte;
static int epoll;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct end *other(struct end *e)
{
    return &e->pair->ends[e == &e->pair->ends[0]];
}

static void watch(struct end *e, bool writes)
{
    bool reads = !e->ended && e->queued < QUEUED_MAX;
    if (reads == e->reads && writes == e->writes)
        return;
    struct epoll_event event = {.events = (reads ? EPOLLIN : 0) | (writes ? EPOLLOUT : 0), .data.ptr = e};
    epoll_ctl(epoll, EPOLL_CTL_MOD, e->fd, &event);
    e->reads = reads;
    e->writes = writes;
}

static void pair_close(struct pair *p)
{
    for (unsigned i = 0; i < 2; i++) {
        close(p->ends[i].fd);
        for (struct chunk *c = p->ends[i].first, *next; c; c = next) {
            next = c->next;
            free(c);
        }
    }
    *p->link = p->next;
    if (p->next)
        p->next->link = p->link;
    free(p);
}

static void take_in(struct end *e)
{
    struct chunk *c = malloc(sizeof *c);
    if (!c)
        fail("memory");
    ssize_t got = recv(e->fd, c->data, sizeof c->data, MSG_DONTWAIT);
    if (got <= 0) {
        e->ended = got == 0 || errno != EAGAIN;
        free(c);
        return;
    }
    uint64_t now = now_ns();
    e->clear_ns = MAX(e->clear_ns, now) + (uint64_t)(ns_per_byte * (double)got);
    c->due_ns = e->clear_ns + delay_ns;
    c->bytes = (size_t)got;
    c->sent = 0;
    c->next = NULL;
    *e->last = c;
    e->last = &c->next;
    e->queued += c->bytes;
}

/* Passes on what is due. False: the connection is over. */
static bool pass_on(struct end *e, uint64_t now)
{
    bool blocked = false;
    while (e->first && e->first->due_ns <= now && !blocked) {
        struct chunk *c = e->first;
        ssize_t sent = send(other(e)->fd, c->data + c->sent, c->bytes - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return false;
        blocked = sent < 0;
        c->sent += blocked ? 0 : (size_t)sent;
        if (c->sent < c->bytes)
            continue;
        e->queued -= c->bytes;
        e->first = c->next;
        if (!e->first)
            e->last = &e->first;
        free(c);
    }
    watch(other(e), blocked);
    if (e->ended && !e->first && !e->passed_end) {
        e->passed_end = true;
        shutdown(other(e)->fd, SHUT_WR);
    }
    watch(e, e->writes);
    return !(e->passed_end && other(e)->passed_end);
}

static void end_init(struct pair *p, unsigned i, int fd, uint64_t opened_ns)
{
    struct end *e = &p->ends[i];
    *e = (struct end){.pair = p, .fd = fd, .reads = true, .clear_ns = opened_ns};
    e->last = &e->first;
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.ptr = e});
}

static void connect_one(int listener, const char *target)
{
    int fd = accept(listener, NULL, NULL);
    struct pair *p = fd < 0 ? NULL : calloc(1, sizeof *p);
    if (!p)
        return;
    end_init(p, 0, fd, now_ns() + 2 * delay_ns);
    end_init(p, 1, nbd_dial(target), 0);
    p->next = pairs;
    p->link = &pairs;
    if (pairs)
        pairs->link = &p->next;
    pairs = p;
}

static int wait_ms(uint64_t now)
{
    uint64_t first = UINT64_MAX;
    for (struct pair *p = pairs; p; p = p->next)
        for (unsigned i = 0; i < 2; i++)
            if (p->ends[i].first && !other(&p->ends[i])->writes)
                first = MIN(first, p->ends[i].first->due_ns);
    return first == UINT64_MAX ? -1 : first <= now ? 0 : (int)((first - now) / 1000000 + 1);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: latency_relay LISTEN TARGET DELAY_MS MBIT\n");
        return 2;
    }
    double mbit = strtod(argv[4], NULL);
    delay_ns = (uint64_t)(strtod(argv[3], NULL) * 1e6);
    ns_per_byte = mbit > 0 ? 8e3 / mbit : 0;
    epoll = epoll_create1(EPOLL_CLOEXEC);
    int listener = nbd_listen(argv[1]), in = STDIN_FILENO;
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener,
              &(struct epoll_event){.events = EPOLLIN, .data.ptr = &listener});
    epoll_ctl(epoll, EPOLL_CTL_ADD, in, &(struct epoll_event){.events = EPOLLIN, .data.ptr = &in});
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, wait_ms(now_ns()));
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &in)
                return 0;
            if (events[i].data.ptr == &listener)
                connect_one(listener, argv[2]);
            else if (events[i].events & ~(uint32_t)EPOLLOUT)
                take_in(events[i].data.ptr);
        }
        uint64_t now = now_ns();
        for (struct pair *p = pairs, *next; p; p = next) {
            next = p->next;
            bool first = pass_on(&p->ends[0], now), second = pass_on(&p->ends[1], now);
            if (!first || !second)
                pair_close(p);
        }
    }
}
