/* bare_store FOLDER BYTES THREADS - hashes and stores that many unlike bytes in files of 4 MiB, each made
 * durable under a temporary name and renamed to its SHA-256: the least that a store of immutable objects in a
 * directory can do. Prints one line of JSON. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "nbd_socket.h"

#define OBJECT_BYTES (4u << 20)
#define THREADS_MAX  64u

static uint64_t objects;
static uint64_t next_object;

static void store(const uint8_t *object, uint64_t number)
{
    struct sha256 hash;
    char temporary[64], name[2 * sizeof hash + 1];
    hash = sha256_of(object, OBJECT_BYTES);
    hex_encode(&hash, sizeof hash, name);
    snprintf(temporary, sizeof temporary, "temporary-%llu", (unsigned long long)number);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0600);
    for (size_t at = 0; fd >= 0 && at < OBJECT_BYTES;) {
        ssize_t written = write(fd, object + at, OBJECT_BYTES - at);
        if (written <= 0)
            fail(temporary);
        at += (size_t)written;
    }
    if (fd < 0 || fdatasync(fd) != 0 || close(fd) != 0 || rename(temporary, name) != 0)
        fail(temporary);
}

static void *work(void *arg)
{
    uint8_t *object = arg;
    for (uint64_t at = 0; at < OBJECT_BYTES; at += 8)
        put_le64(object + at, at * UINT64_C(0x9e3779b97f4a7c15));
    for (;;) {
        uint64_t number = __atomic_fetch_add(&next_object, 1, __ATOMIC_RELAXED);
        if (number >= objects)
            return NULL;
        for (uint64_t at = 0; at < OBJECT_BYTES; at += 4096)
            put_le64(object + at, (number << 32) + at);
        store(object, number);
    }
}

int main(int argc, char **argv)
{
    uint64_t bytes, threads;
    pthread_t ids[THREADS_MAX];
    struct timespec began, ended;
    if (argc != 4 || !size_parse(argv[2], &bytes) || !size_parse(argv[3], &threads) ||
        threads > THREADS_MAX || chdir(argv[1]) != 0) {
        fprintf(stderr, "usage: bare_store FOLDER BYTES THREADS\n");
        return 2;
    }
    objects = bytes / OBJECT_BYTES;
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (uint64_t i = 0; i < threads; i++) {
        void *object = malloc(OBJECT_BYTES);
        if (!object || pthread_create(&ids[i], NULL, work, object) != 0)
            fail("a thread");
    }
    for (uint64_t i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    int fd = open(".", O_RDONLY | O_DIRECTORY);
    if (fd < 0 || fsync(fd) != 0)
        fail("fsync");
    clock_gettime(CLOCK_MONOTONIC, &ended);
    double seconds = (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9;
    printf("{\"bytes_per_s\": %.0f}\n", (double)(objects * OBJECT_BYTES) / seconds);
    return 0;
}
