#include "volume/gc/acks.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"

#define SERVERS "servers/"

/* A server that has not acknowledged yet. */
struct acks_watch {
    char id[ID_HEX];
    char etag[OBJSTORE_ETAG_MAX];
    uint64_t first_ns, unchanged_ns, looked_ns;
    struct heartbeat beat;
    bool listed;
};

static void step(struct acks *);
static void next_server(struct acks *);
static void next_export(struct acks *);

static void answered(struct objstore_req *r)
{
    step(CONTAINER_OF(r, struct acks, req));
}

static void paused(struct timer *t)
{
    step(CONTAINER_OF(t, struct acks, timer));
}

static uint64_t now_ns(const struct acks *a)
{
    return loop_now_ns(a->engine->loop);
}

static void drop_entries(struct acks *a)
{
    objstore_entries_free(a->entries, a->entry_count);
    a->entries = NULL;
    a->entry_count = a->entry = 0;
}

static void finish(struct acks *a, enum err err)
{
    timer_stop(&a->timer);
    drop_entries(a);
    a->state = ACKS_ENDED;
    a->err = a->canceled ? ERR_CANCELED : err;
    a->done(a);
}

static void list(struct acks *a, const char *prefix)
{
    a->req = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .key = prefix,
                                   .after = a->after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .delimited = true,
                                   .done = answered};
    objstore_submit(a->engine->store, &a->req);
}

/* False: the listing failed, and that was the end. */
static bool take_listing(struct acks *a)
{
    struct objstore_req *r = &a->req;
    if (r->err) {
        a->complaint = r->complaint;
        finish(a, r->err);
        return false;
    }
    drop_entries(a);
    a->entries = r->entries;
    a->entry_count = r->entry_count;
    a->more = r->truncated && r->entry_count;
    if (a->more)
        snprintf(a->after, sizeof a->after, "%s", r->entries[r->entry_count - 1].key);
    return true;
}

/* ---------------------------------------------------------------------------- servers */

static bool is_own(const struct acks *a, const char *id)
{
    return strcmp(id, a->engine->server_id) == 0;
}

static bool has_acknowledged(const struct acks *a, const char *id)
{
    struct sha256 digest = sha256_of(id, strlen(id));
    if (is_own(a, id))
        return a->engine->turns.acknowledged >= a->turn;
    return digests_has(&a->acknowledged, &digest);
}

static void note_acknowledged(struct acks *a, const char *id)
{
    struct sha256 digest = sha256_of(id, strlen(id));
    digests_add(&a->acknowledged, &digest);
}

static struct acks_watch *watch(struct acks *a, const char *id)
{
    for (size_t i = 0; i < a->watch_count; i++)
        if (strcmp(a->watches[i].id, id) == 0)
            return &a->watches[i];
    a->watches = mem_realloc(a->watches, (a->watch_count + 1) * sizeof *a->watches);
    struct acks_watch *w = &a->watches[a->watch_count++];
    *w = (struct acks_watch){.first_ns = now_ns(a), .unchanged_ns = now_ns(a), .looked_ns = now_ns(a)};
    snprintf(w->id, sizeof w->id, "%s", id);
    return w;
}

static uint64_t ttl_ns(const struct acks *a, const struct acks_watch *w)
{
    uint64_t own = a->engine->config.lease_ttl_ns;
    uint64_t its = MIN(w->beat.lease_ttl_ms, UINT64_C(86400000)) * NS_PER_MS;
    return MAX(own, its);
}

static void observe(struct acks *a, struct acks_watch *w)
{
    bool interrupted =
        now_ns(a) - w->looked_ns > ttl_ns(a, w) / 2 || !lease_holds(&a->engine->lease, now_ns(a));
    if (strcmp(w->etag, a->req.etag) != 0 || interrupted)
        w->unchanged_ns = now_ns(a);
    if (interrupted)
        w->first_ns = now_ns(a); /* the store may have been out of reach for it as well */
    memcpy(w->etag, a->req.etag, sizeof w->etag);
    w->looked_ns = now_ns(a);
    w->listed = true;
}

static bool is_silent(const struct acks *a, const struct acks_watch *w)
{
    const struct host *host = a->engine->config.host;
    if (w->beat.process.boot_id[0] && host->is_gone(host, &w->beat.process))
        return true;
    return now_ns(a) - w->unchanged_ns >= 2 * ttl_ns(a, w) || now_ns(a) - w->first_ns >= a->patience_ns;
}

static void bury(struct acks *a, struct acks_watch *w)
{
    struct heartbeat h = w->beat;
    h.serial++;
    h.dead = true;
    h.lease_ttl_ms = MAX(h.lease_ttl_ms, 1);
    random_id(a->engine->loop, h.nonce);
    buf_unref(a->body);
    a->body = heartbeat_encode(&h);
    a->iov = (struct iovec){.iov_base = a->body->data, .iov_len = a->body->bytes};
    key_server(&a->key, w->id);
    mark_hit("gc-declares-dead");
    a->state = ACKS_BURIES;
    a->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .key = a->key.text,
                                   .body = &a->iov,
                                   .body_count = 1,
                                   .condition = OBJSTORE_MATCH,
                                   .done = answered};
    memcpy(a->req.etag, w->etag, sizeof w->etag);
    objstore_submit(a->engine->store, &a->req);
}

