/* seed_corpus DIR: writes what well-behaved clients send to DIR/grown-fuzz_handshake and
 * DIR/grown-fuzz_transmission, where the fuzzers begin and keep what they find. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "nbd/proto.h"

static uint8_t bytes[8192];
static size_t used;

static void put(const void *from, size_t n)
{
    if (n > sizeof bytes - used)
        abort();
    if (n)
        memcpy(bytes + used, from, n);
    used += n;
}

static void put16(uint16_t v)
{
    uint8_t b[2];
    put_be16(b, v);
    put(b, 2);
}

static void put32(uint32_t v)
{
    uint8_t b[4];
    put_be32(b, v);
    put(b, 4);
}

static void save(const char *dir, const char *target, unsigned number)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/grown-fuzz_%s", dir, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/grown-fuzz_%s/seed-%u", dir, target, number);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, used, f) != used || fclose(f) != 0) {
        perror(path);
        exit(1);
    }
    used = 0;
}

static void option(uint32_t number, uint32_t n)
{
    put("IHAVEOPT", 8);
    put32(number);
    put32(n);
}

static void name(const char *text)
{
    put32((uint32_t)strlen(text));
    put(text, strlen(text));
}

static void meta(uint32_t number, const char *query)
{
    option(number, 4 + 4 + 4 + 4 + (uint32_t)strlen(query));
    name("demo");
    put32(1);
    name(query);
}

static void go(uint32_t number, const char *export)
{
    option(number, 4 + (uint32_t)strlen(export) + 2 + 8);
    name(export);
    put16(4);
    for (uint16_t i = 0; i < 4; i++)
        put16(i);
}

static void begin_handshake(uint8_t how)
{
    put(&how, 1);
    put32(3);
}

static void seed_handshakes(const char *dir)
{
    static const char *const exports[] = {"demo", "ro", "held", "later", "nothing", ""};
    unsigned number = 0;
    for (uint8_t how = 0; how < 128; how += 37)
        for (size_t i = 0; i < COUNT_OF(exports); i++) {
            begin_handshake(how);
            option(NBD_OPT_STARTTLS, 0);
            option(NBD_OPT_LIST, 0);
            option(NBD_OPT_STRUCTURED_REPLY, 0);
            meta(NBD_OPT_LIST_META_CONTEXT, "base:");
            meta(NBD_OPT_SET_META_CONTEXT, i % 2 ? "base:allocation" : "ashlar:breaks");
            go(NBD_OPT_INFO, exports[i]);
            go(NBD_OPT_GO, exports[i]);
            option(NBD_OPT_ABORT, 0);
            save(dir, "handshake", number++);
        }
    begin_handshake(0);
    option(NBD_OPT_EXPORT_NAME, 4);
    put("demo", 4);
    save(dir, "handshake", number);
}

static void seed_transmissions(const char *dir)
{
    unsigned number = 0;
    for (unsigned how = 0; how < 64; how += 3) {
        const uint8_t head[4] = {(uint8_t)how, (uint8_t)(how * 5), (uint8_t)how, 0};
        put(head, 4);
        for (unsigned i = 0; i < 24; i++) {
            const uint8_t request[6] = {(uint8_t)(i == 2       ? 0
                                                  : i % 8 == 2 ? 3
                                                               : i % 8),
                                        i % 8 == 3 ? 0x80 : 0,
                                        (uint8_t)(i * 11),
                                        (uint8_t)(i * 77),
                                        (uint8_t)(i * 9),
                                        (uint8_t)(i * 5)};
            put(request, 6);
        }
        save(dir, "transmission", number++);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: seed_corpus DIR\n");
        return 2;
    }
    mkdir(argv[1], 0777);
    seed_handshakes(argv[1]);
    seed_transmissions(argv[1]);
    puts("seeded");
    return 0;
}
