#include "model.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mark.h"

static void *must(void *p)
{
    assert(p);
    return p;
}

/* -------------------------------------------------------------------------- exports */

static void lay_out(struct model_export *e, bool sparse)
{
    struct sim *s = e->sim;
    if (!sparse) {
        e->islands[0] = (struct island){.bytes = e->params.size};
        e->island_count = 1;
        e->model_bytes = e->params.size;
        return;
    }
    uint64_t block = e->params.block_size, span = e->params.size / ISLANDS_MAX;
    for (size_t i = 0; i < ISLANDS_MAX; i++) {
        uint64_t at = i * span + sim_below(s, span / block / 2) * block;
        size_t bytes = (1 + sim_below(s, 6)) * block;
        if (i + 1 == ISLANDS_MAX)
            at = e->params.size - (bytes -= sim_below(s, block)); /* to the very end */
        e->islands[i] = (struct island){.at = at, .bytes = bytes, .model_at = e->model_bytes};
        e->model_bytes += bytes;
    }
    e->island_count = ISLANDS_MAX;
}

struct model_export *model_export_create(struct sim *s, const char *name, const struct export_params *p,
                                         bool sparse)
{
    struct model_export *e = must(calloc(1, sizeof *e));
    e->sim = s;
    snprintf(e->name, sizeof e->name, "%s", name);
    e->params = *p;
    list_init(&e->sessions);
    list_init(&e->copies);
    list_init(&e->children);
    lay_out(e, sparse);
    return e;
}

void model_export_copied(struct model_export *e, const char *name, struct session *n, size_t least,
                         size_t most)
{
    struct model_copy *c = must(calloc(1, sizeof *c));
    snprintf(c->name, sizeof c->name, "%s", name);
    c->session = n;
    c->least = least;
    c->most = most;
    list_push(&e->copies, &c->link);
}

struct model_copy *model_export_any_copy(struct model_export *e)
{
    LIST_EACH(&e->copies, k)
    if (!CONTAINER_OF(k, struct model_copy, link)->removing)
        return CONTAINER_OF(k, struct model_copy, link);
    return NULL;
}

struct model_export *model_export_fork(struct model_export *parent, const char *name, struct session *n,
                                       size_t least, size_t most)
{
    struct model_export *e = must(malloc(sizeof *e));
    *e = *parent;
    snprintf(e->name, sizeof e->name, "%s", name);
    list_init(&e->sessions);
    list_init(&e->copies);
    list_init(&e->children);
    e->copy_count = 0;
    e->grown = 0;
    e->opens = e->opening = 0;
    e->open_died = false;
    e->origin = n;
    e->origin_least = least;
    e->origin_most = most;
    memset(&e->link, 0, sizeof e->link);
    list_push(&parent->children, &e->link);
    return e;
}

static void session_free(struct session *n)
{
    for (size_t i = 0; i < n->change_count; i++)
        free(n->changes[i].data);
    free(n->changes);
    free(n->base);
    free(n->live);
    free(n->allocated);
    free(n->base_allocated);
    free(n->unreadable);
    free(n);
}

void model_export_destroy(struct model_export *e)
{
    struct link *k;
    while ((k = list_pop(&e->children)))
        model_export_destroy(CONTAINER_OF(k, struct model_export, link));
    while ((k = list_pop(&e->copies)))
        free(CONTAINER_OF(k, struct model_copy, link));
    while ((k = list_pop(&e->sessions)))
        session_free(CONTAINER_OF(k, struct session, link));
    free(e);
}

bool model_place(const struct model_export *e, uint64_t offset, uint64_t bytes, size_t *model_at)
{
    for (size_t i = 0; i < e->island_count; i++) {
        const struct island *d = &e->islands[i];
        if (offset < d->at || offset - d->at > d->bytes || bytes > d->bytes - (offset - d->at))
            continue;
        *model_at = d->model_at + (size_t)(offset - d->at);
        return true;
    }
    return false;
}

