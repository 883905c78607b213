#include "workload.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"

static bool chance(struct workload *w, unsigned per_mille)
{
    return prng_below(&w->rng, 1000) < per_mille;
}

static unsigned some(struct workload *w, unsigned most)
{
    return prng_below(&w->rng, 2) ? (unsigned)prng_below(&w->rng, most) : 0;
}

void workload_init(struct workload *w, struct sim *s, uint64_t seed)
{
    static const unsigned depths[] = {1, 2, 8, 32};
    memset(w, 0, sizeof *w);
    w->sim = s;
    prng_seed(&w->rng, seed ^ UINT64_C(0x776f726b));
    w->depth = depths[prng_below(&w->rng, 4)];
    w->weights[VOLUME_READ] = 10 + some(w, 60);
    w->weights[VOLUME_WRITE] = 20 + some(w, 80);
    w->weights[VOLUME_FLUSH] = 1 + some(w, 20);
    w->weights[VOLUME_TRIM] = some(w, 20);
    w->weights[VOLUME_ZERO] = some(w, 20);
    w->weights[VOLUME_CACHE] = some(w, 5);
    w->weights[VOLUME_STATUS] = some(w, 10);
    w->fua = some(w, 200);
    w->aligned = some(w, 1000);
    w->hot = some(w, 900);
    w->zero_data = some(w, 100);
    w->duplicate = some(w, 300);
    w->run = some(w, 600);
    w->bytes_max = (size_t)512 << prng_below(&w->rng, 8);
}

void workload_finish(struct workload *w)
{
    free(w->last);
    w->last = NULL;
}

static enum volume_verb pick_verb(struct workload *w)
{
    unsigned sum = 0;
    for (size_t i = 0; i < COUNT_OF(w->weights); i++)
        sum += w->weights[i];
    uint64_t n = prng_below(&w->rng, sum);
    for (size_t i = 0;; i++) {
        if (n < w->weights[i])
            return (enum volume_verb)i;
        n -= w->weights[i];
    }
}

/* A range inside of one island. */
static void pick_range(struct workload *w, const struct model_export *e, uint64_t *offset, uint64_t *bytes)
{
    uint64_t block = e->params.block_size, unit = chance(w, w->aligned) ? block : chance(w, 800) ? 512 : 1;
    uint64_t at = chance(w, w->hot) ? prng_below(&w->rng, MIN(e->model_bytes, 4 * block))
                                    : prng_below(&w->rng, e->model_bytes);
    uint64_t length = (1 + prng_below(&w->rng, w->bytes_max / MIN(unit, w->bytes_max))) * unit;
    if (chance(w, w->run) && w->run_at < e->model_bytes)
        at = w->run_at;
    else
        at -= at % unit;
    if (chance(w, 5))
        length = 0;
    size_t i = 0;
    while (i + 1 < e->island_count && at >= e->islands[i + 1].model_at)
        i++;
    const struct island *d = &e->islands[i];
    uint64_t in = at - d->model_at;
    *offset = d->at + in;
    *bytes = MIN(length, d->bytes - in);
    w->run_at = at + *bytes;
}

/* Blocks out of a few, the same in all exports: what is overwritten here is written anew there. */
static void recur(struct workload *w, const struct model_export *e, uint8_t *data, uint64_t bytes)
{
    for (uint64_t at = 0; at < bytes; at += 16) {
        uint64_t block[2] = {at % e->params.block_size, 0};
        if (at % e->params.block_size == 0)
            w->which = 1 + prng_below(&w->rng, 12);
        block[1] = w->which;
        memcpy(data + at, block, MIN(bytes - at, sizeof block));
    }
}

static uint8_t *pick_data(struct workload *w, struct model_export *e, uint64_t offset, uint64_t bytes)
{
    uint8_t *data = calloc(1, bytes + 1);
    assert(data);
    if (chance(w, w->zero_data))
        return data;
    if (w->last_bytes >= bytes && chance(w, w->duplicate)) {
        if (bytes)
            memcpy(data, w->last, bytes);
        return data;
    }
    model_stamp(e, data, offset, bytes);
    if (bytes >= e->params.block_size && chance(w, w->recurring)) {
        mark_hit("sim.recurring");
        recur(w, e, data, bytes);
        return data;
    }
    if (chance(w, 300) && bytes) {
        free(w->last);
        w->last = malloc(bytes);
        assert(w->last);
        memcpy(w->last, data, bytes);
        w->last_bytes = bytes;
    }
    return data;
}

/* Somewhere in a gap between two islands. */
static bool pick_void(struct workload *w, const struct model_export *e, uint64_t *offset, uint64_t *bytes)
{
    if (e->island_count < 2 || !chance(w, 100))
        return false;
    size_t i = prng_below(&w->rng, e->island_count - 1);
    uint64_t from = e->islands[i].at + e->islands[i].bytes, to = e->islands[i + 1].at;
    if (to - from < 2)
        return false;
    *offset = from + prng_below(&w->rng, to - from - 1);
    *bytes = 1 + prng_below(&w->rng, MIN(to - *offset, 65536));
    return true;
}

static void pick_huge(struct workload *w, const struct model_export *e, uint64_t *offset, uint64_t *bytes)
{
    if (!chance(w, 30))
        return;
    mark_hit("sim.huge_trim");
    *offset = chance(w, 300) ? 0 : prng_below(&w->rng, e->params.size);
    *bytes = chance(w, 300) ? e->params.size - *offset : prng_below(&w->rng, e->params.size - *offset + 1);
}

void workload_submit(struct workload *w, struct client *c)
{
    if (c->state != CLIENT_OPEN || c->in_flight >= w->depth || !c->session->verified)
        return;
    enum volume_verb verb = pick_verb(w);
    struct model_export *e = c->export;
    uint64_t offset = 0, bytes = 0;
    unsigned flags = 0;
    uint8_t *data = NULL;
    if (verb != VOLUME_FLUSH)
        pick_range(w, e, &offset, &bytes);
    if (verb == VOLUME_READ || verb == VOLUME_STATUS)
        pick_void(w, e, &offset, &bytes);
    if (verb == VOLUME_TRIM || verb == VOLUME_ZERO)
        pick_huge(w, e, &offset, &bytes);
    if (verb == VOLUME_WRITE)
        data = pick_data(w, e, offset, bytes);
    if (verb == VOLUME_WRITE || verb == VOLUME_TRIM || verb == VOLUME_ZERO)
        flags |= chance(w, w->fua) ? VOLUME_FUA : 0;
    if (verb == VOLUME_ZERO && chance(w, 400))
        flags |= VOLUME_NO_HOLE;
    if (verb == VOLUME_STATUS && (chance(w, 200) || !bytes))
        flags |= VOLUME_REQ_ONE;
    if (verb == VOLUME_STATUS)
        bytes = MAX(bytes, 1);
    w->submitted++;
    if (verb == VOLUME_READ && chance(w, 300) && client_read_now(c, offset, bytes))
        return;
    client_submit(c, verb, flags, offset, bytes, data, false);
}
