#include "nbd_script.h"

#define FLAGS    0xd6d /* HAS FLUSH FUA TRIM ZEROES MULTI_CONN CACHE FAST_ZERO */
#define FLAGS_RO 0x50f /* HAS RO FLUSH FUA MULTI_CONN CACHE */
#define DF       0x080

static struct script in, out, data;

static int begin(void **state)
{
    (void)state;
    script_free(&in);
    script_free(&out);
    hear_greeting(&out);
    say32(&in, 3);
    return 0;
}

static int end(void **state)
{
    (void)state;
    script_free(&data);
    return 0;
}

static void option(uint32_t number)
{
    say_option(&in, number, &data);
    script_free(&data);
}

static void refused(uint32_t number, uint32_t rep, const char *text)
{
    hear_option(&out, number, 0x80000000u + rep, text, strlen(text));
}

static void ack(uint32_t number)
{
    hear_option(&out, number, 1, NULL, 0);
}

static void go(uint32_t number, const char *name, const uint16_t *infos, uint16_t count)
{
    say_text(&data, name);
    say16(&data, count);
    for (uint16_t i = 0; i < count; i++)
        say16(&data, infos[i]);
    option(number);
}

static void hear_info(uint32_t number, uint16_t type, const void *bytes, size_t n)
{
    struct script s = {0};
    say16(&s, type);
    say(&s, bytes, n);
    hear_option(&out, number, 3, s.bytes, s.n);
    script_free(&s);
}

static void hear_export(uint32_t number, uint64_t size, uint16_t flags)
{
    uint8_t b[10];
    put_be64(b, size);
    put_be16(b + 8, flags);
    hear_info(number, 0, b, sizeof b);
}

static void greeting_alone(void **state)
{
    (void)state;
    struct script nothing = {0};
    play(&nothing, &out, is_alive);
    script_free(&in);
}

static void unknown_client_flags_end_it(void **state)
{
    (void)state;
    put_be32(in.bytes, 7);
    play(&in, &out, is_broken);
}

static void no_magic_ends_it(void **state)
{
    (void)state;
    say(&in, "GET / HTTP/1.1\r\n", 16);
    play(&in, &out, is_broken);
}

static void abort_is_acknowledged(void **state)
{
    (void)state;
    say(&data, "bye", 3);
    option(2);
    ack(2);
    play(&in, &out, is_ending);
}

static void unknown_options_are_drained(void **state)
{
    (void)state;
    static const uint32_t unknown[] = {0, 4, 5, 11, 12, 0xffffffff};
    for (size_t i = 0; i < COUNT_OF(unknown); i++) {
        script_room(&data, 100 * i * i * i);
        option(unknown[i]);
        refused(unknown[i], 1, "this server does not have that option");
    }
    play(&in, &out, is_alive);
}

static void oversized_options_are_drained(void **state)
{
    (void)state;
    static const uint32_t known[] = {3, 6, 7, 8, 9, 10};
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        script_room(&data, 32769 + 50000 * i);
        option(known[i]);
        refused(known[i], 9, "the option's data is longer than 16 KiB");
    }
    play(&in, &out, is_alive);
}

static void list(void **state)
{
    (void)state;
    struct script a = {0}, b = {0};
    option(3);
    say_text(&a, "alpha");
    say(&a, "the first", 9);
    say_text(&b, "beta");
    hear_option(&out, 3, 2, a.bytes, a.n);
    hear_option(&out, 3, 2, b.bytes, b.n);
    ack(3);
    say(&data, "x", 1);
    option(3);
    refused(3, 3, "LIST takes no data");
    script_free(&a);
    script_free(&b);
    play(&in, &out, is_alive);
}

static void info_says_what_was_asked_for(void **state)
{
    (void)state;
    static const uint16_t all[] = {3, 0, 2, 1, 77};
    uint8_t sizes[12];
    put_be32(sizes, 1);
    put_be32(sizes + 4, 4096);
    put_be32(sizes + 8, 32 << 20);
    go(6, "", all, 5);
    hear_export(6, PEER_SIZE, FLAGS);
    hear_info(6, 1, "demo", 4);
    hear_info(6, 2, "a disk", 6);
    hear_info(6, 3, sizes, sizeof sizes);
    ack(6);
    go(6, "ro", NULL, 0);
    hear_export(6, PEER_SIZE, FLAGS_RO);
    ack(6);
    play(&in, &out, is_alive);
}

