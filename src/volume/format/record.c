#include "volume/format/record.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "volume/format/envelope.h"
#include "volume/format/table.h"

/* docs/FORMAT.md: The log */
enum { HEAD_BYTES = 136, ENTRY_BYTES = 24 };
enum { AT_FLAGS = 6, AT_EPOCH = 12, AT_EXPORT = 48, AT_FOLDER = 64, AT_SLOT = 72, AT_FIRST = 80 };
enum { AT_OBJECTS = 88, AT_PIECES = 92, AT_ENTRIES = 96, AT_DATA = 100, AT_RESERVED = 104 };
enum { ENTRY_AT_BYTES = 8, ENTRY_AT_WHAT = 16, ENTRY_AT_SKIP = 20 };
enum { SEAL_AT_SERVER = 80, SEAL_AT_NONCE = 96, SEAL_AT_RESERVED = 112 };

#define FLAG_LAST   1u
#define WHAT_HOLE   UINT32_C(0xffffffff)
#define WHAT_ZEROS  UINT32_C(0xfffffffe)
#define WHAT_INLINE UINT32_C(0xfffffffd)

static const char record_magic[4] = {'A', 'S', 'H', 'R'}, seal_magic[4] = {'A', 'S', 'H', 'S'};

_Static_assert(HEAD_BYTES > SEAL_BYTES, "every record is longer than a seal");

/* -------------------------------------------------------------------- making */

struct record_builder {
    size_t bytes_max;
    struct piece_tables tables;
    uint8_t *entries, *data; /* skip of an inline entry: within data, until it is encoded */
    size_t entry_count, entry_capacity, data_bytes, data_capacity;
};

struct record_builder *record_builder_create(size_t bytes_max)
{
    assert(bytes_max <= RECORD_BYTES_MAX);
    struct record_builder *b = MEM_NEW(struct record_builder);
    b->bytes_max = bytes_max;
    piece_tables_init(&b->tables);
    return b;
}

void record_builder_destroy(struct record_builder *b)
{
    if (!b)
        return;
    piece_tables_finish(&b->tables);
    mem_free(b->entries);
    mem_free(b->data);
    mem_free(b);
}

void record_builder_reset(struct record_builder *b)
{
    piece_tables_reset(&b->tables);
    b->entry_count = b->data_bytes = 0;
}

static size_t record_bytes(const struct record_builder *b)
{
    return HEAD_BYTES + piece_tables_bytes(&b->tables) + b->entry_count * ENTRY_BYTES + b->data_bytes;
}

static bool fits(const struct record_builder *b, size_t more)
{
    return record_bytes(b) + ENTRY_BYTES + more <= b->bytes_max;
}

static void *grown(void *memory, size_t *capacity, size_t needed, size_t unit)
{
    if (needed <= *capacity)
        return memory;
    *capacity = MAX(needed, 2 * *capacity);
    return mem_realloc(memory, *capacity * unit);
}

static void entry_add(struct record_builder *b, uint64_t offset, uint64_t bytes, uint32_t what, uint32_t skip)
{
    assert(bytes > 0 && bytes <= INT64_MAX && offset <= INT64_MAX - bytes);
    b->entries = grown(b->entries, &b->entry_capacity, b->entry_count + 1, ENTRY_BYTES);
    uint8_t *entry = b->entries + b->entry_count++ * ENTRY_BYTES;
    put_le64(entry, offset);
    put_le64(entry + ENTRY_AT_BYTES, bytes);
    put_le32(entry + ENTRY_AT_WHAT, what);
    put_le32(entry + ENTRY_AT_SKIP, skip);
}

bool record_add_range(struct record_builder *b, uint64_t offset, uint64_t bytes, enum entry_kind kind)
{
    assert(kind == ENTRY_HOLE || kind == ENTRY_ZEROS);
    if (!fits(b, 0))
        return false;
    entry_add(b, offset, bytes, kind == ENTRY_HOLE ? WHAT_HOLE : WHAT_ZEROS, 0);
    return true;
}

bool record_add_piece(struct record_builder *b, uint64_t offset, uint64_t bytes,
                      const struct piece_ref *piece, uint32_t skip)
{
    assert(skip <= piece->bytes && bytes <= piece->bytes - skip);
    if (!fits(b, piece_tables_growth(&b->tables, piece)))
        return false;
    entry_add(b, offset, bytes, piece_tables_add(&b->tables, piece), skip);
    return true;
}

