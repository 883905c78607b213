#include "server/bases.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void bases_init(struct bases *all, struct engine *engine, void (*emptied)(struct bases *))
{
    all->engine = engine;
    all->emptied = emptied;
    list_init(&all->all);
}

static void base_free(struct base *b)
{
    struct bases *all = b->bases;
    volume_base_close(b->volume_base);
    list_remove(&b->link);
    mem_free(b);
    if (list_empty(&all->all))
        all->emptied(all);
}

static void begin_open(struct base *);

static void base_opened(struct volume_base_open *o)
{
    struct base *b = CONTAINER_OF(o, struct base, opening);
    struct link *k;
    if (o->err == ERR_CANCELED && !list_empty(&b->waiting)) {
        begin_open(b);
        return;
    }
    b->volume_base = o->base;
    b->users++; /* who is told may leave, and make others leave */
    while ((k = list_pop(&b->waiting))) {
        struct base_user *u = CONTAINER_OF(k, struct base_user, link);
        if (o->err) {
            b->users--;
            u->base = NULL;
        }
        u->joined(u, o->err, &o->complaint);
    }
    if (--b->users == 0)
        base_free(b);
}

static void begin_open(struct base *b)
{
    b->opening = (struct volume_base_open){.engine = b->bases->engine, .name = b->name, .done = base_opened};
    volume_base_open(&b->opening);
}

static struct base *find(struct bases *all, const char *name)
{
    LIST_EACH(&all->all, k)
    if (strcmp(CONTAINER_OF(k, struct base, link)->name, name) == 0)
        return CONTAINER_OF(k, struct base, link);
    return NULL;
}

bool bases_join(struct bases *all, const char *name, struct base_user *u)
{
    struct base *b = find(all, name);
    if (!b) {
        b = MEM_NEW(struct base);
        b->bases = all;
        snprintf(b->name, sizeof b->name, "%s", name);
        list_init(&b->waiting);
        list_push(&all->all, &b->link);
        begin_open(b);
    }
    b->users++;
    u->base = b;
    if (!b->volume_base)
        list_push(&b->waiting, &u->link);
    return b->volume_base;
}

void bases_leave(struct base_user *u)
{
    struct base *b = u->base;
    if (!b)
        return;
    u->base = NULL;
    list_remove(&u->link);
    if (--b->users == 0 && b->volume_base)
        base_free(b);
    else if (b->users == 0)
        volume_base_open_cancel(&b->opening);
}
