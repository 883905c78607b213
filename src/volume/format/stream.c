#include "volume/format/stream.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

enum { AT_KIND = 6, AT_NUMBER = 12, AT_OFFSET = 48, AT_BYTES = 56, RANGE_BYTES = 64 };
enum {
    HEAD_AT_BASE_BYTES = 48,
    HEAD_AT_BYTES = 56,
    HEAD_AT_BLOCK_SIZE = 64,
    HEAD_AT_OBJECT_SIZE = 68,
    HEAD_AT_BASE_ID = 72,
    HEAD_AT_ID = 88,
    HEAD_AT_BASE_NAME = 104,
    HEAD_AT_NAME = 108,
    HEAD_BYTES = 112,
};
enum { END_AT_FRAMES = 48, END_AT_BYTES = 56, END_AT_SUMS = 64, END_BYTES = 96 };

static const char magic[4] = {'A', 'S', 'H', 'D'};

/* The sum of all frames so far: of the sum before it and the frame's own. */
static void add_sum(struct stream *s, const uint8_t *frame)
{
    uint8_t both[64];
    memcpy(both, s->sums.bytes, 32);
    memcpy(both + 32, frame + 16, 32);
    s->sums = sha256_of(both, sizeof both);
    s->frames++;
}

/* ----------------------------------------------------------------------------- making */

static struct buf *frame_create(enum stream_kind kind, size_t bytes)
{
    struct buf *b = buf_create(bytes);
    memset(b->data, 0, bytes);
    b->data[AT_KIND] = (uint8_t)kind;
    return b;
}

static struct buf *frame_close(struct stream *s, struct buf *b)
{
    assert(!s->ended);
    put_le32(b->data + AT_NUMBER, s->frames);
    envelope_close(b->data, b->bytes, magic);
    add_sum(s, b->data);
    return b;
}

struct buf *stream_put_head(struct stream *s, const struct stream_head *h)
{
    size_t base = strlen(h->base_name), name = strlen(h->name);
    struct buf *b = frame_create(STREAM_HEAD, HEAD_BYTES + base + name);
    uint8_t *to = b->data;
    put_le64(to + HEAD_AT_BASE_BYTES, h->base_bytes);
    put_le64(to + HEAD_AT_BYTES, h->bytes);
    put_le32(to + HEAD_AT_BLOCK_SIZE, h->block_size);
    put_le32(to + HEAD_AT_OBJECT_SIZE, h->object_size);
    memcpy(to + HEAD_AT_BASE_ID, h->base_id, 16);
    memcpy(to + HEAD_AT_ID, h->id, 16);
    put_le32(to + HEAD_AT_BASE_NAME, (uint32_t)base);
    put_le32(to + HEAD_AT_NAME, (uint32_t)name);
    memcpy(to + HEAD_BYTES, h->base_name, base);
    memcpy(to + HEAD_BYTES + base, h->name, name);
    s->bytes = h->bytes;
    return frame_close(s, b);
}

static void range_put(struct stream *s, uint8_t *frame, uint64_t offset, uint64_t bytes)
{
    assert(offset >= s->at && bytes > 0 && offset <= s->bytes && bytes <= s->bytes - offset);
    put_le64(frame + AT_OFFSET, offset);
    put_le64(frame + AT_BYTES, bytes);
    s->at = offset + bytes;
}

struct buf *stream_make_data(uint64_t offset, uint32_t bytes, uint8_t **data)
{
    assert(bytes > 0 && bytes <= STREAM_DATA_MAX);
    struct buf *b = buf_create(RANGE_BYTES + bytes);
    memset(b->data, 0, RANGE_BYTES);
    b->data[AT_KIND] = STREAM_DATA;
    put_le64(b->data + AT_OFFSET, offset);
    put_le64(b->data + AT_BYTES, bytes);
    *data = b->data + RANGE_BYTES;
    return b;
}

void stream_put_data(struct stream *s, struct buf *frame)
{
    range_put(s, frame->data, get_le64(frame->data + AT_OFFSET), get_le64(frame->data + AT_BYTES));
    frame_close(s, frame);
}

struct buf *stream_put_range(struct stream *s, enum stream_kind kind, uint64_t offset, uint64_t bytes)
{
    assert(kind == STREAM_ZEROS || kind == STREAM_HOLE);
    struct buf *b = frame_create(kind, RANGE_BYTES);
    range_put(s, b->data, offset, bytes);
    return frame_close(s, b);
}