bool record_add_inline(struct record_builder *b, uint64_t offset, uint32_t bytes, const struct iovec *iov,
                       size_t iov_count)
{
    if (bytes > record_builder_room(b))
        return false;
    b->data = grown(b->data, &b->data_capacity, b->data_bytes + bytes, 1);
    entry_add(b, offset, bytes, WHAT_INLINE, (uint32_t)b->data_bytes);
    size_t copied = 0;
    for (size_t i = 0; i < iov_count; i++) {
        assert(iov[i].iov_len <= bytes - copied);
        if (iov[i].iov_len)
            memcpy(b->data + b->data_bytes + copied, iov[i].iov_base, iov[i].iov_len);
        copied += iov[i].iov_len;
    }
    assert(copied == bytes);
    b->data_bytes += bytes;
    return true;
}

size_t record_builder_room(const struct record_builder *b)
{
    return fits(b, 0) ? b->bytes_max - ENTRY_BYTES - record_bytes(b) : 0;
}

size_t record_builder_entries(const struct record_builder *b)
{
    return b->entry_count;
}

static uint8_t *entries_put(const struct record_builder *b, uint8_t *to, size_t data_at)
{
    if (b->entry_count)
        memcpy(to, b->entries, b->entry_count * ENTRY_BYTES);
    for (size_t i = 0; i < b->entry_count; i++, to += ENTRY_BYTES)
        if (get_le32(to + ENTRY_AT_WHAT) == WHAT_INLINE)
            put_le32(to + ENTRY_AT_SKIP, (uint32_t)data_at + get_le32(to + ENTRY_AT_SKIP));
    return to;
}

struct buf *record_builder_encode(const struct record_builder *b, const struct record_head *head)
{
    assert(head->first <= head->slot);
    size_t n = record_bytes(b);
    struct buf *out = buf_create(n);
    uint8_t *to = out->data;
    memset(to, 0, HEAD_BYTES);
    put_le16(to + AT_FLAGS, head->last ? FLAG_LAST : 0);
    put_le32(to + AT_EPOCH, head->epoch);
    memcpy(to + AT_EXPORT, head->export_id, sizeof head->export_id);
    memcpy(to + AT_FOLDER, head->folder, sizeof head->folder);
    put_le64(to + AT_SLOT, head->slot);
    put_le64(to + AT_FIRST, head->first);
    put_le32(to + AT_OBJECTS, b->tables.objects.count);
    put_le32(to + AT_PIECES, b->tables.pieces.count);
    put_le32(to + AT_ENTRIES, (uint32_t)b->entry_count);
    put_le32(to + AT_DATA, (uint32_t)b->data_bytes);
    uint8_t *end = entries_put(b, piece_tables_put(&b->tables, to + HEAD_BYTES), n - b->data_bytes);
    if (b->data_bytes)
        memcpy(end, b->data, b->data_bytes);
    envelope_close(to, n, record_magic);
    return out;
}

/* ------------------------------------------------------------------- reading */

static struct piece_view view_of(const uint8_t *record)
{
    return piece_view_at(record + HEAD_BYTES, get_le32(record + AT_OBJECTS), get_le32(record + AT_PIECES));
}

static const uint8_t *entries_of(const uint8_t *record)
{
    return record + HEAD_BYTES +
           piece_view_bytes(get_le32(record + AT_OBJECTS), get_le32(record + AT_PIECES));
}

/* *data_at is where the next inline bytes must begin: they lie in the order of their entries, without gaps.
 */
static bool entry_check(const struct piece_view *pieces, const uint8_t *entry, size_t size, uint64_t *data_at)
{
    uint64_t offset = get_le64(entry), bytes = get_le64(entry + ENTRY_AT_BYTES);
    uint32_t what = get_le32(entry + ENTRY_AT_WHAT), skip = get_le32(entry + ENTRY_AT_SKIP);
    if (bytes == 0 || bytes > INT64_MAX || offset > INT64_MAX - bytes)
        return false;
    if (what == WHAT_HOLE || what == WHAT_ZEROS)
        return skip == 0;
    if (what == WHAT_INLINE) {
        if (skip != *data_at || bytes > size - skip)
            return false;
        *data_at += bytes;
        return true;
    }
    if (what >= pieces->piece_count)
        return false;
    uint32_t held = piece_view_bytes_of(pieces, what);
    return skip < held && bytes <= held - skip;
}

