#include "server/exports.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"

/* As long as a client waits: when the last one leaves, the opening is canceled. */
#define OPEN_PATIENCE_NS (UINT64_C(365) * 24 * 3600 * NS_PER_S)

void exports_init(struct exports *x, struct loop *l, struct engine *engine,
                  const struct export_params *auto_create, void (*emptied)(struct exports *))
{
    memset(x, 0, sizeof *x);
    x->loop = l;
    x->engine = engine;
    x->auto_create = auto_create;
    x->emptied = emptied;
    list_init(&x->open);
    list_init(&x->waiters);
}

static struct export *find(const struct exports *x, const char *name)
{
    LIST_EACH(&x->open, k)
    if (strcmp(CONTAINER_OF(k, struct export, link)->name, name) == 0)
        return CONTAINER_OF(k, struct export, link);
    return NULL;
}

struct volume *exports_find(const struct exports *x, const char *name)
{
    struct export *e = find(x, name);
    return e && e->state == EXPORT_OPEN && !e->lost ? e->volume : NULL;
}

size_t exports_users(const struct exports *x, const char *name)
{
    const struct export *e = find(x, name);
    size_t n = 0;
    if (e) {
        LIST_EACH(&e->users, k)
        n++;
        LIST_EACH(&e->waiting, k)
        n++;
    }
    return n;
}

static void tell_idle(struct task *t)
{
    struct exports_waiter *w = CONTAINER_OF(t, struct exports_waiter, task);
    w->idle(w);
}

static void tell_waiters(struct exports *x)
{
    LIST_EACH(&x->waiters, k)
    {
        struct exports_waiter *w = CONTAINER_OF(k, struct exports_waiter, link);
        if (find(x, w->name))
            continue;
        list_remove(k);
        loop_post(x->loop, &w->task);
    }
}

void exports_when_idle(struct exports *x, const char *name, struct exports_waiter *w)
{
    w->name = name;
    w->task = (struct task){.run = tell_idle};
    memset(&w->link, 0, sizeof w->link);
    list_push(&x->waiters, &w->link);
    tell_waiters(x);
}

static void export_free(struct export *e)
{
    struct exports *x = e->exports;
    assert(list_empty(&e->users) && list_empty(&e->waiting));
    task_cancel(&e->tell);
    list_remove(&e->link);
    mem_free(e->name);
    mem_free(e);
    tell_waiters(x);
    if (--x->count == 0)
        x->emptied(x);
}

/* ----------------------------------------------------------------- opening */

/* Telling one may make it leave, and the export close. */
static void tell_opened(struct export *e)
{
    while (e->state == EXPORT_OPEN && !e->lost && !list_empty(&e->waiting)) {
        struct export_user *u = CONTAINER_OF(list_pop(&e->waiting), struct export_user, link);
        u->waits = false;
        list_push(&e->users, &u->link);
        u->joined(u, ERR_OK, NULL);
    }
}

/* Whoever joins from now on tries anew, with another struct. */
static void tell_failed(struct export *e, enum err err, const struct complaint *why)
{
    struct link *k;
    list_remove(&e->link);
    e->state = EXPORT_CLOSING;
    while ((k = list_pop(&e->waiting))) {
        struct export_user *u = CONTAINER_OF(k, struct export_user, link);
        u->waits = false;
        u->export = NULL;
        u->joined(u, err, why);
    }
}

static void begin_close(struct export *);

static void volume_lost(struct volume *v, void *ctx, enum err why)
{
    (void)v;
    struct export *e = ctx;
    e->lost = true;
    log_error("server", "export \"%s\" is lost: %s; its connections are closed", e->name, err_text(why));
    LIST_EACH(&e->users, k)
    CONTAINER_OF(k, struct export_user, link)->lost(CONTAINER_OF(k, struct export_user, link));
    if (list_empty(&e->users) && e->state == EXPORT_OPEN)
        begin_close(e);
}

static void begin_open(struct export *);

static void export_opened(struct volume_open *o)
{
    struct export *e = CONTAINER_OF(o, struct export, opening);
    if (o->err == ERR_CANCELED && !list_empty(&e->waiting)) {
        begin_open(e);
        return;
    }
    if (o->err) {
        tell_failed(e, o->err, &o->complaint);
        export_free(e);
        return;
    }
    e->state = EXPORT_OPEN;
    e->volume = o->volume;
    if (list_empty(&e->waiting) || e->lost)
        begin_close(e);
    else
        tell_opened(e);
}

static void begin_open(struct export *e)
{
    e->state = EXPORT_OPENING;
    e->lost = false;
    e->volume = NULL;
    e->opening = (struct volume_open){
        .engine = e->exports->engine,
        .name = e->name,
        .create = e->exports->auto_create,
        .patience_ns = OPEN_PATIENCE_NS,
        .lost = volume_lost,
        .ctx = e,
        .done = export_opened,
    };
    volume_open(&e->opening);
}

static void tell_joined(struct task *t)
{
    tell_opened(CONTAINER_OF(t, struct export, tell));
}

/* ----------------------------------------------------------------- closing */

static void export_closed(struct volume_close *c)
{
    struct export *e = CONTAINER_OF(c, struct export, closing);
    if (c->err == ERR_CANCELED)
        log_warn("server", "export \"%s\" was not closed cleanly: what was not flushed is lost", e->name);
    if (list_empty(&e->waiting))
        export_free(e);
    else
        begin_open(e);
}

static void begin_close(struct export *e)
{
    e->state = EXPORT_CLOSING;
    e->closing = (struct volume_close){.volume = e->volume, .done = export_closed};
    e->volume = NULL;
    volume_close(&e->closing);
}

/* ------------------------------------------------------------ join and leave */

void exports_join(struct exports *x, const char *name, struct export_user *u)
{
    struct export *e = find(x, name);
    assert(!u->export);
    bool fresh = !e;
    if (fresh) {
        e = MEM_NEW(struct export);
        e->exports = x;
        e->name = mem_strdup(name);
        e->tell.run = tell_joined;
        list_init(&e->users);
        list_init(&e->waiting);
        list_push(&x->open, &e->link);
        x->count++;
    }
    u->export = e;
    u->waits = true;
    list_push(&e->waiting, &u->link);
    if (fresh)
        begin_open(e);
    else if (e->state == EXPORT_OPEN)
        loop_post(x->loop, &e->tell);
}

void exports_leave(struct export_user *u)
{
    struct export *e = u->export;
    if (!e)
        return;
    list_remove(&u->link);
    u->export = NULL;
    u->waits = false;
    bool deserted = list_empty(&e->users) && (list_empty(&e->waiting) || e->lost);
    if (e->state == EXPORT_OPEN && deserted)
        begin_close(e);
    else if (e->state == EXPORT_OPENING && list_empty(&e->waiting))
        volume_open_cancel(&e->opening);
}

void exports_abandon(struct exports *x)
{
    LIST_EACH(&x->open, k)
    {
        struct export *e = CONTAINER_OF(k, struct export, link);
        if (e->state == EXPORT_OPENING)
            volume_open_cancel(&e->opening);
        else if (e->state == EXPORT_CLOSING)
            volume_close_abandon(&e->closing);
    }
}
