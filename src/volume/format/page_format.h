/* page_format.h - where the fields of a map page lie (docs/FORMAT.md: Map pages). For page.c, leaf.c and
 * node.c. */
#ifndef VOLUME_PAGE_FORMAT_H
#define VOLUME_PAGE_FORMAT_H

#include <stdbool.h>

#include "volume/format/page.h"

enum {
    PAGE_AT_LEVEL = 6,
    PAGE_AT_FLAGS = 7,
    PAGE_AT_BLOCK_SIZE = 12,
    PAGE_AT_MAPPED = 48,
    PAGE_AT_STORED = 56,
    PAGE_AT_OBJECTS = 64,
    PAGE_AT_COUNT = 72, /* leaf: pieces; node: objects */
    PAGE_AT_MORE = 76,  /* leaf: extents; node: children that are pages */
    PAGE_HEAD_BYTES = 80,
    PAGE_BASE_BYTES = 80, /* follows the head when PAGE_FLAG_BASE is set */
};

#define PAGE_FLAG_BASE 1u
#define SUM_MAX        ((uint64_t)INT64_MAX)

/* Sums do not wrap: they stay at SUM_MAX. */
static inline uint64_t sum_add(uint64_t a, uint64_t b)
{
    return a > SUM_MAX || b > SUM_MAX - a ? SUM_MAX : a + b;
}

/* The head and, when there is one, the base; returns what follows. page_close comes last. */
uint8_t *page_put_head(uint8_t *to, uint32_t block_size, unsigned level, struct map_sums, uint32_t count,
                       uint32_t more, const struct page_ref *base);
/* Checksum and length: the page is done. */
void page_close(uint8_t *page, size_t n);
/* What follows head and base. */
const uint8_t *page_body(const uint8_t *page);
bool page_has_base(const uint8_t *page);
/* A reference to a page of that length there can be. */
bool page_range_check(uint32_t offset, uint32_t bytes);

/* Head and base are checked; the rest is the kind's business. */
bool leaf_check(const uint8_t *page, size_t n, uint32_t block_size);
bool node_check(const uint8_t *page, size_t n, unsigned level, uint32_t block_size);

#endif
