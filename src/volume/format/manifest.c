#include "volume/format/manifest.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "volume/format/document.h"
#include "volume/format/root.h"

static const char kind[] = "manifest";
static const char *const states[] = {"open", "closed", "tombstone", "forking"};

/* -------------------------------------------------------------------- memory */

void manifest_finish(struct manifest *m)
{
    mem_free(m->parent.name);
    mem_free(m->parent.snapshot);
    for (size_t i = 0; i < m->snapshot_count; i++)
        mem_free(m->snapshots[i].name);
    mem_free(m->snapshots);
    mem_free(m->segments);
    memset(m, 0, sizeof *m);
}

void manifest_copy(struct manifest *to, const struct manifest *from)
{
    *to = *from;
    to->parent = (struct manifest_parent){.name = NULL};
    if (from->parent.name)
        manifest_set_parent(to, from->parent.name, from->parent.id, from->parent.snapshot);
    to->segments = NULL;
    to->snapshots = NULL;
    if (from->segment_count)
        to->segments = mem_dup(from->segments, from->segment_count * sizeof *from->segments);
    if (from->snapshot_count)
        to->snapshots = mem_dup(from->snapshots, from->snapshot_count * sizeof *from->snapshots);
    for (size_t i = 0; i < from->snapshot_count; i++)
        to->snapshots[i].name = mem_strdup(from->snapshots[i].name);
}

/* ------------------------------------------------------------- what must hold */