size_t bytes_differ_at(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (memcmp(a, b, n) == 0)
        return n;
    size_t i = 0;
    while (a[i] == b[i])
        i++;
    return i;
}

/* --------------------------------------------------------------------------- stamps */

#define STAMP       16
#define STAMP_MAGIC 0xa5

void model_stamp(struct model_export *e, uint8_t *to, uint64_t offset, size_t bytes)
{
    uint64_t seq = ++e->stamps;
    for (size_t i = 0; i < bytes; i++) {
        uint64_t at = offset + i;
        uint8_t stamp[STAMP];
        put_le64(stamp, at / STAMP);
        put_le32(stamp + 8, (uint32_t)seq);
        stamp[7] ^= (uint8_t)e->name[0];
        stamp[12] = (uint8_t)(seq * 37);
        stamp[13] = stamp[14] = (uint8_t)(seq ^ at / STAMP);
        stamp[15] = STAMP_MAGIC;
        size_t skip = at % STAMP, n = MIN(STAMP - skip, bytes - i);
        memcpy(to + i, stamp + skip, n);
        i += n - 1;
    }
}

const char *model_stamp_text(const uint8_t *at, size_t room, char out[STAMP_TEXT])
{
    if (bytes_are_zero(at, MIN(room, STAMP)))
        snprintf(out, STAMP_TEXT, "zeros");
    else if (room >= STAMP && at[15] == STAMP_MAGIC)
        snprintf(out, STAMP_TEXT, "write %u at %llu", get_le32(at + 8),
                 (unsigned long long)((get_le64(at) & UINT64_C(0xffffffffffffff)) * STAMP));
    else
        snprintf(out, STAMP_TEXT, "%02x %02x %02x %02x...", at[0], room > 1 ? at[1] : 0, room > 2 ? at[2] : 0,
                 room > 3 ? at[3] : 0);
    return out;
}

/* -------------------------------------------------------------------------- sessions */

struct session *session_create(struct model_export *e, size_t server)
{
    struct session *n = must(calloc(1, sizeof *n));
    n->export = e;
    n->server = server;
    n->cut_max = SIZE_MAX;
    return n;
}

void session_destroy(struct session *n)
{
    assert(!n->verified);
    session_free(n);
}

/* Applies the change to an image and to the marks of allocated zeros. */
static void change_apply(const struct model_export *e, const struct change *c, uint8_t *image,
                         uint8_t *allocated)
{
    for (size_t i = 0; i < e->island_count; i++) {
        const struct island *d = &e->islands[i];
        uint64_t from = MAX(c->offset, d->at), to = MIN(c->offset + c->bytes, d->at + d->bytes);
        if (from >= to)
            continue;
        size_t at = d->model_at + (size_t)(from - d->at), n = (size_t)(to - from);
        if (c->verb == VOLUME_WRITE)
            memcpy(image + at, c->data + (from - c->offset), n);
        else
            memset(image + at, 0, n);
        memset(allocated + at, c->verb == VOLUME_ZERO && (c->flags & VOLUME_NO_HOLE), n);
    }
}

void session_change_part(const struct session *n, size_t change, size_t model_at, size_t bytes, uint8_t *part)
{
    const struct change *c = &n->changes[change];
    const struct model_export *e = n->export;
    for (size_t i = 0; i < e->island_count; i++) {
        const struct island *d = &e->islands[i];
        uint64_t from = MAX(c->offset, d->at), to = MIN(c->offset + c->bytes, d->at + d->bytes);
        size_t base = d->model_at;
        from = MAX(from, d->at + (model_at > base ? model_at - base : 0));
        to = model_at + bytes > base ? MIN(to, d->at + (model_at + bytes - base)) : 0;
        if (from >= to)
            continue;
        uint8_t *at = part + (base + (from - d->at) - model_at);
        if (c->verb == VOLUME_WRITE)
            memcpy(at, c->data + (from - c->offset), to - from);
        else
            memset(at, 0, to - from);
    }
}