static void describe(struct acks *a, const struct acks_watch *w)
{
    const struct process_id *p = &w->beat.process;
    snprintf(a->who, sizeof a->who, "server %s (%.40s, pid %lld%s%.60s)", w->id, p->host, (long long)p->pid,
             w->beat.addresses[0] ? ", " : "", w->beat.addresses);
}

static void await(struct acks *a, struct acks_watch *w)
{
    describe(a, w);
    if (is_silent(a, w)) {
        bury(a, w);
        return;
    }
    a->again = true;
    if (a->waits)
        a->waits(a, a->who);
    next_server(a);
}

static void note_dead(struct acks *a, const char *id)
{
    for (size_t i = 0; i < a->dead_count; i++)
        if (strcmp(a->dead[i].text, a->key.text) == 0)
            return;
    a->dead = mem_realloc(a->dead, (a->dead_count + 1) * sizeof *a->dead);
    key_server(&a->dead[a->dead_count++], id);
}

/* The heartbeat that was asked for has come: of a listed server, or of an owner. True: it is dead. */
static bool look_at_heartbeat(struct acks *a, const char *id, bool *waits)
{
    struct objstore_req *r = &a->req;
    struct heartbeat beat = {0};
    *waits = false;
    if (r->err == ERR_NOTFOUND)
        return true;
    bool readable =
        r->err == ERR_OK && heartbeat_parse(r->content->data, r->content->bytes, &beat, NULL) == ERR_OK;
    if (r->err == ERR_OK)
        buf_unref(r->content);
    if (readable && beat.dead) {
        note_dead(a, id);
        return true;
    }
    if (readable && beat.turn >= a->turn) {
        note_acknowledged(a, id);
        return false;
    }
    struct acks_watch *w = watch(a, id);
    if (readable)
        w->beat = beat;
    observe(a, w);
    *waits = true;
    return false;
}

static void get_heartbeat(struct acks *a, const char *id)
{
    key_server(&a->key, id);
    a->req = (struct objstore_req){
        .verb = OBJSTORE_GET, .key = a->key.text, .limit = HEARTBEAT_BYTES_MAX, .done = answered};
    objstore_submit(a->engine->store, &a->req);
}

static void list_servers(struct acks *a)
{
    a->state = ACKS_LISTS_SERVERS;
    list(a, SERVERS);
}

static void begin_servers(struct acks *a)
{
    a->again = false;
    a->after[0] = '\0';
    list_servers(a);
}

static void begin_exports(struct acks *a)
{
    a->after[0] = '\0';
    a->state = ACKS_LISTS_EXPORTS;
    list(a, "exports/");
}

static void pause_a_while(struct acks *a)
{
    a->state = ACKS_PAUSES;
    timer_start(a->engine->loop, &a->timer, MIN(a->engine->config.lease_ttl_ns / 8, 2 * NS_PER_S));
}

static const char *server_of(const struct objstore_entry *e)
{
    const char *id = e->key + strlen(SERVERS);
    return strlen(id) == ID_HEX - 1 ? id : NULL;
}

static void next_server(struct acks *a)
{
    while (a->entry < a->entry_count) {
        const char *id = server_of(&a->entries[a->entry++]);
        if (!id || has_acknowledged(a, id))
            continue;
        if (is_own(a, id)) {
            a->again = true;
            turns_look(&a->engine->turns);
            continue;
        }
        a->state = ACKS_READS_SERVER;
        get_heartbeat(a, id);
        return;
    }
    if (a->more)
        list_servers(a);
    else if (a->again || a->engine->turns.acknowledged < a->turn)
        pause_a_while(a);
    else
        begin_exports(a);
}

static void server_read(struct acks *a)
{
    const char *id = server_of(&a->entries[a->entry - 1]);
    bool waits;
    look_at_heartbeat(a, id, &waits);
    if (waits)
        await(a, watch(a, id));
    else
        next_server(a);
}

static void buried(struct acks *a)
{
    if (a->req.err == ERR_OK) {
        a->declared_dead++;
        log_warn("gc", "%s has not acknowledged turn %u, and is declared dead", a->who, a->turn);
    }
    a->again = true; /* looked at anew: it may have been faster */
    begin_servers(a);
}

/* ---------------------------------------------------------------------------- exports */

static void fenced(struct fence *f)
{
    struct acks *a = CONTAINER_OF(f, struct acks, fence);
    manifest_finish(&a->get.manifest);
    if (f->err == ERR_CORRUPT || f->err == ERR_UNSUPPORTED) {
        complain(&a->complaint, f->err,
                 "the log of export %s cannot be read: nothing is deleted until it can be, or the export is "
                 "removed",
                 a->name);
        finish(a, ERR_CORRUPT);
        return;
    }
    a->fenced += f->err == ERR_OK;
    a->again |= f->err != ERR_OK;
    if (a->canceled)
        finish(a, ERR_CANCELED);
    else
        next_export(a);
}