struct buf *stream_put_end(struct stream *s)
{
    struct buf *b = frame_create(STREAM_END, END_BYTES);
    put_le64(b->data + END_AT_FRAMES, s->frames);
    put_le64(b->data + END_AT_BYTES, s->bytes);
    memcpy(b->data + END_AT_SUMS, s->sums.bytes, 32);
    frame_close(s, b);
    s->ended = true;
    return b;
}

/* ---------------------------------------------------------------------------- reading */

uint32_t stream_frame_bytes(const uint8_t *envelope)
{
    uint32_t n = get_le32(envelope + 8);
    return memcmp(envelope, magic, sizeof magic) == 0 && n >= RANGE_BYTES && n <= STREAM_FRAME_MAX ? n : 0;
}

static bool take_name(const uint8_t *at, size_t n, char name[VOLUME_NAME_MAX + 1])
{
    if (n > VOLUME_NAME_MAX || memchr(at, '\0', n))
        return false;
    memcpy(name, at, n);
    name[n] = '\0';
    return true;
}

static bool take_head(struct stream *s, const uint8_t *frame, size_t n, struct stream_head *h)
{
    if (s->frames != 0 || n < HEAD_BYTES)
        return false;
    size_t base = get_le32(frame + HEAD_AT_BASE_NAME), name = get_le32(frame + HEAD_AT_NAME);
    if (base > VOLUME_NAME_MAX || name > VOLUME_NAME_MAX || n != HEAD_BYTES + base + name)
        return false;
    h->base_bytes = get_le64(frame + HEAD_AT_BASE_BYTES);
    h->bytes = get_le64(frame + HEAD_AT_BYTES);
    h->block_size = get_le32(frame + HEAD_AT_BLOCK_SIZE);
    h->object_size = get_le32(frame + HEAD_AT_OBJECT_SIZE);
    memcpy(h->base_id, frame + HEAD_AT_BASE_ID, 16);
    memcpy(h->id, frame + HEAD_AT_ID, 16);
    s->bytes = h->bytes;
    struct export_params params = {
        .size = h->bytes, .block_size = h->block_size, .object_size = h->object_size};
    return h->block_size && h->object_size && h->base_bytes <= INT64_MAX && !bytes_are_zero(h->id, 16) &&
           !export_params_check(&params, NULL) && take_name(frame + HEAD_BYTES, base, h->base_name) &&
           take_name(frame + HEAD_BYTES + base, name, h->name);
}

static bool take_range(struct stream *s, const uint8_t *frame, size_t n, struct stream_frame *f)
{
    f->offset = get_le64(frame + AT_OFFSET);
    f->bytes = get_le64(frame + AT_BYTES);
    f->data = frame + RANGE_BYTES;
    if (s->frames == 0 || f->bytes == 0 || f->offset < s->at || f->offset > s->bytes ||
        f->bytes > s->bytes - f->offset)
        return false;
    s->at = f->offset + f->bytes;
    return n == RANGE_BYTES + (f->kind == STREAM_DATA ? f->bytes : 0);
}

static bool take_end(struct stream *s, const uint8_t *frame, size_t n)
{
    s->ended = true;
    return n == END_BYTES && s->frames > 0 && get_le64(frame + END_AT_FRAMES) == s->frames &&
           get_le64(frame + END_AT_BYTES) == s->bytes && memcmp(frame + END_AT_SUMS, s->sums.bytes, 32) == 0;
}

enum err stream_take(struct stream *s, const uint8_t *frame, size_t n, struct stream_frame *f,
                     struct complaint *c)
{
    enum err err = envelope_check(frame, n, magic);
    if (err == ERR_UNSUPPORTED)
        return complain(c, err, "the stream is of a later version than this program knows");
    bool right = !err && !s->ended && frame[AT_KIND] <= STREAM_END && frame[AT_KIND + 1] == 0 &&
                 get_le32(frame + AT_NUMBER) == s->frames;
    if (right) {
        f->kind = (enum stream_kind)frame[AT_KIND];
        right = f->kind == STREAM_HEAD  ? take_head(s, frame, n, &f->head)
                : f->kind == STREAM_END ? take_end(s, frame, n)
                                        : take_range(s, frame, n, f);
    }
    if (!right)
        return complain(c, ERR_CORRUPT, "the stream is damaged, or parts of it are missing, at frame %u",
                        s->frames);
    add_sum(s, frame);
    return ERR_OK;
}