static void info_that_is_malformed(void **state)
{
    (void)state;
    static const char count[] = "the number of information requests does not fit the option's length";
    go(6, "demo", NULL, 0);
    put_be32(in.bytes + in.n - 10, 5);             /* the name's length, one too long */
    refused(6, 3, "a string contains a NUL byte"); /* the next field is its last byte */
    go(6, "demo", NULL, 0);
    put_be32(in.bytes + in.n - 10, 0xffffffff);
    refused(6, 3, "a string is longer than the option that holds it");
    go(7, "demo", NULL, 0);
    put_be16(in.bytes + in.n - 2, 1); /* one that does not come */
    refused(7, 3, count);
    say(&data, "abc", 3);
    option(7);
    refused(7, 3, "a string is longer than the option that holds it");
    say32(&data, 3);
    say(&data, "a\0b\0", 5);
    option(7);
    refused(7, 3, "a string contains a NUL byte");
    say32(&data, 4097);
    script_room(&data, 4097 + 2);
    option(7);
    refused(7, 3, "a string is longer than 4096 bytes");
    play(&in, &out, is_alive);
}

static void go_fails_politely_and_succeeds(void **state)
{
    (void)state;
    go(7, "nothing", NULL, 0);
    refused(7, 6, "no such export");
    go(7, "held", NULL, 0);
    refused(7, 2, "held by quarry");
    go(7, "demo", NULL, 0);
    hear_export(7, PEER_SIZE, FLAGS);
    ack(7);
    say_request(&in, 0, NBD_CMD_FLUSH, 9, 0, 0);
    hear_simple(&out, 9, 0);
    play(&in, &out, is_alive);
}

static void export_name_with_and_without_zeroes(void **state)
{
    (void)state;
    for (uint32_t client = 0; client <= 3; client++) {
        begin(NULL);
        put_be32(in.bytes, client);
        say(&data, "demo", 4);
        option(1);
        say64(&out, PEER_SIZE);
        say16(&out, FLAGS);
        script_room(&out, client & 2 ? 0 : 124);
        say_request(&in, 0, NBD_CMD_DISC, 1, 0, 0);
        play(&in, &out, is_ending);
    }
}

static void export_name_that_cannot_be(void **state)
{
    (void)state;
    say(&data, "nothing", 7);
    option(1);
    play(&in, &out, is_broken);
    begin(NULL);
    script_room(&data, 4097);
    option(1);
    in.n -= 4097;
    play(&in, &out, is_broken);
    begin(NULL);
    say(&data, "a\0b", 3);
    option(1);
    play(&in, &out, is_broken);
}

static void structured_reply_adds_df(void **state)
{
    (void)state;
    say(&data, "x", 1);
    option(8);
    refused(8, 3, "STRUCTURED_REPLY takes no data");
    option(8);
    ack(8);
    option(8);
    ack(8);
    go(6, "demo", NULL, 0);
    hear_export(6, PEER_SIZE, FLAGS | DF);
    ack(6);
    go(7, "ro", NULL, 0);
    hear_export(7, PEER_SIZE, FLAGS_RO | DF);
    ack(7);
    play(&in, &out, is_alive);
}

/* ------------------------------------------------------------ meta contexts */

static void meta(uint32_t number, const char *name, const char *const *queries, uint32_t count)
{
    say_text(&data, name);
    say32(&data, count);
    for (uint32_t i = 0; i < count; i++)
        say_text(&data, queries[i]);
    option(number);
}

static void hear_context(uint32_t number, uint32_t id, const char *name)
{
    struct script s = {0};
    say32(&s, id);
    say(&s, name, strlen(name));
    hear_option(&out, number, 4, s.bytes, s.n);
    script_free(&s);
}

static const char *const some[] = {"qemu:dirty-bitmap:x", "base:allocation", "base:allocation",
                                   "ashlar:nothing"};
static const char *const both[] = {"ashlar:breaks", "base:allocation"};
static const char *const namespaces[] = {"ashlar:", "base:"};

static void structured(void)
{
    option(8);
    ack(8);
}

