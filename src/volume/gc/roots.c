#include "volume/gc/roots.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/engine_state.h"

#define FORK_PAUSE_NS    NS_PER_S
#define FORK_PATIENCE_NS (30 * NS_PER_S) /* for an export that is being born */
#define PAGES_WAITING    4096u           /* with so many no further export is begun */

static void roots_step(struct roots *);
static void listed(struct objstore_req *);
static void read_exports(struct roots *);

static void finish(struct roots *r, enum err err)
{
    if (r->pages.running) { /* comes back when that has ended */
        r->err = err;
        r->state = ROOTS_ENDED;
        page_tour_cancel(&r->pages);
        return;
    }
    timer_stop(&r->timer);
    objstore_entries_free(r->entries, r->entry_count);
    r->entries = NULL;
    r->entry_count = 0;
    r->err = r->canceled ? ERR_CANCELED : err;
    r->state = ROOTS_ENDED;
    r->done(r);
}

static void tell_doubt(struct roots *r, const char *what)
{
    r->doubts++;
    log_error("gc", "%s: what it refers to is not known", what);
    if (r->doubt)
        r->doubt(r, what);
}

/* ------------------------------------------------------------------------------ pages */

static struct roots *of_tour(struct page_tour *t)
{
    return CONTAINER_OF(t, struct roots, pages);
}

static void page_referred_to(struct page_tour *t, const struct page_ref *page)
{
    if (of_tour(t)->page)
        of_tour(t)->page(of_tour(t), page);
}

static void piece_in_page(struct page_tour *t, const struct piece_ref *piece)
{
    if (of_tour(t)->piece)
        of_tour(t)->piece(of_tour(t), piece);
}

static void page_unreadable(struct page_tour *t, const struct page_ref *page, enum err err)
{
    struct key key;
    char what[sizeof key.text + 100];
    key_map(&key, &page->object);
    snprintf(what, sizeof what, "%s, the page at %u: %s", key.text, page->offset, err_text(err));
    tell_doubt(of_tour(t), what);
}

static void pages_idle(struct page_tour *t)
{
    struct roots *r = of_tour(t);
    if (r->state == ROOTS_ENDED)
        finish(r, r->err);
    else if (r->state == ROOTS_READS_PAGES)
        finish(r, ERR_OK);
    else if (r->state == ROOTS_READS)
        loop_post(r->engine->loop, &r->task);
}

static void add_root(struct roots *r, const struct map_root *root, uint32_t block_size)
{
    page_tour_add(&r->pages, root, block_size);
    if (!r->pages.running && r->pages.waiting)
        page_tour_run(&r->pages);
}

/* ---------------------------------------------------------------------------- exports */

static bool is_new(struct roots *r, const char *name, const char *id)
{
    char text[EXPORT_NAME_MAX + ID_HEX + 2];
    int n = snprintf(text, sizeof text, "%s/%s", name, id);
    struct sha256 digest = sha256_of(text, (size_t)n);
    return digests_add(&r->known, &digest);
}

static bool export_wanted(struct export_tour *t, const struct manifest *m)
{
    struct roots *r = ((struct roots_slot *)t->ctx)->roots;
    ((struct roots_slot *)t->ctx)->fresh = m->state != MANIFEST_FORKING && is_new(r, t->name, m->id);
    return ((struct roots_slot *)t->ctx)->fresh;
}

static void piece_in_log(struct export_tour *t, const struct piece_ref *piece)
{
    struct roots *r = ((struct roots_slot *)t->ctx)->roots;
    if (r->piece)
        r->piece(r, piece);
}

static void take_export(struct roots *r, const struct export_tour *t)
{
    const struct manifest *m = &t->manifest;
    if (m->state != MANIFEST_OPEN && m->state != MANIFEST_CLOSED)
        return;
    r->exports++;
    add_root(r, &m->root, m->params.block_size);
    for (size_t i = 0; i < m->snapshot_count; i++)
        add_root(r, &m->snapshots[i].root, m->params.block_size);
    if (r->export)
        r->export(r, t->name, m);
}

static void abort_done(struct swap *s)
{
    struct roots *r = CONTAINER_OF(s, struct roots, swap);
    if (s->err == ERR_OK)
        log_info("gc", "%s: its fork was not finished, and is aborted", r->fork);
    else if (s->err == ERR_CONFLICT)
        manifest_finish(&s->found);
    manifest_finish(&r->tombstone);
    r->aborting = false;
    r->under_way--;
    read_exports(r);
}

static void abort_fork(struct roots *r, struct export_tour *t)
{
    struct manifest *m = &r->tombstone;
    mark_hit("gc-aborts-fork");
    r->aborting = true;
    r->under_way++;
    memcpy(r->fork, t->name, sizeof r->fork);
    manifest_copy(m, &t->manifest);
    r->swap = (struct swap){.engine = r->engine, .name = r->fork, .next = m, .done = abort_done};
    memcpy(r->swap.etag, t->etag, sizeof r->swap.etag);
    memcpy(r->swap.former_nonce, m->nonce, sizeof m->nonce);
    m->state = MANIFEST_TOMBSTONE;
    m->owner[0] = '\0';
    m->root.tree = (struct subtree){.kind = SUBTREE_HOLE};
    manifest_renew(m, r->engine->loop);
    swap_start(&r->swap);
}

