#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

#define PATTERN_BYTES 4096

struct block {
    struct link link;
    struct arena *arena;
    size_t bytes;
    _Alignas(16) unsigned char data[];
};

static struct arena outside;
static struct arena *entered;

void arena_init(struct arena *a)
{
    list_init(&a->blocks);
    a->count = a->bytes = a->bytes_max = 0;
}

struct arena *arena_enter(struct arena *a)
{
    struct arena *before = entered;
    entered = a;
    return before;
}

static struct arena *current(void)
{
    if (entered)
        return entered;
    if (!outside.blocks.head.next)
        arena_init(&outside);
    return &outside;
}

static void forget(struct block *b)
{
    list_remove(&b->link);
    b->arena->count--;
    b->arena->bytes -= b->bytes;
}

void arena_drop(struct arena *a)
{
    struct link *k;
    while ((k = list_first(&a->blocks))) {
        struct block *b = CONTAINER_OF(k, struct block, link);
        forget(b);
        free(b);
    }
}

static struct block *make(size_t bytes)
{
    struct block *b = bytes <= SIZE_MAX - sizeof *b ? malloc(sizeof *b + bytes) : NULL;
    if (!b) {
        fprintf(stderr, "sim: out of memory (%zu bytes)\n", bytes);
        abort();
    }
    b->link = (struct link){0};
    b->arena = current();
    b->bytes = bytes;
    b->arena->count++;
    b->arena->bytes += bytes;
    b->arena->bytes_max = MAX(b->arena->bytes_max, b->arena->bytes);
    list_push(&b->arena->blocks, &b->link);
    return b;
}

static struct block *block_of(void *p)
{
    struct block *b = CONTAINER_OF(p, struct block, data);
    if (b->arena != current()) {
        fprintf(stderr, "sim: memory of one server is freed by another\n");
        abort();
    }
    return b;
}

void *mem_alloc(size_t bytes)
{
    struct block *b = make(bytes);
    memset(b->data, 0xa5, MIN(bytes, PATTERN_BYTES));
    return b->data;
}

void *mem_calloc(size_t count, size_t bytes)
{
    if (bytes && count > SIZE_MAX / bytes)
        abort();
    struct block *b = make(count * bytes);
    memset(b->data, 0, b->bytes);
    return b->data;
}

void *mem_realloc(void *p, size_t bytes)
{
    void *to = mem_alloc(bytes);
    if (p)
        memcpy(to, p, MIN(bytes, block_of(p)->bytes));
    mem_free(p);
    return to;
}

void mem_free(void *p)
{
    if (!p)
        return;
    struct block *b = block_of(p);
    forget(b);
    memset(b->data, 0xdd, MIN(b->bytes, PATTERN_BYTES));
    free(b);
}

char *mem_strdup(const char *s)
{
    return mem_dup(s, strlen(s) + 1);
}

void *mem_dup(const void *p, size_t bytes)
{
    void *copy = mem_alloc(bytes);
    if (bytes)
        memcpy(copy, p, bytes);
    return copy;
}
