/* Log records and seals. What is accepted keeps within its bounds, and says the same when it is encoded
 * again. */
#include "sealed.h"
#include "volume/format/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void add(struct record_builder *b, const struct record *r, const struct record_entry *e)
{
    bool added;
    if (e->kind == ENTRY_INLINE) {
        struct iovec iov = {mem_dup(r->bytes + e->skip, e->bytes), e->bytes};
        added = record_add_inline(b, e->offset, (uint32_t)e->bytes, &iov, 1);
        mem_free(iov.iov_base);
    } else if (e->kind == ENTRY_PIECE) {
        added = record_add_piece(b, e->offset, e->bytes, &e->piece, e->skip);
    } else {
        added = record_add_range(b, e->offset, e->bytes, e->kind);
    }
    EXPECT(added);
}

static void same(const struct record *a, const struct record *b)
{
    EXPECT(a->entries == b->entries && a->head.slot == b->head.slot && a->head.first == b->head.first &&
           a->head.last == b->head.last && a->head.epoch == b->head.epoch);
    for (uint32_t i = 0; i < a->entries; i++) {
        struct record_entry x, y;
        record_entry(a, i, &x);
        record_entry(b, i, &y);
        EXPECT(x.kind == y.kind && x.offset == y.offset && x.bytes == y.bytes);
        EXPECT(x.kind == ENTRY_INLINE || x.skip == y.skip);
        if (x.kind == ENTRY_INLINE)
            EXPECT(memcmp(a->bytes + x.skip, b->bytes + y.skip, x.bytes) == 0);
        if (x.kind == ENTRY_PIECE)
            EXPECT(sha256_equal(&x.piece.hash, &y.piece.hash) && x.piece.offset == y.piece.offset &&
                   sha256_equal(&x.piece.object.hash, &y.piece.object.hash));
    }
}

static void accepted(const struct record *r)
{
    struct record_builder *b = record_builder_create(RECORD_BYTES_MAX);
    for (uint32_t i = 0; i < r->entries; i++) {
        struct record_entry e;
        record_entry(r, i, &e);
        EXPECT(e.bytes > 0 && e.bytes <= INT64_MAX && e.offset <= INT64_MAX - e.bytes);
        if (e.kind == ENTRY_PIECE)
            EXPECT(e.bytes <= e.piece.bytes && e.skip <= e.piece.bytes - e.bytes && e.piece.codec == 0);
        if (e.kind == ENTRY_INLINE)
            EXPECT(e.bytes <= r->size && e.skip <= r->size - e.bytes);
        add(b, r, &e);
    }
    struct buf *again = record_builder_encode(b, &r->head);
    struct record back;
    enum log_object what;
    EXPECT(again->bytes <= r->size);
    EXPECT(record_parse(again->data, again->bytes, &what, &back) == ERR_OK && what == LOG_RECORD);
    same(r, &back);
    buf_unref(again);
    record_builder_destroy(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct record r;
    enum log_object what;
    uint8_t *sealed = sealed_binary(data, n);
    if (record_parse(sealed, n, &what, &r) == ERR_OK) {
        EXPECT((what == LOG_SEAL) == (n == SEAL_BYTES));
        if (what == LOG_RECORD)
            accepted(&r);
    }
    mem_free(sealed);
    return 0;
}
