#include "volume/format/gc_state.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/format/document.h"
#include "volume/format/envelope.h"
#include "volume/format/table.h"

static const char kind[] = "collector";
static const char list_magic[4] = {'A', 'S', 'H', 'C'};

enum {
    AT_TURN = 12,
    AT_BLOCKS = 48,
    AT_MAPS = 52,
    AT_HINTS = 56,
    AT_RESERVED = 60,
    HEAD_BYTES = 64,
    HINT_BYTES = 2 * OBJECT_ENTRY_BYTES + 12 + 32,
};

/* -------------------------------------------------------------------- gc/state */

struct buf *gc_state_encode(const struct gc_state *s)
{
    assert(s->serial <= INT64_MAX && s->list_count <= GC_LISTS_MAX);
    json_t *o = document_create(kind), *lists = json_array();
    for (size_t i = 0; i < s->list_count; i++) {
        char hash[SHA256_HEX];
        hex_encode(s->lists[i].object.hash.bytes, sizeof s->lists[i].object.hash.bytes, hash);
        json_t *list = json_pack("{s:s, s:I}", "list", hash, "bytes", (json_int_t)s->lists[i].bytes);
        assert(list);
        json_array_append_new(lists, list);
    }
    json_t *members = json_pack("{s:I, s:s, s:I, s:o}", "serial", (json_int_t)s->serial, "nonce", s->nonce,
                                "turn", (json_int_t)s->turn, "condemned", lists);
    assert(members);
    json_object_update(o, members);
    json_decref(members);
    return document_encode(o, GC_STATE_BYTES_MAX);
}

enum err gc_state_parse(const void *bytes, size_t n, struct gc_state *s, struct complaint *complaint)
{
    json_t *o;
    enum err err = document_parse(bytes, n, GC_STATE_BYTES_MAX, kind, &o, complaint);
    if (err)
        return err;
    const char *bad = NULL;
    struct reader r = {o, &bad};
    struct gc_state read = {0};
    read.serial = (uint64_t)read_int(&r, "serial", 1, INT64_MAX);
    read_hex(&r, "nonce", ID_HEX - 1, false, read.nonce);
    read.turn = (uint32_t)read_int(&r, "turn", 1, UINT32_MAX);
    const json_t *lists = read_array(&r, "condemned", GC_LISTS_MAX);
    read.list_count = json_array_size(lists);
    for (size_t i = 0; i < read.list_count; i++) {
        struct reader in = read_element(&r, lists, i, "condemned");
        struct gc_list_ref *list = &read.lists[i];
        char hash[SHA256_HEX];
        read_hex(&in, "list", 64, false, hash);
        if (hash[0] && !hex_decode(hash, list->object.hash.bytes, sizeof list->object.hash.bytes))
            reader_refuse(&in, "list");
        list->object.turn = read.turn;
        list->bytes = (uint32_t)read_int(&in, "bytes", HEAD_BYTES, GC_LIST_BYTES_MAX);
    }
    json_decref(o);
    if (bad)
        return complain(complaint, ERR_CORRUPT, "the collector's \"%s\" is missing or not possible", bad);
    *s = read;
    return ERR_OK;
}

/* ----------------------------------------------------------------------- lists */

static size_t list_bytes(uint64_t blocks, uint64_t maps, uint64_t hints)
{
    return (size_t)(HEAD_BYTES + (blocks + maps) * OBJECT_ENTRY_BYTES + hints * HINT_BYTES);
}

struct buf *gc_list_encode(const struct gc_list *l)
{
    size_t bytes = list_bytes(l->block_count, l->map_count, l->hint_count);
    assert(bytes <= GC_LIST_BYTES_MAX);
    struct buf *b = buf_create(bytes);
    memset(b->data, 0, HEAD_BYTES);
    put_le32(b->data + AT_TURN, l->turn);
    put_le32(b->data + AT_BLOCKS, l->block_count);
    put_le32(b->data + AT_MAPS, l->map_count);
    put_le32(b->data + AT_HINTS, l->hint_count);
    uint8_t *to = b->data + HEAD_BYTES;
    for (uint32_t i = 0; i < l->block_count; i++, to += OBJECT_ENTRY_BYTES)
        object_entry_put(to, &l->blocks[i]);
    for (uint32_t i = 0; i < l->map_count; i++, to += OBJECT_ENTRY_BYTES)
        object_entry_put(to, &l->maps[i]);
    for (uint32_t i = 0; i < l->hint_count; i++, to += HINT_BYTES) {
        const struct gc_hint *h = &l->hints[i];
        uint8_t *second = to + OBJECT_ENTRY_BYTES, *rest = second + OBJECT_ENTRY_BYTES;
        object_entry_put(to, &h->from);
        object_entry_put(second, &h->to);
        put_le32(rest, h->from_offset);
        put_le32(rest + 4, h->to_offset);
        put_le32(rest + 8, h->bytes);
        memcpy(rest + 12, h->hash.bytes, sizeof h->hash.bytes);
    }
    envelope_close(b->data, bytes, list_magic);
    return b;
}

enum err gc_list_parse(const void *bytes, size_t n, struct gc_list_view *v)
{
    const uint8_t *b = bytes;
    if (n < HEAD_BYTES || n > GC_LIST_BYTES_MAX)
        return ERR_CORRUPT;
    enum err err = envelope_check(b, n, list_magic);
    if (err)
        return err;
    struct gc_list_view read = {.turn = get_le32(b + AT_TURN),
                                .block_count = get_le32(b + AT_BLOCKS),
                                .map_count = get_le32(b + AT_MAPS),
                                .hint_count = get_le32(b + AT_HINTS),
                                .entries = b + HEAD_BYTES};
    if (get_le32(b + AT_RESERVED) || read.block_count > GC_NAMES_MAX || read.map_count > GC_NAMES_MAX ||
        read.hint_count > GC_HINTS_MAX || list_bytes(read.block_count, read.map_count, read.hint_count) != n)
        return ERR_CORRUPT;
    *v = read;
    return ERR_OK;
}

void gc_list_block(const struct gc_list_view *v, uint32_t i, struct object_name *name)
{
    assert(i < v->block_count);
    object_entry_get(v->entries + (size_t)i * OBJECT_ENTRY_BYTES, name);
}

void gc_list_map(const struct gc_list_view *v, uint32_t i, struct object_name *name)
{
    assert(i < v->map_count);
    object_entry_get(v->entries + ((size_t)v->block_count + i) * OBJECT_ENTRY_BYTES, name);
}

void gc_list_hint(const struct gc_list_view *v, uint32_t i, struct gc_hint *h)
{
    assert(i < v->hint_count);
    const uint8_t *from =
        v->entries + ((size_t)v->block_count + v->map_count) * OBJECT_ENTRY_BYTES + (size_t)i * HINT_BYTES;
    const uint8_t *second = from + OBJECT_ENTRY_BYTES, *rest = second + OBJECT_ENTRY_BYTES;
    object_entry_get(from, &h->from);
    object_entry_get(second, &h->to);
    h->from_offset = get_le32(rest);
    h->to_offset = get_le32(rest + 4);
    h->bytes = get_le32(rest + 8);
    memcpy(h->hash.bytes, rest + 12, sizeof h->hash.bytes);
}