size_t session_change(struct session *n, enum volume_verb verb, unsigned flags, uint64_t offset,
                      uint64_t bytes, uint8_t *data)
{
    assert(n->verified);
    if (n->change_count == n->change_room) {
        n->change_room = n->change_room ? 2 * n->change_room : 64;
        n->changes = must(realloc(n->changes, n->change_room * sizeof *n->changes));
    }
    struct change *c = &n->changes[n->change_count];
    *c = (struct change){.verb = verb, .flags = flags, .offset = offset, .bytes = bytes, .data = data};
    change_apply(n->export, c, n->live, n->allocated);
    return n->change_count++;
}

void session_answered(struct session *n, size_t change)
{
    n->changes[change].answered = true;
}

bool session_may_be_fenced(const struct session *n)
{
    return n->rivals || n->export->sim->collectors || n->export->opens > n->open_number ||
           n->export->open_died;
}

size_t session_flush_covers(const struct session *n)
{
    size_t i = n->change_count;
    while (i && !n->changes[i - 1].answered)
        i--;
    return i;
}

void session_durable(struct session *n, size_t changes)
{
    if (n->cut_max != SIZE_MAX && changes > n->cut_max)
        sim_fail(n->export->sim,
                 "%s: s%zu (epoch %u) acknowledged change %zu as durable; its successor had started from at "
                 "most %zu",
                 n->export->name, n->server, n->epoch, changes, n->cut_max);
    n->durable = MAX(n->durable, changes);
}

/* --------------------------------------------------------------------------- the cut */

struct cut {
    const struct session *before;
    size_t least, most; /* the prefixes that are allowed */
    const uint8_t *image, *unreadable;
    uint8_t *state, *allocated;
    size_t first, last;        /* prefixes that fit; first > last: none */
    size_t best, best_differs; /* the one that came nearest, and where it differs */
    size_t hint;               /* where the one before differed: most likely this one does, too */
};

static size_t first_difference(const struct cut *c, size_t n)
{
    if (!c->unreadable)
        return bytes_differ_at(c->state, c->image, n);
    size_t i = 0;
    while (i < n && (c->unreadable[i] || c->state[i] == c->image[i]))
        i++;
    return i;
}

static void cut_try(struct cut *c, size_t prefix)
{
    size_t n = c->before->export->model_bytes;
    bool still = c->hint < n && c->state[c->hint] != c->image[c->hint] &&
                 !(c->unreadable && c->unreadable[c->hint]) && prefix > c->least;
    size_t differs = still ? c->hint : first_difference(c, n);
    c->hint = differs;
    if (differs < n) {
        if (differs >= c->best_differs) {
            c->best = prefix;
            c->best_differs = differs;
        }
        return;
    }
    c->first = MIN(c->first, prefix);
    c->last = prefix;
}

/* Tries every prefix that is allowed. */
static void cut_find(struct cut *c)
{
    const struct session *b = c->before;
    size_t n = b->export->model_bytes;
    c->first = SIZE_MAX;
    c->last = 0;
    c->state = must(malloc(n + 1));
    c->allocated = must(malloc(n + 1));
    memcpy(c->state, b->base, n);
    memcpy(c->allocated, b->base_allocated, n);
    for (size_t i = 0; i <= b->change_count; i++) {
        if (i >= c->least && i <= c->most)
            cut_try(c, i);
        if (i < b->change_count)
            change_apply(b->export, &b->changes[i], c->state, c->allocated);
    }
}