static void contexts_are_listed(void **state)
{
    (void)state;
    meta(9, "demo", NULL, 0);
    refused(9, 3, "metadata contexts need STRUCTURED_REPLY first");
    structured();
    meta(9, "demo", NULL, 0);
    hear_context(9, 0, "base:allocation");
    hear_context(9, 0, "ashlar:breaks");
    hear_context(9, 0, "qemu:allocation-depth");
    hear_context(9, 0, "ashlar:changed-since:monday");
    hear_context(9, 0, "ashlar:changed-since:a:b");
    hear_context(9, 0, "qemu:dirty-bitmap:monday");
    hear_context(9, 0, "qemu:dirty-bitmap:a:b");
    ack(9);
    meta(9, "demo", some, 4);
    hear_context(9, 0, "base:allocation");
    ack(9);
    meta(9, "demo", namespaces, 1);
    hear_context(9, 0, "ashlar:breaks");
    hear_context(9, 0, "ashlar:changed-since:monday");
    hear_context(9, 0, "ashlar:changed-since:a:b");
    ack(9);
    static const char *const part[] = {"qemu:dirty-bitmap:", "ashlar:changed-since:a:b", "qemu:dirty"};
    meta(9, "demo", part, 3);
    hear_context(9, 0, "ashlar:changed-since:a:b");
    hear_context(9, 0, "qemu:dirty-bitmap:monday");
    hear_context(9, 0, "qemu:dirty-bitmap:a:b");
    ack(9);
    meta(9, "nothing", NULL, 0);
    refused(9, 6, "no such export");
    play(&in, &out, is_alive);
}

static void contexts_malformed(void **state)
{
    (void)state;
    static const char *const bare[] = {"allocation"};
    structured();
    meta(10, "demo", bare, 1);
    refused(10, 3, "a query has no namespace, as in \"base:allocation\"");
    say_text(&data, "demo");
    option(10);
    refused(10, 3, "the number of queries is missing");
    say_text(&data, "demo");
    say32(&data, 0xffffffff);
    say_text(&data, "base:allocation");
    option(10);
    refused(10, 3, "there are fewer queries than stated");
    say_text(&data, "demo");
    say32(&data, 2);
    say_text(&data, "base:allocation");
    option(10);
    refused(10, 3, "a string is longer than the option that holds it");
    say_text(&data, "demo");
    say32(&data, 0);
    say(&data, "?", 1);
    option(10);
    refused(10, 3, "there is more data than queries");
    play(&in, &out, is_alive);
}

static unsigned expected_contexts;
static void has_contexts(struct peer *p)
{
    unsigned ids = 0;
    for (size_t i = 0; i < nbd_context_count(&p->nbd); i++)
        ids |= 1u << (nbd_context(&p->nbd, i)->id - 1);
    assert_int_equal(ids, expected_contexts);
}

static void go_with_contexts(const char *name, unsigned contexts)
{
    go(7, name, NULL, 0);
    hear_export(7, PEER_SIZE, (strcmp(name, "ro") == 0 ? FLAGS_RO : FLAGS) | DF);
    ack(7);
    expected_contexts = contexts;
    play(&in, &out, has_contexts);
    begin(NULL);
}

static void set_both(void)
{
    structured();
    meta(10, "demo", both, 2);
    hear_context(10, 1, "base:allocation");
    hear_context(10, 2, "ashlar:breaks");
    ack(10);
}

static void contexts_are_set_for_one_name(void **state)
{
    (void)state;
    set_both();
    go_with_contexts("demo", 3);
    set_both();
    go_with_contexts("ro", 0);
    set_both();
    meta(10, "demo", some, 4);
    hear_context(10, 1, "base:allocation");
    ack(10);
    go_with_contexts("demo", 1);
    structured();
    static const char *const since[] = {"qemu:dirty-bitmap:a:b", "qemu:dirty-bitmap:sunday",
                                        "qemu:allocation-depth", "ashlar:changed-since:monday",
                                        "qemu:dirty-bitmap:"};
    meta(10, "demo", since, 5);
    hear_context(10, 3, "qemu:allocation-depth");
    hear_context(10, 6, "ashlar:changed-since:monday");
    hear_context(10, 7, "qemu:dirty-bitmap:a:b");
    ack(10);
    go_with_contexts("demo", 0x64);
    set_both(); /* none asked for: none */
    meta(10, "demo", NULL, 0);
    ack(10);
    go_with_contexts("demo", 0);
    set_both(); /* a namespace selects nothing */
    meta(10, "demo", namespaces, 2);
    ack(10);
    go_with_contexts("demo", 0);
    set_both(); /* a failure takes away what was set before */
    meta(10, "nothing", both, 2);
    refused(10, 6, "no such export");
    go_with_contexts("demo", 0);
    set_both();
    script_room(&data, 40000);
    option(10);
    refused(10, 9, "the option's data is longer than 16 KiB");
    go_with_contexts("demo", 0);
    script_free(&in);
    script_free(&out);
}