static void take_fork(struct roots *r, struct export_tour *t)
{
    uint64_t now_ns = loop_now_ns(r->engine->loop);
    if (!r->abort_forks)
        return;
    r->forking++;
    if (!r->fork_seen_ns)
        r->fork_seen_ns = now_ns;
    if (now_ns - r->fork_seen_ns >= FORK_PATIENCE_NS && !r->aborting)
        abort_fork(r, t);
    else if (r->waits)
        r->waits(r, t->name);
}

static void export_visited(struct export_tour *t)
{
    struct roots_slot *slot = t->ctx;
    struct roots *r = slot->roots;
    bool wanted = t->manifest.id[0] != '\0';
    slot->busy = false;
    r->under_way--;
    if (t->err == ERR_CORRUPT || t->err == ERR_UNSUPPORTED) {
        /* told once, not in every pass */
        if (is_new(r, t->name, "doubt"))
            tell_doubt(r, t->doubt.text);
    }
    if (t->err && t->err != ERR_CORRUPT && t->err != ERR_UNSUPPORTED && t->err != ERR_NOTFOUND && !r->err) {
        r->err = t->err;
        r->complaint = t->get.complaint;
    }
    r->found += wanted && slot->fresh; /* removed ones as well: of a fork made before that none may know */
    if (wanted && t->manifest.state == MANIFEST_FORKING)
        take_fork(r, t);
    else if (wanted && slot->fresh)
        take_export(r, t);
    export_tour_finish(t);
    read_exports(r);
}

static void begin_export(struct roots *r, const char *name)
{
    struct roots_slot *slot = r->slots;
    while (slot->busy)
        slot++;
    slot->busy = true;
    slot->fresh = false;
    slot->roots = r;
    r->under_way++;
    struct export_tour *t = &slot->tour;
    t->engine = r->engine;
    t->ctx = slot;
    t->wanted = export_wanted;
    t->piece = piece_in_log;
    t->done = export_visited;
    snprintf(t->name, sizeof t->name, "%s", name);
    export_tour_start(t);
}

/* --------------------------------------------------------------------------- listings */

static void listed(struct objstore_req *req)
{
    roots_step(CONTAINER_OF(req, struct roots, req));
}

static void list(struct roots *r)
{
    r->state = ROOTS_LISTS;
    r->req = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = "exports/",
                                   .after = r->after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .delimited = true,
                                   .done = listed};
    objstore_submit(r->engine->store, &r->req);
}

/* False: that was the end. */
static bool take_listing(struct roots *r)
{
    struct objstore_req *req = &r->req;
    if (req->err) {
        r->complaint = req->complaint;
        finish(r, req->err);
        return false;
    }
    objstore_entries_free(r->entries, r->entry_count);
    r->entries = req->entries;
    r->entry_count = req->entry_count;
    r->entry = 0;
    r->more = req->truncated && req->entry_count;
    if (r->more)
        snprintf(r->after, sizeof r->after, "%s", req->entries[req->entry_count - 1].key);
    return true;
}

/* ------------------------------------------------------------------------------- pins */

static void list_servers(struct roots *r)
{
    r->state = ROOTS_LISTS_SERVERS;
    r->req = (struct objstore_req){.verb = OBJSTORE_LIST,
                                   .priority = OBJSTORE_BACKGROUND,
                                   .key = "servers/",
                                   .after = r->after,
                                   .list_limit = OBJSTORE_LIST_MAX,
                                   .done = listed};
    objstore_submit(r->engine->store, &r->req);
}

static void next_server(struct roots *r)
{
    if (r->entry < r->entry_count) {
        r->state = ROOTS_READS_SERVER;
        snprintf(r->key.text, sizeof r->key.text, "%s", r->entries[r->entry++].key);
        r->req = (struct objstore_req){.verb = OBJSTORE_GET,
                                       .priority = OBJSTORE_BACKGROUND,
                                       .key = r->key.text,
                                       .limit = HEARTBEAT_BYTES_MAX,
                                       .done = listed};
        objstore_submit(r->engine->store, &r->req);
    } else if (r->more) {
        list_servers(r);
    } else {
        r->state = ROOTS_READS_PAGES;
        if (!r->pages.running)
            page_tour_run(&r->pages);
    }
}

