#include "nbd_script.h"

enum { READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS };
enum { FUA = 1, NO_HOLE = 2, DF = 4, REQ_ONE = 8, FAST_ZERO = 16 };
#define B PEER_BLOCK

static struct script in, out;
static bool structured;
static size_t handshake_in, handshake_out;

/* Up to transmission; what the server says to it is what it says, and tested elsewhere. */
static void connect_to(const char *name, bool with_structured, bool with_contexts)
{
    struct script data = {0};
    struct peer p;
    script_free(&in);
    script_free(&out);
    structured = with_structured;
    say32(&in, 3);
    if (with_structured)
        say_option(&in, 8, NULL);
    if (with_contexts) {
        say_text(&data, name);
        say32(&data, 2);
        say_text(&data, "base:allocation");
        say_text(&data, "ashlar:breaks");
        say_option(&in, 10, &data);
        script_free(&data);
    }
    say(&data, name, strlen(name));
    say_option(&in, 1, &data);
    script_free(&data);
    peer_init(&p);
    peer_send(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    say(&out, p.out, p.out_bytes);
    peer_finish(&p);
    handshake_in = in.n;
    handshake_out = out.n;
}

static int simple(void **state)
{
    (void)state;
    connect_to("demo", false, false);
    return 0;
}

static int chunked(void **state)
{
    (void)state;
    connect_to("demo", true, true);
    return 0;
}

static void hear_error(uint16_t cmd, uint64_t cookie, uint32_t error)
{
    if (!structured || (cmd != READ && cmd != STATUS)) {
        hear_simple(&out, cookie, error);
        return;
    }
    hear_chunk(&out, 1, 32769, cookie, 6);
    say32(&out, error);
    say16(&out, 0);
}

static void hear_data_chunk(uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t n)
{
    hear_chunk(&out, flags, 1, cookie, 8 + n);
    say64(&out, offset);
    hear_data(&out, offset, n);
}

static void hear_hole_chunk(uint16_t flags, uint64_t cookie, uint64_t offset, uint32_t n)
{
    hear_chunk(&out, flags, 2, cookie, 12);
    say64(&out, offset);
    say32(&out, n);
}

/* -------------------------------------------------------------------- READ */

static void simple_reads(void **state)
{
    (void)state;
    say_request(&in, 0, READ, 0x1122334455667788, 0, 100);
    hear_simple(&out, 0x1122334455667788, 0);
    hear_data(&out, 0, 100);
    say_request(&in, FUA, READ, 2, B - 10, 20); /* data, then a hole */
    hear_simple(&out, 2, 0);
    hear_data(&out, B - 10, 10);
    script_room(&out, 10);
    say_request(&in, 0, READ, 3, PEER_SIZE, 0);
    hear_simple(&out, 3, 0);
    say_request(&in, 0, READ, 4, B, 2 * B); /* nothing but zeros */
    hear_simple(&out, 4, 0);
    script_room(&out, 2 * B);
    play(&in, &out, is_alive);
}

static void structured_reads(void **state)
{
    (void)state;
    say_request(&in, 0, READ, 1, 5, 100);
    hear_data_chunk(1, 1, 5, 100);
    say_request(&in, 0, READ, 2, 10, 4 * B); /* data, hole of two blocks, data, hole */
    hear_data_chunk(0, 2, 10, B - 10);
    hear_hole_chunk(0, 2, B, 2 * B);
    hear_data_chunk(0, 2, 3 * B, B);
    hear_hole_chunk(1, 2, 4 * B, 10);
    say_request(&in, 0, READ, 3, B + 1, B);
    hear_hole_chunk(1, 3, B + 1, B);
    say_request(&in, 0, READ, 4, 77, 0);
    hear_chunk(&out, 1, 0, 4, 0);
    play(&in, &out, is_alive);
}

static void unfragmented_reads(void **state)
{
    (void)state;
    say_request(&in, DF, READ, 1, 0, 2 * B);
    hear_chunk(&out, 1, 1, 1, 8 + 2 * B);
    say64(&out, 0);
    hear_data(&out, 0, B);
    script_room(&out, B);
    say_request(&in, DF | FUA, READ, 2, B, 10);
    hear_hole_chunk(1, 2, B, 10);
    play(&in, &out, is_alive);
}

static void reads_that_fail(void **state)
{
    (void)state;
    for (int s = 0; s < 2; s++) {
        connect_to("huge", s, false);
        say_request(&in, 0, READ, 1, INT64_MAX, 1);
        hear_error(READ, 1, 22);
        say_request(&in, 0, READ, 2, UINT64_MAX, 1);
        hear_error(READ, 2, 22);
        say_request(&in, 0, READ, 3, UINT64_MAX - 10, 0xffffffff);
        hear_error(READ, 3, 22);
        say_request(&in, 0, READ, 4, 0, (32 << 20) + 1);
        hear_error(READ, 4, s ? 75 : 22);
        say_request(&in, s ? NO_HOLE : DF, READ, 5, 0, 1);
        hear_error(READ, 5, 22);
        say_request(&in, 0x8000, READ, 6, 0, 1);
        hear_error(READ, 6, 22);
        play(&in, &out, is_alive);
    }
}

static void the_largest_read(void **state)
{
    (void)state;
    struct peer p;
    connect_to("huge", true, false);
    say_request(&in, DF, READ, 1, 0, 32 << 20);
    peer_init(&p);
    peer_send(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    assert_int_equal(p.out_bytes, out.n + 28 + (32 << 20));
    assert_int_equal(p.out[p.out_bytes - 1], 0);
    assert_int_equal(get_be32(p.out + out.n + 16), 8 + (32 << 20));
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

/* ------------------------------------------------------------------- WRITE */

static uint32_t sent_bytes;
static void is_written(struct peer *p)
{
    is_alive(p);
    assert_int_equal(p->written_bytes, sent_bytes);
    for (uint32_t i = 0; i < sent_bytes; i++)
        assert_int_equal(p->written[i], peer_byte(i));
}

static void writes(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, B - 1, B, B + 1, 40000, 65536, 100000, 500000, 1000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        connect_to("demo", i % 2, false);
        for (int times = 0; times < 3; times++) {
            say_request(&in, FUA, WRITE, 77 + i, 0, sizes[i]);
            hear_data(&in, 0, sizes[i]);
            hear_simple(&out, 77 + i, 0);
        }
        sent_bytes = sizes[i];
        play(&in, &out, is_written);
    }
}

static void requests_and_writes_mixed(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 200; i++) {
        say_request(&in, 0, WRITE, i, i, i * 37);
        hear_data(&in, 0, i * 37);
        hear_simple(&out, i, 0);
        say_request(&in, 0, FLUSH, i + 1000, 0, 0);
        hear_simple(&out, i + 1000, 0);
    }
    sent_bytes = 199 * 37;
    play(&in, &out, is_written);
}

static void failed_writes_are_drained_first(void **state)
{
    (void)state;
    for (int s = 0; s < 2; s++) {
        connect_to("demo", s, false);
        say_request(&in, 0, WRITE, 1, PEER_SIZE - 10, 11);
        say(&in, "\x25\x60\x95\x13 no request", 11 + 4);
        in.n -= 4;
        hear_error(WRITE, 1, 28);
        say_request(&in, DF, WRITE, 2, 0, 3);
        say(&in, "abc", 3);
        hear_error(WRITE, 2, 22);
        say_request(&in, 0, WRITE, 3, UINT64_MAX, 100000);
        script_room(&in, 100000);
        hear_error(WRITE, 3, 28);
        say_request(&in, 0, WRITE, 4, PEER_SIZE, 0);
        hear_simple(&out, 4, 0);
        play(&in, &out, is_alive);
    }
}

static void a_write_that_is_too_large_is_drained(void **state)
{
    (void)state;
    connect_to("huge", true, false);
    say_request(&in, 0, WRITE, 1, 0, (32 << 20) + 1);
    script_room(&in, (32 << 20) + 1);
    hear_error(WRITE, 1, 75);
    say_request(&in, 0, FLUSH, 2, 0, 0);
    hear_simple(&out, 2, 0);
    struct peer p;
    peer_init(&p);
    peer_send(&p);
    assert_int_equal(peer_feed(&p, in.bytes, in.n, 100000), in.n);
    assert_int_equal(p.out_bytes, out.n);
    assert_memory_equal(p.out, out.bytes, out.n);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

static void admission(enum nbd_error error)
{
    struct peer p;
    say_request(&in, 0, FLUSH, 1, 0, 0); /* what came before is answered */
    say_request(&in, 0, WRITE, 2, 0, 5000);
    hear_data(&in, 0, 5000);
    say_request(&in, 0, FLUSH, 3, 0, 0);
    peer_init(&p);
    p.admit_later = true;
    peer_send(&p);
    size_t fed = peer_feed(&p, in.bytes, in.n, 200);
    assert_true(fed < in.n);
    assert_int_equal(nbd_waits_for(&p.nbd), NBD_WAIT_US);
    hear_simple(&out, 1, 0);
    assert_int_equal(p.out_bytes, out.n);
    p.admit_later = false;
    peer_admit(&p, error);
    assert_int_equal(peer_feed(&p, in.bytes + fed, in.n - fed, 200), in.n - fed);
    hear_simple(&out, 2, error);
    hear_simple(&out, 3, 0);
    assert_int_equal(p.out_bytes, out.n);
    assert_memory_equal(p.out, out.bytes, out.n);
    sent_bytes = 5000;
    if (error)
        assert_null(p.written);
    else
        is_written(&p);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

static void admitted_later(void **state)
{
    (void)state;
    admission(NBD_OK);
}

static void refused_later(void **state)
{
    (void)state;
    admission(NBD_ENOSPC);
}

static void an_incomplete_payload_is_dropped(void **state)
{
    (void)state;
    struct peer p;
    for (int admit_later = 0; admit_later < 2; admit_later++) {
        connect_to("demo", false, false);
        say_request(&in, 0, WRITE, 2, 0, 5000);
        say(&in, "begun", 5);
        peer_init(&p);
        p.admit_later = admit_later;
        peer_feed(&p, in.bytes, in.n, SIZE_MAX);
        assert_int_equal(peer_under_way(&p), 1);
        assert_false(nbd_eof(&p.nbd));
        assert_int_equal(p.dropped, 1);
        assert_int_equal(peer_under_way(&p), 0);
        is_ending(&p);
        peer_finish(&p);
        script_free(&in);
        script_free(&out);
    }
}

/* ---------------------------------------------------------- other commands */

static void other_commands(void **state)
{
    (void)state;
    static const struct {
        uint16_t flags, cmd;
        uint64_t offset;
        uint32_t length, error;
    } requests[] = {
        {0, FLUSH, 0, 0, 0},
        {FUA, FLUSH, 0, 0, 0},
        {0, FLUSH, 1, 0, 22},
        {0, FLUSH, 0, 1, 22},
        {NO_HOLE, FLUSH, 0, 0, 22},
        {0, TRIM, 0, PEER_SIZE, 0},
        {FUA, TRIM, 17, 0, 0},
        {0, TRIM, 1, PEER_SIZE, 22},
        {NO_HOLE, TRIM, 0, 1, 22},
        {0, CACHE, 5, 5, 0},
        {0, CACHE, PEER_SIZE, 1, 22},
        {FUA, CACHE, 0, 1, 0},
        {FUA | NO_HOLE | FAST_ZERO, ZEROES, 0, PEER_SIZE, 0},
        {0, ZEROES, 1, PEER_SIZE, 28},
        {0, ZEROES, UINT64_MAX, 0xffffffff, 28},
        {REQ_ONE, ZEROES, 0, 1, 22},
        {0, 8, 0, 0, 22},
        {0, 0xffff, 0, 0, 22},
        {0x100, CACHE, 0, 1, 22},
    };
    for (int s = 0; s < 2; s++) {
        connect_to("demo", s, s);
        for (size_t i = 0; i < COUNT_OF(requests); i++) {
            say_request(&in, requests[i].flags, requests[i].cmd, i, requests[i].offset, requests[i].length);
            hear_simple(&out, i, requests[i].error);
        }
        play(&in, &out, is_alive);
    }
}

static void oversized_trim_and_zeroes(void **state)
{
    (void)state;
    connect_to("huge", false, false);
    say_request(&in, 0, TRIM, 1, 0, 0xffffffff);
    hear_simple(&out, 1, 0);
    say_request(&in, 0, ZEROES, 2, 0, 0xffffffff);
    hear_simple(&out, 2, 0);
    say_request(&in, 0, CACHE, 3, 0, 0xffffffff);
    hear_simple(&out, 3, 0);
    play(&in, &out, is_alive);
}

static void read_only_exports(void **state)
{
    (void)state;
    connect_to("ro", true, false);
    say_request(&in, 0, WRITE, 1, 0, 4);
    say(&in, "abcd", 4);
    hear_simple(&out, 1, 1);
    say_request(&in, 0, TRIM, 2, 0, 4);
    hear_simple(&out, 2, 1);
    say_request(&in, 0, ZEROES, 3, UINT64_MAX, 4);
    hear_simple(&out, 3, 1);
    say_request(&in, 0, FLUSH, 4, 0, 0);
    hear_simple(&out, 4, 0);
    say_request(&in, 0, READ, 5, 0, 4);
    hear_data_chunk(1, 5, 0, 4);
    play(&in, &out, is_alive);
}

/* ------------------------------------------------------------ BLOCK_STATUS */

static void hear_breaks(uint64_t cookie, uint32_t length)
{
    hear_chunk(&out, 1, 5, cookie, 12);
    say32(&out, 2);
    say32(&out, length);
    say32(&out, 7);
}

static void block_status(void **state)
{
    (void)state;
    say_request(&in, 0, STATUS, 1, 10, 2 * B);
    hear_chunk(&out, 0, 5, 1, 4 + 3 * 8);
    say32(&out, 1);
    say32(&out, B - 10);
    say32(&out, 0);
    say32(&out, B);
    say32(&out, 3);
    say32(&out, 10);
    say32(&out, 2);
    hear_breaks(1, 2 * B);
    say_request(&in, REQ_ONE | FUA, STATUS, 2, 10, 2 * B);
    hear_chunk(&out, 0, 5, 2, 12);
    say32(&out, 1);
    say32(&out, B - 10);
    say32(&out, 0);
    hear_breaks(2, 2 * B);
    say_request(&in, REQ_ONE, STATUS, 3, 10, 20);
    hear_chunk(&out, 0, 5, 3, 12);
    say32(&out, 1);
    say32(&out, 20);
    say32(&out, 0);
    hear_breaks(3, 20);
    play(&in, &out, is_alive);
}

static void block_status_is_bounded(void **state)
{
    (void)state;
    connect_to("huge", true, true);
    say_request(&in, 0, STATUS, 1, 0, 0xffffffff);
    hear_chunk(&out, 0, 5, 1, 4 + 8 * NBD_STATUS_MAX);
    say32(&out, 1);
    for (uint32_t i = 0; i < NBD_STATUS_MAX; i++) {
        say32(&out, B);
        say32(&out, (uint32_t[]){0, 3, 2}[i % 3]);
    }
    hear_breaks(1, 0xffffffff);
    play(&in, &out, is_alive);
}

static void block_status_that_fails(void **state)
{
    (void)state;
    say_request(&in, 0, STATUS, 1, 0, 0);
    hear_error(STATUS, 1, 22);
    say_request(&in, 0, STATUS, 2, PEER_SIZE, 1);
    hear_error(STATUS, 2, 22);
    say_request(&in, DF, STATUS, 3, 0, 1);
    hear_error(STATUS, 3, 22);
    play(&in, &out, is_alive);
    for (int s = 0; s < 2; s++) { /* not negotiated */
        connect_to("demo", s, false);
        say_request(&in, 0, STATUS, 1, 0, 512);
        hear_error(STATUS, 1, 22);
        play(&in, &out, is_alive);
    }
}

/* ------------------------------------------------------- order, end, bounds */

static void start(struct peer *p)
{
    peer_init(p);
    peer_send(p);
    peer_feed(p, in.bytes, in.n, SIZE_MAX);
}

static void finish(struct peer *p)
{
    assert_int_equal(p->out_bytes, out.n);
    assert_memory_equal(p->out, out.bytes, out.n);
    peer_finish(p);
    script_free(&in);
    script_free(&out);
}

static void answers_in_another_order(void **state)
{
    (void)state;
    struct peer p;
    say_request(&in, 0, READ, 1, 0, 3);
    say_request(&in, 0, FLUSH, 2, 0, 0);
    say_request(&in, 0, READ, 3, 3, 3);
    peer_init(&p);
    p.hold = true;
    peer_send(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    assert_int_equal(p.out_bytes, out.n);
    peer_release(&p, NBD_OK);
    hear_simple(&out, 3, 0);
    hear_data(&out, 3, 3);
    hear_simple(&out, 2, 0);
    hear_simple(&out, 1, 0);
    hear_data(&out, 0, 3);
    finish(&p);
}

static void storage_errors_reach_the_client(void **state)
{
    (void)state;
    struct peer p;
    say_request(&in, 0, FLUSH, 1, 0, 0);
    say_request(&in, 0, READ, 2, 0, 3);
    say_request(&in, 0, STATUS, 3, 0, 3);
    peer_init(&p);
    p.hold = true;
    peer_send(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    peer_release(&p, NBD_EIO);
    hear_error(STATUS, 3, 5);
    hear_error(READ, 2, 5);
    hear_error(FLUSH, 1, 5);
    finish(&p);
}

static void disc_waits_for_what_is_under_way(void **state)
{
    (void)state;
    struct peer p;
    say_request(&in, 0, READ, 1, 0, 3);
    say_request(&in, 0xff, DISC, 2, 3, 3);
    say_request(&in, 0, FLUSH, 3, 0, 0); /* nobody listens any more */
    peer_init(&p);
    p.hold = true;
    peer_send(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    assert_int_equal(nbd_end(&p.nbd), NBD_ENDING);
    assert_false(nbd_idle(&p.nbd));
    peer_release(&p, NBD_OK);
    is_ending(&p);
    assert_int_equal(p.submitted, 1);
    hear_simple(&out, 1, 0);
    hear_data(&out, 0, 3);
    finish(&p);
}

static void bad_magic_ends_it(void **state)
{
    (void)state;
    say_request(&in, 0, FLUSH, 1, 0, 0);
    hear_simple(&out, 1, 0);
    say_request(&in, 0, FLUSH, 1, 0, 0);
    in.bytes[in.n - NBD_REQUEST_BYTES] ^= 1;
    play(&in, &out, is_broken);
}

static void shutting_down(void **state)
{
    (void)state;
    struct peer p;
    struct script more = {0};
    say_request(&in, 0, FLUSH, 1, 0, 0);
    peer_init(&p);
    p.hold = true;
    peer_send(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    nbd_shutdown(&p.nbd);
    assert_int_equal(nbd_end(&p.nbd), NBD_ALIVE);
    say_request(&more, 0, WRITE, 2, 0, 3);
    say(&more, "abc", 3);
    say_request(&more, 0, READ, 3, 0, 3);
    assert_int_equal(peer_feed(&p, more.bytes, more.n, 7), more.n);
    hear_simple(&out, 2, 108);
    hear_simple(&out, 3, 108);
    assert_int_equal(p.out_bytes, out.n);
    peer_release(&p, NBD_OK);
    hear_simple(&out, 1, 0);
    is_ending(&p);
    script_free(&more);
    finish(&p);
}

static void no_struct_no_request(void **state)
{
    (void)state;
    struct peer p;
    for (uint64_t i = 0; i < 10; i++)
        say_request(&in, 0, FLUSH, i, 0, 0);
    peer_init(&p);
    p.hold = true;
    p.requests_max = 3;
    peer_send(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    assert_int_equal(p.submitted, 3);
    assert_false(nbd_wants_input(&p.nbd));
    for (int i = 0; i < 4; i++)
        peer_release(&p, NBD_OK);
    assert_int_equal(p.submitted, 10);
    assert_int_equal(p.out_bytes, out.n + 160);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

static void a_client_that_does_not_read(void **state)
{
    (void)state;
    struct peer p;
    for (int i = 0; i < 100; i++)
        say_request(&in, 0, READ, 1, 0, 512 << 10);
    for (int i = 0; i < 100000; i++)
        say_request(&in, 0, 99, 1, 0, 0);
    peer_init(&p);
    peer_send(&p);
    peer_feed(&p, in.bytes, handshake_in, SIZE_MAX);
    p.send_limit = 0;
    size_t fed = handshake_in;
    for (size_t n; (n = peer_feed(&p, in.bytes + fed, in.n - fed, 10000)); fed += n)
        ;
    assert_true(nbd_output_bytes(&p.nbd) < NBD_OUTPUT_HIGH + (512 << 10) + 16);
    assert_true(fed < handshake_in + NBD_RECEIVE_BYTES + 10000);
    p.send_limit = 20 << 20;
    peer_send(&p);
    assert_true(nbd_output_bytes(&p.nbd) < NBD_OUTPUT_HIGH + (512 << 10) + 16);
    assert_true(p.submitted > 39 && p.submitted < 45);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

static void waits_are_told_apart(void **state)
{
    (void)state;
    struct peer p;
    start(&p);
    assert_int_equal(nbd_waits_for(&p.nbd), NBD_WAIT_REQUEST);
    peer_feed(&p, "\x25\x60", 2, 1);
    assert_int_equal(nbd_waits_for(&p.nbd), NBD_WAIT_PAYLOAD);
    finish(&p);
}

#define S(name) cmocka_unit_test_setup(name, simple)
#define C(name) cmocka_unit_test_setup(name, chunked)
#define N(name) cmocka_unit_test(name)
RUN_TESTS(S(simple_reads), C(structured_reads), C(unfragmented_reads), N(reads_that_fail),
          N(the_largest_read), N(writes), S(requests_and_writes_mixed), N(failed_writes_are_drained_first),
          N(a_write_that_is_too_large_is_drained), S(admitted_later), S(refused_later),
          N(an_incomplete_payload_is_dropped), N(other_commands), N(oversized_trim_and_zeroes),
          N(read_only_exports), C(block_status), N(block_status_is_bounded), C(block_status_that_fails),
          S(answers_in_another_order), C(storage_errors_reach_the_client),
          S(disc_waits_for_what_is_under_way), S(bad_magic_ends_it), S(shutting_down),
          S(no_struct_no_request), S(a_client_that_does_not_read), S(waits_are_told_apart))
