/* What the S3 store makes of servers that are odd, broken or hostile: real sockets, answers written by hand.
 * */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "loop/uv_loop.h"
#include "objstore/s3/s3.h"
#include "objstore_kit.h"
#include "unit.h"

#define OK_HEAD   "HTTP/1.1 200 OK\r\nConnection: close\r\n"
#define PART_HEAD "HTTP/1.1 206 Partial Content\r\nConnection: close\r\n"

/* ------------------------------------------------------------------- a server of a few lines */

/* Answers one request after the other, each on a connection of its own. */
static struct {
    int listener;
    unsigned port;
    pthread_t thread;
    atomic_uint requests;
    const char *const *answers; /* in turn; the last one again and again */
    void (*respond)(int fd, const char *head);
    char last_head[8192];
} server;

static void say(int fd, const char *text)
{
    size_t n = strlen(text);
    while (n) {
        ssize_t w = send(fd, text, n, MSG_NOSIGNAL);
        if (w <= 0)
            return;
        text += w;
        n -= (size_t)w;
    }
}

static bool read_request(int fd, char head[8192])
{
    size_t n = 0;
    char *end = NULL;
    while (!end) {
        ssize_t r = read(fd, head + n, 8191 - n);
        if (r <= 0)
            return false;
        n += (size_t)r;
        head[n] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *length = strcasestr(head, "content-length:");
    size_t left = length ? strtoul(length + 15, NULL, 10) : 0, have = n - (size_t)(end + 4 - head);
    char sink[4096];
    for (ssize_t r; have < left && (r = read(fd, sink, sizeof sink)) > 0;)
        have += (size_t)r;
    return true;
}

static void *serve(void *unused)
{
    (void)unused;
    for (int fd; (fd = accept(server.listener, NULL, NULL)) >= 0; close(fd)) {
        char head[8192];
        if (!read_request(fd, head))
            continue;
        unsigned number = atomic_fetch_add(&server.requests, 1);
        memcpy(server.last_head, head, sizeof head);
        if (server.respond) {
            server.respond(fd, head);
            continue;
        }
        unsigned last = 0;
        while (server.answers[last + 1])
            last++;
        say(fd, server.answers[number < last ? number : last]);
    }
    return NULL;
}

static struct conformance c; /* what the kit needs */

static void begin(const char *const *answers, void (*respond)(int, const char *))
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    memset(&server, 0, sizeof server);
    server.answers = answers;
    server.respond = respond;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server.listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(server.listener, 128), 0);
    assert_int_equal(getsockname(server.listener, (struct sockaddr *)&a, &n), 0);
    assert_int_equal(pthread_create(&server.thread, NULL, serve, NULL), 0);

    char endpoint[64];
    struct complaint why = {""};
    snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%u", ntohs(a.sin_port));
    struct s3_config cfg = {.bucket = "bucket", .prefix = "", .endpoint = endpoint, .path_style = -1};
    c = (struct conformance){.loop = uv_loop_create(), .prefix = ""};
    assert_int_equal(s3_store_create(c.loop, &cfg, &c.store, &why), ERR_OK);
}

static void end(void)
{
    objstore_destroy(c.store);
    uv_loop_destroy(c.loop);
    shutdown(server.listener, SHUT_RDWR);
    pthread_join(server.thread, NULL);
    close(server.listener);
}