static void fence_export(struct acks *a)
{
    a->state = ACKS_FENCES;
    a->fence =
        (struct fence){.engine = a->engine, .name = a->name, .manifest = &a->get.manifest, .done = fenced};
    memcpy(a->fence.etag, a->get.etag, sizeof a->get.etag);
    fence_start(&a->fence);
}

static void owner_read(struct acks *a)
{
    bool waits, dead = look_at_heartbeat(a, a->get.manifest.owner, &waits);
    if (dead) {
        fence_export(a);
        return;
    }
    a->again |= waits; /* it has joined since they were listed */
    manifest_finish(&a->get.manifest);
    next_export(a);
}

static void got_manifest(struct manifest_get *g)
{
    struct acks *a = CONTAINER_OF(g, struct acks, get);
    if (g->err == ERR_CORRUPT || g->err == ERR_UNSUPPORTED) {
        complain(&a->complaint, g->err, "export %s: %.300s: nothing is deleted until it can be read", a->name,
                 g->complaint.text);
        finish(a, ERR_CORRUPT);
        return;
    }
    if (a->canceled || g->err) {
        if (!g->err)
            manifest_finish(&g->manifest);
        if (a->canceled || g->err != ERR_NOTFOUND)
            finish(a, g->err);
        else
            next_export(a);
        return;
    }
    const struct manifest *m = &g->manifest;
    if (m->state != MANIFEST_OPEN || !m->owner[0] || has_acknowledged(a, m->owner)) {
        manifest_finish(&g->manifest);
        next_export(a);
        return;
    }
    a->state = ACKS_READS_OWNER;
    get_heartbeat(a, m->owner);
}

static void next_export(struct acks *a)
{
    while (a->entry < a->entry_count) {
        if (!key_parse_export(a->entries[a->entry++].key, a->name))
            continue;
        a->state = ACKS_READS_EXPORT;
        a->get = (struct manifest_get){.engine = a->engine, .name = a->name, .done = got_manifest};
        manifest_get_start(&a->get);
        return;
    }
    if (a->more) {
        a->state = ACKS_LISTS_EXPORTS;
        list(a, "exports/");
    } else if (a->again) {
        pause_a_while(a);
    } else {
        finish(a, ERR_OK);
    }
}

/* --------------------------------------------------------------------------------- all */

static void step(struct acks *a)
{
    if (a->canceled) {
        if (a->state == ACKS_LISTS_SERVERS || a->state == ACKS_LISTS_EXPORTS)
            objstore_entries_free(a->req.entries, a->req.entry_count);
        else if (a->state == ACKS_READS_OWNER)
            manifest_finish(&a->get.manifest);
        if (a->state == ACKS_READS_OWNER || a->state == ACKS_READS_SERVER)
            buf_unref(a->req.content);
        finish(a, ERR_CANCELED);
        return;
    }
    switch (a->state) {
    case ACKS_LISTS_SERVERS:
        if (take_listing(a))
            next_server(a);
        return;
    case ACKS_READS_SERVER:
        server_read(a);
        return;
    case ACKS_BURIES:
        buried(a);
        return;
    case ACKS_PAUSES:
        begin_servers(a);
        return;
    case ACKS_LISTS_EXPORTS:
        if (take_listing(a))
            next_export(a);
        return;
    case ACKS_READS_OWNER:
        owner_read(a);
        return;
    case ACKS_READS_EXPORT:
    case ACKS_FENCES:
    case ACKS_ENDED:
        return;
    }
}

void acks_start(struct acks *a)
{
    assert(a->done);
    a->err = ERR_OK;
    a->complaint.text[0] = '\0';
    a->declared_dead = a->fenced = 0;
    a->acknowledged = (struct digests){0};
    a->watches = NULL;
    a->watch_count = 0;
    a->dead = NULL;
    a->dead_count = 0;
    a->entries = NULL;
    a->entry_count = a->entry = 0;
    a->body = NULL;
    a->canceled = false;
    a->timer = (struct timer){.fire = paused};
    begin_servers(a);
}

void acks_cancel(struct acks *a)
{
    if (a->state == ACKS_ENDED || a->canceled)
        return;
    a->canceled = true;
    if (a->state == ACKS_PAUSES)
        timer_start(a->engine->loop, &a->timer, 0);
    else if (a->state == ACKS_READS_EXPORT)
        manifest_get_cancel(&a->get);
    else if (a->state == ACKS_FENCES)
        fence_cancel(&a->fence);
    else
        objstore_cancel(&a->req);
}

void acks_finish(struct acks *a)
{
    digests_finish(&a->acknowledged);
    mem_free(a->watches);
    mem_free(a->dead);
    a->dead = NULL;
    buf_unref(a->body);
    a->body = NULL;
    a->watches = NULL;
}