static void fail_cut(const struct session *n, const struct cut *c)
{
    const struct session *b = c->before;
    struct model_export *e = n->export;
    memcpy(c->state, b->base, e->model_bytes);
    for (size_t i = 0; i < c->best; i++)
        change_apply(e, &b->changes[i], c->state, c->allocated);
    size_t at = first_difference(c, e->model_bytes), left = e->model_bytes - at;
    char found[STAMP_TEXT], wanted[STAMP_TEXT];
    size_t island = 0;
    while (island + 1 < e->island_count && at >= e->islands[island + 1].model_at)
        island++;
    uint64_t offset = e->islands[island].at + (at - e->islands[island].model_at);
    size_t back = offset % 16 <= at ? offset % 16 : 0;
    sim_fail(e->sim,
             "%s: s%zu (epoch %u) finds no cut of s%zu's history (epoch %u, %zu changes, %zu durable%s): "
             "nearest is "
             "%zu, but at offset %llu there is [%s] instead of [%s]",
             e->name, n->server, n->epoch, b->server, b->epoch, b->change_count, b->durable,
             b->closed ? ", closed" : "", c->best, (unsigned long long)offset,
             model_stamp_text(c->image + at - back, left + back, found),
             model_stamp_text(c->state + at - back, left + back, wanted));
}

/* The marks of allocated zeros at the cut; where several prefixes fit, only what all of them say. */
static void adopt_allocated(struct session *n, const struct cut *c, const uint8_t *holes)
{
    const struct session *b = c->before;
    size_t bytes = n->export->model_bytes;
    uint8_t *sure = n->base_allocated;
    memcpy(c->state, b->base, bytes);
    memcpy(c->allocated, b->base_allocated, bytes);
    memset(sure, 1, bytes);
    for (size_t i = 0; i <= c->last; i++) {
        if (i >= c->first)
            for (size_t k = 0; k < bytes; k++)
                sure[k] &= c->allocated[k];
        if (i < c->last)
            change_apply(n->export, &b->changes[i], c->state, c->allocated);
    }
    for (size_t k = 0; k < bytes; k++)
        if (sure[k] && holes[k])
            sim_fail(n->export->sim,
                     "%s: s%zu (epoch %u) shows a hole at model byte %zu, which was allocated",
                     n->export->name, n->server, n->epoch, k);
}

static void check_breaks(const struct session *n, const struct cut *c)
{
    const struct session *b = c->before;
    bool lost = false;
    for (size_t i = c->last; i < b->change_count; i++)
        lost |= b->changes[i].answered;
    if (lost)
        mark_hit("sim.answered_write_lost");
    if (lost && n->breaks <= b->breaks)
        sim_fail(n->export->sim,
                 "%s: s%zu (epoch %u) lost answered writes of epoch %u, but counts %u breaks as before",
                 n->export->name, n->server, n->epoch, b->epoch, n->breaks);
    if (b->closed && n->open_number == b->open_number + 1 && n->breaks != b->breaks)
        sim_fail(n->export->sim, "%s: s%zu (epoch %u) counts %u breaks after a clean close at %u",
                 n->export->name, n->server, n->epoch, n->breaks, b->breaks);
}

/* Where either session could not read, nothing can be said. */
static void merge_unreadable(struct session *n, const struct session *before, const uint8_t *unreadable)
{
    size_t bytes = n->export->model_bytes;
    if (!before->unreadable && !unreadable)
        return;
    n->unreadable = must(calloc(1, bytes + 1));
    for (size_t i = 0; i < bytes; i++)
        n->unreadable[i] = (before->unreadable && before->unreadable[i]) || (unreadable && unreadable[i]);
}

static void check_against(struct session *n, struct session *before, const uint8_t *image,
                          const uint8_t *holes, const uint8_t *unreadable)
{
    merge_unreadable(n, before, unreadable);
    struct cut c = {.before = before,
                    .least = before->durable,
                    .most = SIZE_MAX,
                    .image = image,
                    .unreadable = n->unreadable};
    cut_find(&c);
    if (c.first == SIZE_MAX)
        fail_cut(n, &c);
    sim_trace(n->export->sim, "%s: epoch %u starts from cut %zu-%zu of epoch %u (%zu changes, %zu durable)",
              n->export->name, n->epoch, c.first, c.last, before->epoch, before->change_count,
              before->durable);
    adopt_allocated(n, &c, holes);
    check_breaks(n, &c);
    before->cut_max = MIN(before->cut_max, c.last);
    if (c.last < before->change_count)
        mark_hit("sim.cut_in_mid_history");
    free(c.state);
    free(c.allocated);
}

