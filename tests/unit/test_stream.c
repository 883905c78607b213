#include "volume/format/stream.h"

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "unit.h"

static const struct stream_head head = {.base_bytes = 5000,
                                        .bytes = 9000,
                                        .block_size = 4096,
                                        .object_size = 8192,
                                        .base_id = {1},
                                        .id = {2},
                                        .base_name = "disk@a",
                                        .name = "disk@b"};

enum { FRAMES = 5 };
static struct buf *frames[FRAMES];

static int make(void **state)
{
    (void)state;
    struct stream s = {0};
    uint8_t *data;
    frames[0] = stream_put_head(&s, &head);
    frames[1] = stream_make_data(100, 50, &data);
    memset(data, 7, 50);
    stream_put_data(&s, frames[1]);
    frames[2] = stream_put_range(&s, STREAM_ZEROS, 150, 4000);
    frames[3] = stream_put_range(&s, STREAM_HOLE, 8000, 1000);
    frames[4] = stream_put_end(&s);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    for (int i = 0; i < FRAMES; i++)
        buf_unref(frames[i]);
    return 0;
}

static enum err take(struct stream *s, const struct buf *b, struct stream_frame *f)
{
    struct complaint c = {.text = ""};
    enum err err = stream_take(s, b->data, b->bytes, f, &c);
    assert_true(!err == !c.text[0]);
    return err;
}

static void a_stream_comes_back(void **state)
{
    (void)state;
    struct stream s = {0};
    struct stream_frame f;
    for (int i = 0; i < FRAMES; i++)
        assert_int_equal(stream_frame_bytes(frames[i]->data), frames[i]->bytes);
    assert_int_equal(take(&s, frames[0], &f), ERR_OK);
    assert_true(f.kind == STREAM_HEAD && f.head.bytes == 9000 && f.head.base_bytes == 5000);
    assert_string_equal(f.head.base_name, "disk@a");
    assert_string_equal(f.head.name, "disk@b");
    assert_true(f.head.id[0] == 2 && f.head.base_id[0] == 1);
    assert_int_equal(take(&s, frames[1], &f), ERR_OK);
    assert_true(f.kind == STREAM_DATA && f.offset == 100 && f.bytes == 50 && f.data[49] == 7);
    assert_int_equal(take(&s, frames[2], &f), ERR_OK);
    assert_true(f.kind == STREAM_ZEROS && f.offset == 150 && f.bytes == 4000);
    assert_int_equal(take(&s, frames[3], &f), ERR_OK);
    assert_int_equal(f.kind, STREAM_HOLE);
    assert_false(s.ended);
    assert_int_equal(take(&s, frames[4], &f), ERR_OK);
    assert_true(s.ended);
    assert_int_equal(take(&s, frames[4], &f), ERR_CORRUPT);
}

/* Any byte of any frame; a frame left out; a frame twice. */
static void damage_is_seen(void **state)
{
    (void)state;
    struct stream_frame f;
    for (int i = 0; i < FRAMES; i++) {
        struct stream before = {0};
        for (int k = 0; k < i; k++)
            assert_int_equal(take(&before, frames[k], &f), ERR_OK);
        for (size_t at = 0; at < frames[i]->bytes; at++) {
            struct stream s = before;
            frames[i]->data[at] ^= 0x10;
            assert_int_not_equal(take(&s, frames[i], &f), ERR_OK);
            frames[i]->data[at] ^= 0x10;
        }
        for (int k = 0; k < FRAMES; k++) {
            struct stream s = before;
            assert_int_equal(take(&s, frames[k], &f), k == i ? ERR_OK : ERR_CORRUPT);
        }
    }
}

static void impossible_heads_are_refused(void **state)
{
    (void)state;
    struct stream_frame f;
    for (int what = 0; what < 4; what++) {
        struct stream_head bad = head;
        struct stream s = {0}, reader = {0};
        if (what == 0)
            bad.bytes = 0;
        if (what == 1)
            bad.block_size = 5000;
        if (what == 2)
            memset(bad.id, 0, sizeof bad.id);
        if (what == 3)
            bad.base_bytes = UINT64_MAX;
        struct buf *b = stream_put_head(&s, &bad);
        assert_int_equal(take(&reader, b, &f), ERR_CORRUPT);
        buf_unref(b);
    }
}

RUN_TESTS(cmocka_unit_test_setup_teardown(a_stream_comes_back, make, drop),
          cmocka_unit_test_setup_teardown(damage_is_seen, make, drop),
          cmocka_unit_test(impossible_heads_are_refused))