static int with_keys(void **state)
{
    (void)state;
    setenv("AWS_ACCESS_KEY_ID", "id", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    setenv("HOME", "/nonexistent", 1);
    unsetenv("AWS_PROFILE");
    unsetenv("http_proxy");
    return 0;
}

static void holds(struct buf *b, const char *text)
{
    assert_int_equal(b->bytes, strlen(text));
    assert_memory_equal(b->data, text, b->bytes);
    buf_unref(b);
}

/* --------------------------------------------------------------------------------------- PUT */

static void what_has_no_etag_was_not_stored(void **state)
{
    (void)state;
    const char *const answers[] = {OK_HEAD "Content-Length: 5\r\n\r\nhello",
                                   OK_HEAD "ETag: \"e1\"\r\nContent-Length: 0\r\n\r\n", NULL};
    char etag[OBJSTORE_ETAG_MAX];
    begin(answers, NULL);
    assert_int_equal(kit_put(&c, "a", "x", 1, OBJSTORE_ANY, etag), ERR_OK);
    assert_string_equal(etag, "e1");
    assert_int_equal(server.requests, 2);
    end();
    begin(answers, NULL);
    assert_int_equal(kit_put(&c, "a", "x", 1, OBJSTORE_CREATE, NULL), ERR_UNKNOWN);
    assert_int_equal(server.requests, 1);
    end();
}

/* curl leaves out a header without a value, so that the PUT would have no condition at all. */
static void no_etag_is_matched_by_none(void **state)
{
    (void)state;
    const char *const answers[] = {OK_HEAD "ETag: \"e1\"\r\nContent-Length: 0\r\n\r\n", NULL};
    char etag[OBJSTORE_ETAG_MAX] = "";
    static char large[100000];
    begin(answers, NULL);
    assert_int_equal(kit_put(&c, "a", "x", 1, OBJSTORE_MATCH, etag), ERR_CONFLICT);
    assert_int_equal(kit_put(&c, "a", large, sizeof large, OBJSTORE_MATCH, etag), ERR_CONFLICT);
    assert_int_equal(server.requests, 0);
    end();
}

static void too_much(int fd, const char *head)
{
    (void)head;
    static char piece[65537];
    memset(piece, 'x', sizeof piece - 1);
    say(fd, OK_HEAD "ETag: \"e1\"\r\n\r\n");
    for (unsigned i = 0; i < 80; i++)
        say(fd, piece);
}

static void an_answer_too_large_is_no_refusal(void **state)
{
    (void)state;
    begin(NULL, too_much);
    assert_int_equal(kit_put(&c, "a", "x", 1, OBJSTORE_CREATE, NULL), ERR_UNKNOWN);
    assert_int_equal(server.requests, 1);
    end();
}

/* --------------------------------------------------------------------------------------- GET */

#define RIGHT_PART PART_HEAD "Content-Range: bytes 2-5/10\r\nContent-Length: 4\r\n\r\n2345"

static void comes_after(const char *const *answers, unsigned requests)
{
    struct buf *b;
    begin(answers, NULL);
    assert_int_equal(kit_range(&c, "a", 2, 4, &b), ERR_OK);
    holds(b, "2345");
    assert_int_equal(server.requests, requests);
    end();
}

static void only_the_range_asked_for_will_do(void **state)
{
    (void)state;
    const char *const others[] = {OK_HEAD "Content-Length: 10\r\n\r\n0123456789",
                                  PART_HEAD "Content-Range: bytes 1-4/10\r\nContent-Length: 4\r\n\r\n1234",
                                  PART_HEAD "Content-Range: bytes 2-5/10\r\nContent-Length: 6\r\n\r\n234567",
                                  PART_HEAD "Content-Length: 4\r\n\r\n2345",
                                  RIGHT_PART,
                                  NULL};
    const char *const broken_off[] = {PART_HEAD "Content-Range: bytes 2-5/10\r\nContent-Length: 2\r\n\r\n23",
                                      PART_HEAD "Content-Range: bytes 2-5/10\r\n\r\n234",
                                      PART_HEAD "Content-Range: bytes 2-5/10\r\nContent-Length: 4\r\n\r\n23",
                                      RIGHT_PART, NULL};
    comes_after(others, 5);
    comes_after(broken_off, 4);
}

static void an_object_that_ends_early_is_damaged(void **state)
{
    (void)state;
    const char *const answers[] = {PART_HEAD "Content-Range: bytes 2-3/4\r\nContent-Length: 2\r\n\r\n23",
                                   NULL};
    struct buf *b;
    begin(answers, NULL);
    assert_int_equal(kit_range(&c, "a", 2, 4, &b), ERR_CORRUPT);
    assert_int_equal(server.requests, 1);
    end();
}

#define WHOLE OK_HEAD "Transfer-Encoding: chunked\r\nETag: \"e\"\r\n\r\n4\r\n0123\r\n0\r\n\r\n"

static void whole_after(const char *const *answers, unsigned requests)
{
    struct buf *b;
    begin(answers, NULL);
    assert_int_equal(kit_get(&c, "a", 100, &b, NULL), ERR_OK);
    holds(b, "0123");
    assert_int_equal(server.requests, requests);
    end();
}

static void a_whole_object_comes_whole(void **state)
{
    (void)state;
    const char *const parts[] = {PART_HEAD "Content-Range: bytes 0-1/4\r\nContent-Length: 2\r\n\r\n01",
                                 OK_HEAD "\r\n01", WHOLE, NULL};
    const char *const others[] = {
        "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 5\r\n\r\nsorry",
        "HTTP/1.1 302 Found\r\nConnection: close\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: "
        "0\r\n\r\n",
        "garbage\r\n\r\n",
        "",
        WHOLE,
        NULL};
    whole_after(parts, 3);
    whole_after(others, 5);
}

static void a_head_without_a_length_is_asked_again(void **state)
{
    (void)state;
    const char *const answers[] = {OK_HEAD "ETag: \"e\"\r\n\r\n",
                                   OK_HEAD "Content-Length: many\r\nETag: \"e\"\r\n\r\n",
                                   OK_HEAD "Content-Length: 7\r\nETag: \"e\"\r\n\r\n", NULL};
    struct objstore_req q = {.verb = OBJSTORE_HEAD, .key = "a"};
    begin(answers, NULL);
    kit_submit(&c, &q);
    kit_wait(&c);
    assert_int_equal(q.err, ERR_OK);
    assert_int_equal(q.object_bytes, 7);
    assert_int_equal(server.requests, 3);
    end();
}

/* -------------------------------------------------------------------------- no space left */

#define FULL                                                                                                 \
    "HTTP/1.1 507 Insufficient Storage\r\nConnection: close\r\nContent-Length: 45\r\n\r\n"                   \
    "<Error><Code>XMinioStorageFull</Code></Error>"
#define NOTHING  "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
#define THERE(e) OK_HEAD "Content-Length: 1\r\nETag: \"" e "\"\r\n\r\n"

static void no_space(const char *look, enum objstore_condition condition, enum err expected)
{
    const char *const answers[] = {FULL, look, NULL};
    char etag[OBJSTORE_ETAG_MAX] = "old";
    begin(answers, NULL);
    assert_int_equal(kit_put(&c, "a", "x", 1, condition, etag), expected);
    assert_int_equal(server.requests, condition == OBJSTORE_ANY ? 1 : 2);
    end();
}

static void full_is_said_only_of_what_was_not_applied(void **state)
{
    (void)state;
    no_space(NOTHING, OBJSTORE_ANY, ERR_NOSPACE);
    no_space(NOTHING, OBJSTORE_CREATE, ERR_NOSPACE);
    no_space(THERE("any"), OBJSTORE_CREATE, ERR_UNKNOWN);
    no_space(THERE("old"), OBJSTORE_MATCH, ERR_NOSPACE);
    no_space(THERE("new"), OBJSTORE_MATCH, ERR_UNKNOWN);
}

/* ------------------------------------------------------------------- lists without an end */

static void a_page(int fd, const char *key, unsigned token)
{
    char body[400], head[200];
    snprintf(body, sizeof body,
             "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t%u"
             "</NextContinuationToken>%s%s%s</ListBucketResult>",
             token, key ? "<Contents><Key>" : "", key ? key : "",
             key ? "</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
                 : "");
    snprintf(head, sizeof head, OK_HEAD "Content-Length: %zu\r\n\r\n", strlen(body));
    say(fd, head);
    say(fd, body);
}

static void ever_new_tokens(int fd, const char *head)
{
    (void)head;
    a_page(fd, NULL, server.requests);
}

static void in_a_circle(int fd, const char *head)
{
    (void)head;
    a_page(fd, server.requests % 2 ? "a" : "b", server.requests % 2);
}

static void the_same_token(int fd, const char *head)
{
    (void)head;
    a_page(fd, "a", 1);
}

static void lists_come_to_an_end(void **state)
{
    (void)state;
    void (*const servers[])(int, const char *) = {ever_new_tokens, in_a_circle, the_same_token};
    for (size_t i = 0; i < COUNT_OF(servers); i++) {
        struct objstore_req q = {.verb = OBJSTORE_LIST, .key = "", .list_limit = OBJSTORE_LIST_MAX};
        begin(NULL, servers[i]);
        kit_submit(&c, &q);
        kit_wait(&c);
        assert_int_equal(q.err, ERR_CORRUPT);
        assert_int_equal(q.entry_count, 0);
        end();
    }
}

static void for_ever(int fd, const char *head)
{
    (void)head;
    static char piece[65537];
    if (server.requests > 1) {
        say(fd, OK_HEAD "Content-Length: 1\r\n\r\nx");
        return;
    }
    memset(piece, 'x', sizeof piece - 1);
    say(fd, "HTTP/1.1 500 Internal Server Error\r\n\r\n");
    for (unsigned i = 0; i < 4000; i++)
        say(fd, piece);
}

static void an_endless_error_is_cut(void **state)
{
    (void)state;
    struct buf *b;
    begin(NULL, for_ever);
    assert_int_equal(kit_get(&c, "a", 100, &b, NULL), ERR_OK);
    holds(b, "x");
    assert_true(c.store->counters.bytes_in < 1000000);
    end();
}

/* -------------------------------------------------------------------------------------- clocks */

static time_t ahead; /* of this machine's clock */

static void strict_about_time(int fd, const char *head)
{
    struct tm tm = {0};
    char date[64], answer[512];
    const char *at = strcasestr(head, "x-amz-date:");
    time_t now = time(NULL) + ahead;
    if (at && strptime(at + 12, "%Y%m%dT%H%M%SZ", &tm) && labs(timegm(&tm) - now) < 900) {
        say(fd, OK_HEAD "ETag: \"e\"\r\nContent-Length: 1\r\n\r\nx");
        return;
    }
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &tm));
    static const char body[] = "<Error><Code>RequestTimeTooSkewed</Code></Error>";
    snprintf(answer, sizeof answer,
             "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nDate: %s\r\nContent-Length: %zu\r\n\r\n%s", date,
             sizeof body - 1, body);
    say(fd, answer);
}