/* -------------------------------------------------------------------- bounds */

static void too_many_options(void **state)
{
    (void)state;
    for (int i = 0; i < NBD_OPTIONS_MAX; i++) {
        option(8);
        ack(8);
    }
    struct script more = {0};
    say(&more, in.bytes, in.n);
    play(&in, &out, is_alive);
    say_option(&more, 8, NULL);
    struct peer p;
    peer_init(&p);
    peer_feed(&p, more.bytes, more.n, SIZE_MAX);
    is_broken(&p);
    peer_finish(&p);
    script_free(&more);
}

static void a_client_that_does_not_read_is_not_answered_for_ever(void **state)
{
    (void)state;
    struct peer p;
    for (int i = 0; i < NBD_OPTIONS_MAX; i++) {
        go(6, "demo", (const uint16_t[]){2, 3}, 2);
        option(4);
    }
    peer_init(&p);
    p.send_limit = 0;
    peer_feed(&p, in.bytes, 4, SIZE_MAX);
    for (size_t i = 0; i < 100; i++)
        peer_feed(&p, in.bytes + 4, in.n - 4, SIZE_MAX);
    assert_true(nbd_output_bytes(&p.nbd) <= NBD_OUTPUT_HIGH + 4096);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

static void an_answer_that_takes_time(void **state)
{
    (void)state;
    struct peer p;
    go(7, "later", NULL, 0);
    size_t first = in.n;
    say_request(&in, 0, NBD_CMD_FLUSH, 3, 0, 0);
    peer_init(&p);
    assert_int_equal(peer_feed(&p, in.bytes, in.n, first), first);
    assert_int_equal(nbd_waits_for(&p.nbd), NBD_WAIT_US);
    assert_false(nbd_wants_input(&p.nbd));
    peer_answer(&p);
    assert_int_equal(peer_feed(&p, in.bytes + first, in.n - first, 1), in.n - first);
    hear_export(7, PEER_SIZE, FLAGS);
    ack(7);
    hear_simple(&out, 3, 0);
    assert_int_equal(p.out_bytes, out.n);
    assert_memory_equal(p.out, out.bytes, out.n);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

static void shutting_down_refuses_to_open(void **state)
{
    (void)state;
    struct peer p;
    go(7, "later", NULL, 0);
    peer_init(&p);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    nbd_shutdown(&p.nbd);
    assert_int_equal(nbd_end(&p.nbd), NBD_ALIVE);
    peer_answer(&p);
    is_ending(&p);
    peer_finish(&p);
    peer_init(&p);
    nbd_shutdown(&p.nbd);
    is_ending(&p);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

static void rests_hold_no_buffer(void **state)
{
    (void)state;
    struct peer p;
    peer_init(&p);
    go(7, "demo", NULL, 0);
    say(&in, "\x25\x60\x95\x13", 4);
    peer_feed(&p, in.bytes, in.n, SIZE_MAX);
    assert_null(p.nbd.receive);
    assert_null(p.nbd.output.items);
    assert_null(p.nbd.output.block);
    assert_int_equal(nbd_waits_for(&p.nbd), NBD_WAIT_PAYLOAD);
    assert_false(nbd_eof(&p.nbd));
    is_ending(&p);
    peer_finish(&p);
    script_free(&in);
    script_free(&out);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
RUN_TESTS(T(greeting_alone), T(unknown_client_flags_end_it), T(no_magic_ends_it), T(abort_is_acknowledged),
          T(unknown_options_are_drained), T(oversized_options_are_drained), T(list),
          T(info_says_what_was_asked_for), T(info_that_is_malformed), T(go_fails_politely_and_succeeds),
          T(export_name_with_and_without_zeroes), T(export_name_that_cannot_be), T(structured_reply_adds_df),
          T(contexts_are_listed), T(contexts_malformed), T(contexts_are_set_for_one_name),
          T(too_many_options), T(a_client_that_does_not_read_is_not_answered_for_ever),
          T(an_answer_that_takes_time), T(shutting_down_refuses_to_open), T(rests_hold_no_buffer))