/* A fork's first session holds what its parent's session held at one moment. */
static void check_against_origin(struct session *n, const uint8_t *image, const uint8_t *holes,
                                 const uint8_t *unreadable)
{
    const struct model_export *e = n->export;
    merge_unreadable(n, e->origin, unreadable);
    struct cut c = {.before = e->origin,
                    .least = e->origin_least,
                    .most = e->origin_most,
                    .image = image,
                    .unreadable = n->unreadable};
    cut_find(&c);
    sim_trace(e->sim, "%s: must hold %zu to %zu changes of epoch %u", e->name, c.least, c.most,
              e->origin->epoch);
    if (c.first == SIZE_MAX)
        fail_cut(n, &c);
    adopt_allocated(n, &c, holes);
    mark_hit("sim.fork_checked");
    free(c.state);
    free(c.allocated);
}

/* In its place by epoch. Returns the session before it. */
static struct session *place(struct session *n)
{
    struct list *all = &n->export->sessions;
    struct link *k = list_last(all);
    while (k && CONTAINER_OF(k, struct session, link)->epoch > n->epoch)
        k = k->prev == &all->head ? NULL : k->prev;
    struct session *before = LIST_ENTRY(k, struct session, link);
    if (before && before->epoch == n->epoch)
        sim_fail(n->export->sim, "%s: s%zu and s%zu both own epoch %u", n->export->name, before->server,
                 n->server, n->epoch);
    link_before(&n->link, k ? k->next : all->head.next);
    return before;
}

void session_verify(struct session *n, const uint8_t *image, const uint8_t *holes, const uint8_t *zeros,
                    const uint8_t *unreadable)
{
    struct model_export *e = n->export;
    size_t bytes = e->model_bytes;
    for (size_t i = 0; i < bytes; i++)
        if (zeros[i] && image[i] && !(unreadable && unreadable[i]))
            sim_fail(e->sim, "%s: STATUS shows zeros at model byte %zu, READ does not", e->name, i);
    n->base_allocated = must(calloc(1, bytes + 1));
    struct session *before = place(n);
    if (before)
        check_against(n, before, image, holes, unreadable);
    else if (e->origin)
        check_against_origin(n, image, holes, unreadable);
    else if (!bytes_are_zero(image, bytes))
        sim_fail(e->sim, "%s: a new export is not empty", e->name);
    n->base = must(malloc(bytes + 1));
    n->live = must(malloc(bytes + 1));
    n->allocated = must(malloc(bytes + 1));
    memcpy(n->base, image, bytes);
    memcpy(n->live, image, bytes);
    memcpy(n->allocated, n->base_allocated, bytes);
    if (n->link.next != &e->sessions.head)
        n->cut_max = 0; /* somebody took it while it was being read */
    n->verified = true;
}

void session_new_epoch(struct session *n, uint32_t epoch, uint32_t breaks)
{
    const struct link *before = n->link.prev;
    struct sim *s = n->export->sim;
    if (epoch < n->epoch)
        sim_fail(s, "%s: s%zu goes back from epoch %u to %u", n->export->name, n->server, n->epoch, epoch);
    list_remove(&n->link);
    n->epoch = epoch;
    place(n);
    if (n->link.prev != before)
        sim_fail(s, "%s: s%zu goes on in epoch %u, although another server owned the export meanwhile",
                 n->export->name, n->server, epoch);
    if (breaks != n->breaks)
        sim_fail(s, "%s: s%zu counts a break for its own new epoch %u", n->export->name, n->server, epoch);
}
