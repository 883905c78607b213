/* pace.h - how long requests take, when one is slow enough to be sent once more, and how many may be
 * under way.
 *
 * A request is slow after 4 times what the slowest percent of the last ones of its kind took, never before
 * PACE_FLOOR_NS; sent again, it is slow once more when as long has passed again. Such sendings are at most
 * one in 20 requests, with PACE_BURST saved up.
 *
 * At most PACE_WIDTH_MAX requests are under way; throttling halves that (not below PACE_WIDTH_MIN), answers
 * raise it again by one for each full width of them.
 */
#ifndef OBJSTORE_S3_PACE_H
#define OBJSTORE_S3_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "loop/loop.h"

#define PACE_FLOOR_NS   (300 * NS_PER_MS)
#define PACE_UNKNOWN_NS (3 * NS_PER_S) /* until there is enough to go by */
#define PACE_BURST      10
#define PACE_WIDTH_MIN  4
#define PACE_WIDTH_MAX  64

enum pace_verb { PACE_GET, PACE_PUT, PACE_VERBS };

#define PACE_SIZES  4 /* up to 16 KiB, 256 KiB, 2 MiB, more */
#define PACE_SAMPLE 128

struct pace_class {
    uint32_t took_ms[PACE_SAMPLE];
    unsigned count, next, since;
    uint64_t slow_ns;
};

struct pace {
    struct pace_class classes[PACE_VERBS][PACE_SIZES];
    unsigned twentieths; /* of a second sending, saved up */
    unsigned width, answers;
    uint64_t narrowed_ns;
};

void pace_init(struct pace *);
uint64_t pace_slow_ns(const struct pace *, enum pace_verb, size_t bytes);
void pace_note(struct pace *, enum pace_verb, size_t bytes, uint64_t took_ns);
/* Takes one second sending, if there is one to be had. */
bool pace_take_second(struct pace *);

void pace_answered(struct pace *);
void pace_throttled(struct pace *, uint64_t now_ns);

/* Full jitter: a delay from 0 to min(cap, base * 2^tries). */
uint64_t pace_backoff_ns(struct loop *, unsigned tries, uint64_t base_ns, uint64_t cap_ns);

#endif