static const char *params_fault(const struct export_params *p)
{
    if (p->size == 0 || p->size > INT64_MAX)
        return "size";
    if (p->block_size < BLOCK_SIZE_MIN || p->block_size > BLOCK_SIZE_MAX ||
        (p->block_size & (p->block_size - 1)))
        return "block_size";
    if (p->object_size < p->block_size || p->object_size > OBJECT_SIZE_MAX || p->object_size % p->block_size)
        return "object_size";
    return NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool names_differ(const struct manifest *m)
{
    if (m->snapshot_count < 2)
        return true;
    const char **names = mem_calloc(m->snapshot_count, sizeof *names);
    for (size_t i = 0; i < m->snapshot_count; i++)
        names[i] = m->snapshots[i].name;
    qsort(names, m->snapshot_count, sizeof *names, compare_names);
    bool differ = true;
    for (size_t i = 1; i < m->snapshot_count; i++)
        differ = differ && strcmp(names[i - 1], names[i]) != 0;
    mem_free(names);
    return differ;
}

static bool segments_hold(const struct manifest *m)
{
    if (m->segment_count > MANIFEST_SEGMENTS_MAX || (m->segment_count && m->state != MANIFEST_OPEN))
        return false;
    for (size_t i = 0; i < m->segment_count; i++) {
        const struct segment *s = &m->segments[i];
        if (s->from >= s->to || s->to > INT64_MAX || s->epoch == 0 || s->epoch >= m->epoch ||
            (i > 0 && s->epoch <= m->segments[i - 1].epoch))
            return false;
    }
    return true;
}

/* The member that is at fault; NULL when all is well. */
static const char *manifest_fault(const struct manifest *m)
{
    const char *fault = params_fault(&m->params);
    if (fault)
        return fault;
    if (m->epoch == 0 && ((m->owner[0] && m->state != MANIFEST_FORKING) || m->state == MANIFEST_OPEN))
        return "epoch";
    if ((m->epoch == 0) != (m->folder[0] == 0))
        return "folder";
    if (!root_holds(&m->root, m->params.block_size, m->params.size))
        return "root";
    if (!segments_hold(m))
        return "segments";
    for (size_t i = 0; i < m->snapshot_count; i++) {
        const struct manifest_snapshot *s = &m->snapshots[i];
        if (!s->name[0] || strlen(s->name) > EXPORT_NAME_MAX || s->size == 0 || s->size > INT64_MAX ||
            !root_holds(&s->root, m->params.block_size, s->size))
            return "snapshots";
    }
    return m->snapshot_count <= MANIFEST_SNAPSHOTS_MAX && names_differ(m) ? NULL : "snapshots";
}

/* -------------------------------------------------------------------- making */

static json_t *checked(json_t *v)
{
    assert(v);
    return v;
}

static json_int_t number(uint64_t v)
{
    assert(v <= INT64_MAX);
    return (json_int_t)v;
}

static json_t *segments_encode(const struct manifest *m)
{
    json_t *array = checked(json_array());
    for (size_t i = 0; i < m->segment_count; i++) {
        const struct segment *s = &m->segments[i];
        json_array_append_new(
            array, checked(json_pack("{s:I, s:s, s:I, s:I}", "epoch", (json_int_t)s->epoch, "folder",
                                     s->nonce, "from", number(s->from), "to", number(s->to))));
    }
    return array;
}

static json_t *snapshots_encode(const struct manifest *m)
{
    json_t *array = checked(json_array());
    for (size_t i = 0; i < m->snapshot_count; i++) {
        const struct manifest_snapshot *s = &m->snapshots[i];
        json_t *o =
            checked(json_pack("{s:s, s:I, s:I, s:o}", "name", s->name, "size", number(s->size), "created_ms",
                              (json_int_t)s->created_ms, "root", root_encode(&s->root)));
        if (s->id[0])
            json_object_set_new(o, "id", checked(json_string(s->id)));
        json_array_append_new(array, o);
    }
    return array;
}

static void encode_parent(const struct manifest *m, json_t *o)
{
    const struct manifest_parent *p = &m->parent;
    if (!p->name)
        return;
    json_t *parent = checked(json_pack("{s:s, s:s}", "name", p->name, "id", p->id));
    if (p->snapshot)
        json_object_set_new(parent, "snapshot", checked(json_string(p->snapshot)));
    json_object_set_new(o, "parent", parent);
}

struct buf *manifest_encode(const struct manifest *m)
{
    assert(manifest_fault(m) == NULL);
    json_t *o = document_create(kind);
    json_t *members = checked(json_pack(
        "{s:I, s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:I, s:I, s:s, s:s, s:I, s:I, s:o, s:o, s:o}", "serial",
        number(m->serial), "nonce", m->nonce, "id", m->id, "state", states[m->state], "size",
        number(m->params.size), "block_size", (json_int_t)m->params.block_size, "object_size",
        (json_int_t)m->params.object_size, "durable_writes", (int)m->params.durable_writes, "created_ms",
        (json_int_t)m->created_ms, "epoch", (json_int_t)m->epoch, "owner", m->owner, "folder", m->folder,
        "position", number(m->position), "breaks", (json_int_t)m->breaks, "root", root_encode(&m->root),
        "segments", segments_encode(m), "snapshots", snapshots_encode(m)));
    json_object_update(o, members);
    json_decref(members);
    encode_parent(m, o);
    if (m->fenced_owner[0])
        json_object_set_new(
            o, "fenced",
            checked(json_pack("{s:s, s:s}", "owner", m->fenced_owner, "nonce", m->fenced_nonce)));
    return document_encode(o, MANIFEST_BYTES_MAX);
}

/* ------------------------------------------------------------------- reading */

static void read_segments(const struct reader *r, struct manifest *m)
{
    const json_t *array = read_array(r, "segments", MANIFEST_SEGMENTS_MAX);
    m->segment_count = json_array_size(array);
    m->segments = m->segment_count ? MEM_ARRAY(struct segment, m->segment_count) : NULL;
    for (size_t i = 0; i < m->segment_count; i++) {
        struct reader in = read_element(r, array, i, "segments");
        m->segments[i].epoch = (uint32_t)read_int(&in, "epoch", 1, UINT32_MAX);
        read_hex(&in, "folder", FOLDER_HEX - 1, false, m->segments[i].nonce);
        m->segments[i].from = (uint64_t)read_int(&in, "from", 0, INT64_MAX);
        m->segments[i].to = (uint64_t)read_int(&in, "to", 0, INT64_MAX);
    }
}

static void read_snapshots(const struct reader *r, struct manifest *m)
{
    const json_t *array = read_array(r, "snapshots", MANIFEST_SNAPSHOTS_MAX);
    m->snapshot_count = json_array_size(array);
    m->snapshots = m->snapshot_count ? MEM_ARRAY(struct manifest_snapshot, m->snapshot_count) : NULL;
    for (size_t i = 0; i < m->snapshot_count; i++) {
        struct reader in = read_element(r, array, i, "snapshots"), root = read_object(&in, "root");
        char name[EXPORT_NAME_MAX + 1];
        read_text(&in, "name", name, sizeof name);
        m->snapshots[i].name = mem_strdup(name);
        m->snapshots[i].size = (uint64_t)read_int(&in, "size", 1, INT64_MAX);
        m->snapshots[i].created_ms = read_int(&in, "created_ms", INT64_MIN, INT64_MAX);
        read_root(&root, &m->snapshots[i].root);
        if (json_object_get(in.object, "id"))
            read_hex(&in, "id", ID_HEX - 1, false, m->snapshots[i].id);
    }
}

static void read_parent(const struct reader *r, struct manifest *m)
{
    char name[EXPORT_NAME_MAX + 1], id[ID_HEX], snapshot[EXPORT_NAME_MAX + 1] = "";
    if (!json_object_get(r->object, "parent"))
        return;
    struct reader in = read_object(r, "parent");
    bool of_snapshot = json_object_get(in.object, "snapshot");
    read_text(&in, "name", name, sizeof name);
    read_hex(&in, "id", ID_HEX - 1, false, id);
    if (of_snapshot)
        read_text(&in, "snapshot", snapshot, sizeof snapshot);
    if (!*r->bad)
        manifest_set_parent(m, name, id, of_snapshot ? snapshot : NULL);
}

static void read_members(const struct reader *r, struct manifest *m)
{
    m->serial = (uint64_t)read_int(r, "serial", 0, INT64_MAX);
    read_hex(r, "nonce", ID_HEX - 1, false, m->nonce);
    read_hex(r, "id", ID_HEX - 1, false, m->id);
    m->state = (enum manifest_state)read_choice(r, "state", states, COUNT_OF(states));
    m->params.size = (uint64_t)read_int(r, "size", 1, INT64_MAX);
    m->params.block_size = (uint32_t)read_int(r, "block_size", BLOCK_SIZE_MIN, BLOCK_SIZE_MAX);
    m->params.object_size = (uint32_t)read_int(r, "object_size", BLOCK_SIZE_MIN, OBJECT_SIZE_MAX);
    m->params.durable_writes = read_bool(r, "durable_writes");
    m->created_ms = read_int(r, "created_ms", INT64_MIN, INT64_MAX);
    m->epoch = (uint32_t)read_int(r, "epoch", 0, UINT32_MAX);
    read_hex(r, "owner", ID_HEX - 1, true, m->owner);
    read_hex(r, "folder", FOLDER_HEX - 1, true, m->folder);
    m->position = (uint64_t)read_int(r, "position", 0, INT64_MAX);
    m->breaks = (uint32_t)read_int(r, "breaks", 0, UINT32_MAX);
    struct reader root = read_object(r, "root");
    read_root(&root, &m->root);
    read_segments(r, m);
    read_snapshots(r, m);
    read_parent(r, m);
    if (json_object_get(r->object, "fenced")) {
        struct reader fenced = read_object(r, "fenced");
        read_hex(&fenced, "owner", ID_HEX - 1, false, m->fenced_owner);
        read_hex(&fenced, "nonce", ID_HEX - 1, false, m->fenced_nonce);
    }
}

enum err manifest_parse(const void *bytes, size_t n, struct manifest *m, struct complaint *complaint)
{
    json_t *o;
    enum err err = document_parse(bytes, n, MANIFEST_BYTES_MAX, kind, &o, complaint);
    if (err)
        return err;
    const char *bad = NULL;
    struct reader r = {o, &bad};
    struct manifest read = {0};
    read_members(&r, &read);
    json_decref(o);
    if (!bad)
        bad = manifest_fault(&read);
    if (bad) {
        manifest_finish(&read);
        return complain(complaint, ERR_CORRUPT, "the manifest's \"%s\" is missing or not possible", bad);
    }
    *m = read;
    return ERR_OK;
}