static void take_pins(struct roots *r)
{
    struct objstore_req *req = &r->req;
    struct heartbeat_pin *pins = NULL;
    struct complaint why = {0};
    size_t count = 0;
    enum err err = req->err;
    if (!err) {
        err = heartbeat_pins(req->content->data, req->content->bytes, &pins, &count, &why);
        buf_unref(req->content);
    }
    for (size_t i = 0; !err && i < count; i++)
        add_root(r, &pins[i].root, pins[i].block_size);
    if (count)
        mark_hit("gc-pins");
    mem_free(pins);
    if (err && err != ERR_NOTFOUND)
        tell_doubt(r, r->key.text);
    next_server(r);
}

static void begin_pass(struct roots *r)
{
    r->passes++;
    r->found = r->forking = 0;
    r->after[0] = '\0';
    list(r);
}

static void end_pass(struct roots *r)
{
    if (!r->forking)
        r->fork_seen_ns = 0;
    if (r->forking) {
        r->state = ROOTS_PAUSES;
        timer_start(r->engine->loop, &r->timer, FORK_PAUSE_NS);
    } else if (r->found) {
        begin_pass(r);
    } else {
        r->after[0] = '\0';
        list_servers(r);
    }
}

/* Keeps as many exports under way as there may be. */
static void read_exports(struct roots *r)
{
    bool stop = r->canceled || r->err;
    while (!stop && r->under_way < ROOTS_EXPORTS && r->entry < r->entry_count &&
           r->pages.waiting_count < PAGES_WAITING) {
        char name[EXPORT_NAME_MAX + 1];
        if (key_parse_export(r->entries[r->entry++].key, name))
            begin_export(r, name);
    }
    if (r->under_way)
        return;
    if (stop)
        finish(r, r->err);
    else if (r->entry < r->entry_count)
        return; /* the pages' turn: they call */
    else if (r->more)
        list(r);
    else
        end_pass(r);
}

static void roots_step(struct roots *r)
{
    if (r->canceled && r->state != ROOTS_READS) {
        if (r->state == ROOTS_LISTS || r->state == ROOTS_LISTS_SERVERS)
            objstore_entries_free(r->req.entries, r->req.entry_count);
        else if (r->state == ROOTS_READS_SERVER)
            buf_unref(r->req.content);
        finish(r, ERR_CANCELED);
        return;
    }
    switch (r->state) {
    case ROOTS_LISTS:
        if (!take_listing(r))
            return;
        r->state = ROOTS_READS;
        read_exports(r);
        return;
    case ROOTS_LISTS_SERVERS:
        if (take_listing(r))
            next_server(r);
        return;
    case ROOTS_READS_SERVER:
        take_pins(r);
        return;
    case ROOTS_READS:
        read_exports(r);
        return;
    case ROOTS_PAUSES:
        begin_pass(r);
        return;
    case ROOTS_READS_PAGES:
    case ROOTS_ENDED:
        return;
    }
}

static void timer_fired(struct timer *t)
{
    roots_step(CONTAINER_OF(t, struct roots, timer));
}

/* The pages have made room; meanwhile the exports may have gone on. */
static void task_run(struct task *t)
{
    struct roots *r = CONTAINER_OF(t, struct roots, task);
    if (r->state == ROOTS_READS)
        read_exports(r);
}

void roots_start(struct roots *r)
{
    assert(r->done);
    r->err = ERR_OK;
    r->complaint.text[0] = '\0';
    r->doubts = r->exports = 0;
    r->known = (struct digests){0};
    memset(r->slots, 0, sizeof r->slots);
    r->under_way = r->passes = 0;
    r->entries = NULL;
    r->entry_count = r->entry = 0;
    r->canceled = r->aborting = false;
    r->fork_seen_ns = 0;
    r->timer = (struct timer){.fire = timer_fired};
    r->task = (struct task){.run = task_run};
    r->pages = (struct page_tour){.engine = r->engine,
                                  .reference = page_referred_to,
                                  .piece = piece_in_page,
                                  .unreadable = page_unreadable,
                                  .done = pages_idle};
    page_tour_init(&r->pages);
    begin_pass(r);
}

void roots_cancel(struct roots *r)
{
    if (r->state == ROOTS_ENDED || r->canceled)
        return;
    r->canceled = true;
    if (r->state == ROOTS_LISTS || r->state == ROOTS_LISTS_SERVERS || r->state == ROOTS_READS_SERVER)
        objstore_cancel(&r->req);
    else if (r->state == ROOTS_PAUSES)
        timer_start(r->engine->loop, &r->timer, 0);
    else if (r->state == ROOTS_READS_PAGES)
        finish(r, ERR_CANCELED);
    for (unsigned i = 0; i < ROOTS_EXPORTS; i++)
        if (r->slots[i].busy)
            export_tour_cancel(&r->slots[i].tour);
    if (r->aborting)
        swap_cancel(&r->swap);
    if (r->state == ROOTS_READS)
        loop_post(r->engine->loop, &r->task);
}

void roots_finish(struct roots *r)
{
    assert(r->state == ROOTS_ENDED && !r->under_way);
    task_cancel(&r->task);
    page_tour_finish(&r->pages);
    digests_finish(&r->known);
}
