/* Exports, their snapshots and their forks, as the tree that they are. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/show.h"

#define NONE SIZE_MAX

struct node {
    const struct export_info *export;
    const struct snapshot_info *snapshot;         /* NULL: the export itself */
    size_t parent, first_child, last_child, next; /* by number */
    bool shown;
};

struct tree {
    struct node *nodes;
    size_t count;
    size_t *path; /* from a root to the node at hand */
};

static void plant(struct tree *t, const struct export_info *first)
{
    size_t room = 0;
    for (const struct export_info *i = first; i; i = i->next)
        room += 1 + i->snapshot_count;
    t->nodes = MEM_ARRAY(struct node, room + 1);
    t->path = MEM_ARRAY(size_t, room + 1);
    for (const struct export_info *i = first; i; i = i->next) {
        size_t own = t->count;
        t->nodes[t->count++] = (struct node){i, NULL, NONE, NONE, NONE, NONE, false};
        for (size_t s = 0; s < i->snapshot_count; s++)
            t->nodes[t->count++] = (struct node){i, &i->snapshots[s], own, NONE, NONE, NONE, false};
    }
}

static int by_id(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;
    return strcmp((*x)->export->id, (*y)->export->id);
}

/* Where a fork grows: from its parent's snapshot, or from the parent when that is gone. */
static size_t origin(const struct tree *t, struct node **exports, size_t export_count,
                     const struct node *fork)
{
    struct export_info wanted = {.id = ""};
    struct node key = {.export = &wanted}, *at = &key;
    memcpy(wanted.id, fork->export->parent_id, sizeof wanted.id);
    struct node **found =
        fork->export->parent ? bsearch(&at, exports, export_count, sizeof(void *), by_id) : NULL;
    if (!found)
        return NONE;
    const struct export_info *parent = (*found)->export;
    size_t number = (size_t)(*found - t->nodes);
    for (size_t s = 0; fork->export->parent_snapshot && s < parent->snapshot_count; s++)
        if (strcmp(parent->snapshots[s].name, fork->export->parent_snapshot) == 0)
            return number + 1 + s;
    return number;
}

static void graft_forks(struct tree *t)
{
    struct node **exports = MEM_ARRAY(struct node *, t->count + 1);
    size_t n = 0;
    for (size_t i = 0; i < t->count; i++)
        if (!t->nodes[i].snapshot)
            exports[n++] = &t->nodes[i];
    if (n)
        qsort(exports, n, sizeof(void *), by_id);
    for (size_t i = 0; i < t->count; i++)
        if (!t->nodes[i].snapshot)
            t->nodes[i].parent = origin(t, exports, n, &t->nodes[i]);
    mem_free(exports);
    for (size_t i = 0; i < t->count; i++) {
        struct node *p = t->nodes[i].parent == NONE ? NULL : &t->nodes[t->nodes[i].parent];
        if (!p)
            continue;
        if (p->first_child == NONE)
            p->first_child = i;
        else
            t->nodes[p->last_child].next = i;
        p->last_child = i;
    }
}

static char *label(const struct tree *t, size_t number, size_t depth)
{
    const struct node *n = &t->nodes[number];
    size_t indent = 2 * MIN(depth, (size_t)32);
    const char *name = n->snapshot ? n->snapshot->name : n->export->name;
    char *text = mem_alloc(indent + strlen(name) + 2);
    memset(text, ' ', indent);
    text[indent] = '@';
    memcpy(text + indent + (n->snapshot != NULL), name, strlen(name) + 1);
    return text;
}

/* Down to the leaves, without recursion: a chain of forks may be long. */
static void show_from(struct tree *t, size_t root,
                      void (*show)(void *, const char *, const struct export_info *,
                                   const struct snapshot_info *),
                      void *ctx)
{
    size_t depth = 0;
    t->path[0] = root;
    while (true) {
        size_t at = t->path[depth];
        struct node *n = &t->nodes[at];
        char *text = label(t, at, depth);
        n->shown = true;
        show(ctx, text, n->export, n->snapshot);
        mem_free(text);
        if (n->first_child != NONE && !t->nodes[n->first_child].shown) {
            t->path[++depth] = n->first_child;
            continue;
        }
        while (t->nodes[t->path[depth]].next == NONE || depth == 0) {
            if (depth == 0)
                return;
            depth--;
        }
        t->path[depth] = t->nodes[t->path[depth]].next;
    }
}

void show_tree_walk(const struct export_info *first,
                    void (*show)(void *, const char *, const struct export_info *,
                                 const struct snapshot_info *),
                    void *ctx)
{
    struct tree t = {.count = 0};
    plant(&t, first);
    graft_forks(&t);
    for (size_t i = 0; i < t.count; i++)
        if (t.nodes[i].parent == NONE)
            show_from(&t, i, show, ctx);
    for (size_t i = 0; i < t.count; i++) /* a ring, which nobody could have made */
        if (!t.nodes[i].shown)
            show_from(&t, i, show, ctx);
    mem_free(t.nodes);
    mem_free(t.path);
}