static bool body_check(const uint8_t *record, size_t n)
{
    if (n < HEAD_BYTES || get_le16(record + AT_FLAGS) > FLAG_LAST ||
        get_le64(record + AT_FIRST) > get_le64(record + AT_SLOT) ||
        !bytes_are_zero(record + AT_RESERVED, HEAD_BYTES - AT_RESERVED))
        return false;
    uint64_t entries = get_le32(record + AT_ENTRIES), data_bytes = get_le32(record + AT_DATA), stored;
    uint64_t tables = piece_view_bytes(get_le32(record + AT_OBJECTS), get_le32(record + AT_PIECES));
    if (HEAD_BYTES + tables + entries * ENTRY_BYTES + data_bytes != n)
        return false;
    struct piece_view pieces = view_of(record);
    if (!piece_view_check(&pieces, &stored))
        return false;
    uint64_t data_at = n - data_bytes;
    const uint8_t *entry = entries_of(record);
    for (uint64_t i = 0; i < entries; i++, entry += ENTRY_BYTES)
        if (!entry_check(&pieces, entry, n, &data_at))
            return false;
    return data_at == n;
}

static enum err seal_check(const uint8_t *bytes, size_t n)
{
    enum err err = envelope_check(bytes, n, seal_magic);
    if (err)
        return err;
    bool right = get_le16(bytes + AT_FLAGS) == 0 &&
                 bytes_are_zero(bytes + SEAL_AT_RESERVED, SEAL_BYTES - SEAL_AT_RESERVED);
    return right ? ERR_OK : ERR_CORRUPT;
}

enum err record_parse(const void *bytes, size_t n, enum log_object *what, struct record *record)
{
    if (n == SEAL_BYTES) {
        enum err err = seal_check(bytes, n);
        if (!err)
            *what = LOG_SEAL;
        return err;
    }
    if (n > RECORD_BYTES_MAX)
        return ERR_CORRUPT;
    const uint8_t *from = bytes;
    enum err err = envelope_check(from, n, record_magic);
    if (err)
        return err;
    if (!body_check(from, n))
        return ERR_CORRUPT;
    *what = LOG_RECORD;
    *record = (struct record){.entries = get_le32(from + AT_ENTRIES), .bytes = from, .size = n};
    record->head.epoch = get_le32(from + AT_EPOCH);
    memcpy(record->head.export_id, from + AT_EXPORT, sizeof record->head.export_id);
    memcpy(record->head.folder, from + AT_FOLDER, sizeof record->head.folder);
    record->head.slot = get_le64(from + AT_SLOT);
    record->head.first = get_le64(from + AT_FIRST);
    record->head.last = get_le16(from + AT_FLAGS) & FLAG_LAST;
    return ERR_OK;
}

void record_entry(const struct record *record, uint32_t i, struct record_entry *out)
{
    assert(i < record->entries);
    const uint8_t *entry = entries_of(record->bytes) + (size_t)i * ENTRY_BYTES;
    uint32_t what = get_le32(entry + ENTRY_AT_WHAT);
    *out = (struct record_entry){.offset = get_le64(entry),
                                 .bytes = get_le64(entry + ENTRY_AT_BYTES),
                                 .skip = get_le32(entry + ENTRY_AT_SKIP)};
    if (what == WHAT_HOLE) {
        out->kind = ENTRY_HOLE;
    } else if (what == WHAT_ZEROS) {
        out->kind = ENTRY_ZEROS;
    } else if (what == WHAT_INLINE) {
        out->kind = ENTRY_INLINE;
    } else {
        struct piece_view pieces = view_of(record->bytes);
        out->kind = ENTRY_PIECE;
        piece_view_get(&pieces, what, &out->piece);
    }
}

/* --------------------------------------------------------------------- seals */

void seal_encode(uint8_t out[SEAL_BYTES], const uint8_t export_id[16], uint32_t epoch,
                 const uint8_t folder[8], uint64_t slot, const char *server_id, const uint8_t nonce[16])
{
    memset(out, 0, SEAL_BYTES);
    put_le32(out + AT_EPOCH, epoch);
    memcpy(out + AT_EXPORT, export_id, 16);
    memcpy(out + AT_FOLDER, folder, 8);
    put_le64(out + AT_SLOT, slot);
    bool is_id = hex_decode(server_id, out + SEAL_AT_SERVER, 16);
    assert(is_id);
    (void)is_id;
    memcpy(out + SEAL_AT_NONCE, nonce, 16);
    envelope_close(out, SEAL_BYTES, seal_magic);
}
