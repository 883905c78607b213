#include "volume/gc/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"

void names_add(struct names *n, const struct object_name *name)
{
    if (n->count == n->room) {
        n->room = MAX(2 * n->room, 256);
        n->names = mem_realloc(n->names, n->room * sizeof *n->names);
    }
    n->names[n->count++] = *name;
}

static int compare(const void *a, const void *b)
{
    const struct object_name *x = a, *y = b;
    int order = memcmp(x->hash.bytes, y->hash.bytes, sizeof x->hash.bytes);
    return order ? order : (x->turn > y->turn) - (x->turn < y->turn);
}

void names_sort(struct names *n)
{
    if (n->count)
        qsort(n->names, n->count, sizeof *n->names, compare);
}

bool names_has(const struct names *n, const struct object_name *name)
{
    return n->count && bsearch(name, n->names, n->count, sizeof *n->names, compare);
}

void names_finish(struct names *n)
{
    mem_free(n->names);
    *n = (struct names){0};
}