/* All of them are signed before the first is refused; each learns of the same difference. */
static void many_refused_at_once_correct_the_clock_once(void **state)
{
    (void)state;
    enum { MANY = 32 };
    static struct kit_put puts[MANY];
    static char keys[MANY][8];
    ahead = 7200;
    begin(NULL, strict_about_time);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        kit_put_init(&puts[i], keys[i], "x", 1, OBJSTORE_CREATE, NULL);
        kit_submit(&c, &puts[i].req);
    }
    kit_wait(&c);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(puts[i].req.err, ERR_OK);
    assert_int_equal(server.requests, 2 * MANY);
    end();
}

static void a_clock_thousands_of_years_away_is_none(void **state)
{
    (void)state;
    const char *const answers[] = {
        "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 115\r\n\r\n"
        "<Error><Code>RequestTimeTooSkewed</Code><ServerTime>9999-12-31T23:59:59Z</ServerTime>"
        "<Message>never</Message></Error>",
        OK_HEAD "Content-Length: 1\r\n\r\nx", NULL};
    struct buf *b;
    begin(answers, NULL);
    assert_int_equal(kit_get(&c, "a", 100, &b, NULL), ERR_OK);
    holds(b, "x");
    assert_null(strstr(server.last_head, "x-amz-date: 9999"));
    end();
}

#define T(name) cmocka_unit_test_setup(name, with_keys)
RUN_TESTS(T(what_has_no_etag_was_not_stored), T(no_etag_is_matched_by_none),
          T(an_answer_too_large_is_no_refusal), T(only_the_range_asked_for_will_do),
          T(an_object_that_ends_early_is_damaged), T(a_whole_object_comes_whole),
          T(a_head_without_a_length_is_asked_again), T(full_is_said_only_of_what_was_not_applied),
          T(lists_come_to_an_end), T(an_endless_error_is_cut), T(many_refused_at_once_correct_the_clock_once),
          T(a_clock_thousands_of_years_away_is_none))
