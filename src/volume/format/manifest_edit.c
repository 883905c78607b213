/* Parts of a manifest: its table of snapshots, its parent. */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "volume/format/manifest.h"

struct manifest_snapshot *manifest_snapshot(const struct manifest *m, const char *name)
{
    for (size_t i = 0; i < m->snapshot_count; i++)
        if (strcmp(m->snapshots[i].name, name) == 0)
            return &m->snapshots[i];
    return NULL;
}

/* No two are the same: an export has its own, and a name in it can be taken twice only at another time or
 * from another version of the manifest. */
static void make_id(const struct manifest *m, struct manifest_snapshot *s)
{
    char text[2 * ID_HEX + EXPORT_NAME_MAX + 100];
    int n = snprintf(text, sizeof text, "snapshot %s %s %llu %lld %s", m->id, m->nonce,
                     (unsigned long long)m->serial, (long long)s->created_ms, s->name);
    struct sha256 hash = sha256_of(text, (size_t)n);
    hex_encode(hash.bytes, (ID_HEX - 1) / 2, s->id);
}

enum err manifest_add_snapshot(struct manifest *m, const char *export, const char *name, int64_t created_ms,
                               struct complaint *c)
{
    enum err err = snapshot_name_check(name, c);
    if (err)
        return err;
    if (manifest_snapshot(m, name))
        return complain(c, ERR_CONFLICT, "export %s has a snapshot %s already", export, name);
    if (m->snapshot_count >= MANIFEST_SNAPSHOTS_MAX)
        return complain(c, ERR_INVALID, "export %s has %u snapshots, and can have no more: remove some first",
                        export, MANIFEST_SNAPSHOTS_MAX);
    m->snapshots = mem_realloc(m->snapshots, (m->snapshot_count + 1) * sizeof *m->snapshots);
    struct manifest_snapshot *s = &m->snapshots[m->snapshot_count++];
    *s = (struct manifest_snapshot){
        .name = mem_strdup(name), .size = m->params.size, .created_ms = created_ms, .root = m->root};
    make_id(m, s);
    return ERR_OK;
}

enum err manifest_remove_snapshot(struct manifest *m, const char *export, const char *name,
                                  struct complaint *c)
{
    struct manifest_snapshot *s = manifest_snapshot(m, name);
    if (!s)
        return complain(c, ERR_NOTFOUND, "export %s has no snapshot %s", export, name);
    mem_free(s->name);
    size_t at = (size_t)(s - m->snapshots);
    memmove(s, s + 1, (--m->snapshot_count - at) * sizeof *s);
    return ERR_OK;
}

void manifest_set_parent(struct manifest *m, const char *name, const char *id, const char *snapshot)
{
    mem_free(m->parent.name);
    mem_free(m->parent.snapshot);
    m->parent.name = mem_strdup(name);
    memcpy(m->parent.id, id, sizeof m->parent.id);
    m->parent.snapshot = snapshot ? mem_strdup(snapshot) : NULL;
}

void manifest_strip(struct manifest *m)
{
    m->owner[0] = '\0';
    m->root.tree = (struct subtree){.kind = SUBTREE_HOLE};
    mem_free(m->segments);
    m->segments = NULL;
    m->segment_count = 0;
    for (size_t i = 0; i < m->snapshot_count; i++)
        mem_free(m->snapshots[i].name);
    mem_free(m->snapshots);
    m->snapshots = NULL;
    m->snapshot_count = 0;
    mem_free(m->parent.name);
    mem_free(m->parent.snapshot);
    m->parent = (struct manifest_parent){.name = NULL};
}
