/* Changes to the manifest of a live volume: they wait for the next checkpoint's swap. */
#include <assert.h>
#include <string.h>

#include "base/log.h"
#include "base/mark.h"
#include "base/mem.h"
#include "volume/volume_state.h"

static struct volume_change *change_of(struct link *k)
{
    return CONTAINER_OF(k, struct volume_change, link);
}

/* ----------------------------------------------------------------------- the end of one */

static void deliver(struct task *t)
{
    struct volume_change *c = CONTAINER_OF(t, struct volume_change, task);
    c->done(c);
}

static void finish(struct volume *v, struct volume_change *c)
{
    static const char *const what[] = {"snapshot taken", "snapshot removed", "resized", "checkpoint"};
    if (!c->err && c->verb != VOLUME_CHECKPOINT)
        log_info("export", "%s: %s%s%s", v->name, what[c->verb], c->name ? ": " : "", c->name ? c->name : "");
    c->task = (struct task){.run = deliver};
    loop_post(v->engine->loop, &c->task);
}

void changes_refuse(struct volume *v, struct list *changes, enum err why)
{
    struct link *k;
    while ((k = list_pop(changes))) {
        struct volume_change *c = change_of(k);
        if (why == ERR_FENCED)
            c->err = complain(&c->complaint, why,
                              "export %s was taken over by another server before this was known to be done: "
                              "look whether it was, or try again",
                              v->name);
        else if (why == ERR_UNKNOWN)
            c->err = complain(&c->complaint, why,
                              "export %s was given up while this was being stored: look whether it was done",
                              v->name);
        else
            c->err = complain(&c->complaint, why, "export %s was given up before this was done", v->name);
        finish(v, c);
    }
}

void changes_confirm(struct volume *v, struct list *changes)
{
    struct link *k;
    while ((k = list_pop(changes)))
        finish(v, change_of(k));
}

/* -------------------------------------------------------------------------- making them */

static bool too_small(const struct volume_change *c, uint64_t size)
{
    return c->size < size && !c->shrink;
}

uint64_t changes_size(const struct volume *v, const struct list *changes)
{
    uint64_t size = v->params.size;
    LIST_EACH(changes, k)
    {
        const struct volume_change *c = change_of(k);
        if (c->verb == VOLUME_RESIZE && c->size && c->size <= INT64_MAX && !too_small(c, size))
            size = c->size;
    }
    return size;
}

bool changes_need_swap(const struct list *changes)
{
    LIST_EACH(changes, k)
    if (change_of(k)->verb != VOLUME_CHECKPOINT)
        return true;
    return false;
}

static enum err add_snapshot(const struct volume *v, struct volume_change *c, struct manifest *next)
{
    enum err err =
        manifest_add_snapshot(next, v->name, c->name, loop_wall_ms(v->engine->loop), &c->complaint);
    if (!err && c->id)
        memcpy(manifest_snapshot(next, c->name)->id, c->id, ID_HEX);
    return err;
}

static enum err make(const struct volume *v, struct volume_change *c, struct manifest *next)
{
    switch (c->verb) {
    case VOLUME_SNAPSHOT:
        return add_snapshot(v, c, next);
    case VOLUME_REMOVE_SNAPSHOT:
        return manifest_remove_snapshot(next, v->name, c->name, &c->complaint);
    case VOLUME_RESIZE:
        if (c->size == 0 || c->size > INT64_MAX)
            return complain(&c->complaint, ERR_INVALID, "the size of an export is 1 byte to 2^63 - 1 bytes");
        if (too_small(c, next->params.size))
            return complain(&c->complaint, ERR_INVALID,
                            "export %s has %llu bytes: it can be made smaller only while nobody is connected",
                            v->name, (unsigned long long)next->params.size);
        next->params.size = c->size;
        return ERR_OK;
    case VOLUME_CHECKPOINT:
        return ERR_OK;
    }
    assert(!"changes: no such verb");
    return ERR_INVALID;
}

void changes_make(struct volume *v, struct list *changes, struct manifest *next)
{
    LIST_EACH(changes, k)
    change_of(k)->err = make(v, change_of(k), next);
}

static bool was_made(const struct volume_change *c, const struct manifest *next, const struct manifest *found)
{
    const struct manifest_snapshot *there = c->name ? manifest_snapshot(found, c->name) : NULL;
    const struct manifest_snapshot *made = c->name ? manifest_snapshot(next, c->name) : NULL;
    switch (c->verb) {
    case VOLUME_SNAPSHOT:
        return there && made && there->created_ms == made->created_ms && there->size == made->size &&
               there->root.tree.kind == made->root.tree.kind &&
               sha256_equal(&there->root.tree.page.hash, &made->root.tree.page.hash);
    case VOLUME_REMOVE_SNAPSHOT:
        return !there;
    case VOLUME_RESIZE:
        return found->params.size == c->size;
    case VOLUME_CHECKPOINT:
        return false;
    }
    return false;
}

void changes_compare(struct volume *v, struct list *changes, const struct manifest *next,
                     const struct manifest *found)
{
    if (!found->serial || strcmp(found->id, next->id) != 0 || found->state == MANIFEST_TOMBSTONE)
        return;
    LIST_EACH(changes, k)
    {
        struct volume_change *c = change_of(k);
        if (c->err || !was_made(c, next, found))
            continue;
        mark_hit("change-found-made");
        list_remove(k);
        finish(v, c);
    }
}

/* ------------------------------------------------------------------------------- public */

void volume_change(struct volume_change *c)
{
    struct volume *v = c->volume;
    assert(c->done && !v->closing && !v->opening && !v->snapshot);
    c->complaint.text[0] = '\0';
    c->err = ERR_OK;
    memset(&c->link, 0, sizeof c->link);
    list_push(&v->changes, &c->link);
    if (v->lost)
        changes_refuse(v, &v->changes, ERR_FENCED);
    else
        checkpoint_want(v);
}
