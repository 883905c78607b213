#include "objstore/s3/http.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "objstore/s3/http_head.h"

#define CONNECT_TIMEOUT_MS 8000L
#define DEAD_PEER_MS       20000 /* data not acknowledged for so long */
#define KEPT_CONNECTIONS   96L
#define IDLE_HANDLES_MAX   96
#define BUFFER_BYTES       (128L << 10)
#define ROUND_BYTES        (128u << 10)

struct http {
    struct loop *loop;
    CURLM *multi;
    struct timer timer;
    struct list sockets; /* struct http_socket */
    struct list ready;   /* those of them that wait to be served */
    struct task serve;
    size_t taken; /* content, in this round */
    char *ca_file;
    CURL *idle[IDLE_HANDLES_MAX];
    size_t idle_count;
    size_t running;
};

struct http_socket {
    struct watch watch;
    struct link link, ready;
    unsigned events;
    struct http *http;
    curl_socket_t fd;
};

/* ------------------------------------------------------------- what curl calls */

static size_t on_header(char *line, size_t size, size_t n, void *data)
{
    struct http_call *c = data;
    (void)size;
    c->header_bytes += n;
    if (c->header_bytes > HTTP_HEADERS_MAX_BYTES)
        return 0;
    http_head_line(&c->head, line, n);
    return n;
}

static bool is_success(const struct http_call *c)
{
    return c->head.status >= 200 && c->head.status < 300;
}

/* Content of a stated length goes into a buffer of exactly that length, which is handed out. */
static bool make_content_room(struct http_call *c, size_t n)
{
    if (n > c->limit - c->received || (c->head.has_length && c->head.content_length > c->limit)) {
        c->too_large = true;
        return false;
    }
    if (!c->content) {
        c->content = buf_create(c->head.has_length ? (size_t)c->head.content_length : MAX(n, 16384));
        return n <= c->content->bytes;
    }
    if (n <= c->content->bytes - c->received)
        return true;
    if (c->head.has_length)
        return false;
    struct buf *larger = buf_create(2 * (c->received + n));
    memcpy(larger->data, c->content->data, c->received);
    buf_unref(c->content);
    c->content = larger;
    return true;
}

static size_t on_content(char *bytes, size_t size, size_t n, void *data)
{
    struct http_call *c = data;
    (void)size;
    if (!is_success(c)) {
        size_t room = HTTP_ERROR_MAX - c->error.bytes;
        text_add_bytes(&c->error, bytes, n < room ? n : room);
        c->error_cut = n > room;
        return c->error_cut ? 0 : n;
    }
    if (!make_content_room(c, n))
        return 0;
    memcpy(c->content->data + c->received, bytes, n);
    c->received += n;
    c->http->taken += n;
    return n;
}

static size_t on_body_wanted(char *to, size_t size, size_t n, void *data)
{
    struct http_call *c = data;
    size_t room = size * n, given = 0;
    while (given < room && c->body_piece < c->body_count) {
        const struct iovec *v = &c->body[c->body_piece];
        size_t part = MIN(v->iov_len - c->body_skip, room - given);
        memcpy(to + given, (const char *)v->iov_base + c->body_skip, part);
        given += part;
        c->body_skip += part;
        if (c->body_skip == v->iov_len) {
            c->body_piece++;
            c->body_skip = 0;
        }
    }
    if (given)
        c->left = true;
    return given;
}

/* curl rewinds the body only to send the request again, after part of it was sent on a connection that died.
 */
static int on_rewind(void *data, curl_off_t offset, int origin)
{
    struct http_call *c = data;
    if (c->once || offset != 0 || origin != SEEK_SET)
        return CURL_SEEKFUNC_FAIL;
    c->body_piece = c->body_skip = 0;
    return CURL_SEEKFUNC_OK;
}

static int on_socket_made(void *data, curl_socket_t fd, curlsocktype purpose)
{
    unsigned dead_ms = DEAD_PEER_MS;
    (void)data;
    (void)purpose;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof dead_ms);
    return CURL_SOCKOPT_OK;
}

/* ----------------------------------------------------------- finishing a call */

static void put_handle(struct http *h, CURL *easy)
{
    if (h->idle_count < IDLE_HANDLES_MAX)
        h->idle[h->idle_count++] = easy;
    else
        curl_easy_cleanup(easy);
}

static void detach(struct http_call *c)
{
    curl_multi_remove_handle(c->http->multi, c->easy);
    curl_easy_setopt(c->easy, CURLOPT_ERRORBUFFER, NULL);
    put_handle(c->http, c->easy);
    c->easy = NULL;
    c->http->running--;
}

static bool never_connected(const struct http_call *c, CURLcode code)
{
    curl_off_t pretransfer_us = 0;
    curl_easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer_us);
    return !c->left &&
           (pretransfer_us == 0 || code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST ||
            code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION);
}

/* A request without a body has left as soon as its head may have. */
static void note_departure(struct http_call *c)
{
    curl_off_t pretransfer_us = 0;
    curl_easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer_us);
    if (c->body_bytes == 0 && pretransfer_us > 0)
        c->left = true;
}

/* Gives the content its exact length; false when it is shorter than was stated. */
static bool fit_content(struct http_call *c)
{
    if (!is_success(c) || c->method == HTTP_HEAD)
        return true;
    if (c->head.has_length && c->received != c->head.content_length)
        return false;
    if (c->content && c->content->bytes == c->received)
        return true;
    struct buf *exact = buf_create(c->received);
    if (c->content)
        memcpy(exact->data, c->content->data, c->received);
    buf_unref(c->content);
    c->content = exact;
    return true;
}

static void finish(struct http_call *c, CURLcode code)
{
    note_departure(c);
    c->is_tls_failure = code == CURLE_SSL_CONNECT_ERROR || code == CURLE_PEER_FAILED_VERIFICATION ||
                        code == CURLE_SSL_CACERT_BADFILE || code == CURLE_SSL_ISSUER_ERROR;
    if (c->too_large)
        c->failure = HTTP_TOO_LARGE;
    else if ((code == CURLE_OK || c->error_cut) && c->head.status)
        c->failure = fit_content(c) ? HTTP_ANSWERED : HTTP_BROKEN;
    else
        c->failure = never_connected(c, code) ? HTTP_NO_CONTACT : HTTP_BROKEN;
    if (c->failure != HTTP_ANSWERED && !c->why[0])
        snprintf(c->why, sizeof c->why, "%s", code ? curl_easy_strerror(code) : "the answer is cut short");
    if (c->failure != HTTP_ANSWERED) {
        buf_unref(c->content);
        c->content = NULL;
    }
    detach(c);
    c->done(c);
}

static void collect_finished(struct http *h)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(h->multi, &left))) {
        char *private;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private);
        finish((struct http_call *)(void *)private, code);
    }
}

/* -------------------------------------------------------- curl's view of a loop */

static void act(struct http *h, curl_socket_t fd, int events)
{
    int running;
    CURLMcode m = curl_multi_socket_action(h->multi, fd, events, &running);
    if (m != CURLM_OK && m != CURLM_BAD_SOCKET)
        log_error("s3", "curl: %s", curl_multi_strerror(m));
    collect_finished(h);
}

static void timer_fired(struct timer *t)
{
    act(CONTAINER_OF(t, struct http, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* curl reads a socket until it is empty, which may be a whole object. What that finishes is answered, and
 * what follows from it is sent, before the next one is read: else the server waits for us and then we for
 * it. */
static void serve_ready(struct task *t)
{
    struct http *h = CONTAINER_OF(t, struct http, serve);
    h->taken = 0;
    if (timer_started(&h->timer) && h->timer.due_ns <= loop_now_ns(h->loop)) {
        timer_stop(&h->timer);
        timer_fired(&h->timer);
    }
    struct link *k;
    while (h->taken < ROUND_BYTES && (k = list_pop(&h->ready))) {
        struct http_socket *s = CONTAINER_OF(k, struct http_socket, ready);
        act(h, s->fd,
            (s->events & WATCH_READ ? CURL_CSELECT_IN : 0) |
                (s->events & WATCH_WRITE ? CURL_CSELECT_OUT : 0));
    }
    if (!list_empty(&h->ready))
        loop_post(h->loop, &h->serve);
}

static void socket_ready(struct watch *w, unsigned events)
{
    struct http_socket *s = CONTAINER_OF(w, struct http_socket, watch);
    s->events = events;
    if (!link_in_list(&s->ready))
        list_push(&s->http->ready, &s->ready);
    loop_post(s->http->loop, &s->http->serve);
}

static int on_timer(CURLM *multi, long ms, void *data)
{
    struct http *h = data;
    (void)multi;
    if (ms < 0)
        timer_stop(&h->timer);
    else
        timer_start(h->loop, &h->timer, (uint64_t)ms * NS_PER_MS);
    return 0;
}

static void drop_socket(struct http_socket *s)
{
    watch_stop(&s->watch);
    list_remove(&s->link);
    list_remove(&s->ready);
    mem_free(s);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *of_socket)
{
    struct http *h = data;
    struct http_socket *s = of_socket;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (s)
            drop_socket(s);
        curl_multi_assign(h->multi, fd, NULL);
        return 0;
    }
    if (!s) {
        s = MEM_NEW(struct http_socket);
        s->http = h;
        s->fd = fd;
        s->watch.ready = socket_ready;
        list_push(&h->sockets, &s->link);
        curl_multi_assign(h->multi, fd, s);
    }
    watch_set(h->loop, &s->watch, fd,
              (what & CURL_POLL_IN ? WATCH_READ : 0) | (what & CURL_POLL_OUT ? WATCH_WRITE : 0));
    return 0;
}

/* ------------------------------------------------------------ creating and ending */

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct http *http_create(struct loop *l, const char *ca_file)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct http *h = MEM_NEW(struct http);
    h->loop = l;
    h->timer.fire = timer_fired;
    h->ca_file = ca_file ? mem_strdup(ca_file) : NULL;
    list_init(&h->sockets);
    list_init(&h->ready);
    h->serve.run = serve_ready;
    h->multi = curl_multi_init();
    assert(h->multi);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, KEPT_CONNECTIONS);
    curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    return h;
}

void http_destroy(struct http *h)
{
    assert(h->running == 0);
    while (h->idle_count)
        curl_easy_cleanup(h->idle[--h->idle_count]);
    LIST_EACH(&h->sockets, k)
    drop_socket(CONTAINER_OF(k, struct http_socket, link));
    curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, NULL);
    curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, NULL);
    curl_multi_cleanup(h->multi);
    timer_stop(&h->timer);
    task_cancel(&h->serve);
    mem_free(h->ca_file);
    mem_free(h);
}

/* ------------------------------------------------------------------ starting a call */

static CURL *make_handle(struct http *h)
{
    CURL *e = curl_easy_init();
    assert(e);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_USERAGENT, "ashlar/" ASHLAR_VERSION);
    curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_NODELAY, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, 10L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, 5L);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
    curl_easy_setopt(e, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_socket_made);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_content);
    curl_easy_setopt(e, CURLOPT_READFUNCTION, on_body_wanted);
    curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_rewind);
    if (h->ca_file)
        curl_easy_setopt(e, CURLOPT_CAINFO, h->ca_file);
    return e;
}

static void set_method(struct http_call *c)
{
    CURL *e = c->easy;
    curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST,
                     c->method == HTTP_POST     ? "POST"
                     : c->method == HTTP_DELETE ? "DELETE"
                                                : NULL);
    if (c->method == HTTP_HEAD)
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    if (c->method == HTTP_PUT || c->method == HTTP_POST) {
        curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)c->body_bytes);
    }
}

static void set_header(struct http_call *c, size_t i, const char *line)
{
    char *writable;
    memcpy(&writable, &line, sizeof writable); /* curl's list has no const; it writes nothing there */
    c->list[i] = (struct curl_slist){.data = writable};
    if (i)
        c->list[i - 1].next = &c->list[i];
}

static void set_headers(struct http_call *c)
{
    size_t n = 0;
    assert(c->header_count <= HTTP_CALL_HEADERS);
    set_header(c, n++, "Expect:");
    set_header(c, n++, "Accept:");
    for (size_t i = 0; i < c->header_count; i++)
        set_header(c, n++, c->headers[i]);
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->list);
}

static void clear_answer(struct http_call *c)
{
    c->failure = HTTP_ANSWERED;
    c->why[0] = '\0';
    c->is_tls_failure = c->left = c->too_large = c->error_cut = false;
    memset(&c->head, 0, sizeof c->head);
    c->content = NULL;
    text_clear(&c->error);
    c->body_piece = c->body_skip = c->body_bytes = c->received = c->header_bytes = 0;
}

void http_start(struct http *h, struct http_call *c)
{
    assert(!c->easy && c->done);
    clear_answer(c);
    for (size_t i = 0; i < c->body_count; i++)
        c->body_bytes += c->body[i].iov_len;
    c->http = h;
    c->easy = h->idle_count ? h->idle[--h->idle_count] : make_handle(h);
    CURL *e = c->easy;
    curl_easy_setopt(e, CURLOPT_PRIVATE, c);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, c->why);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(e, CURLOPT_READDATA, c);
    curl_easy_setopt(e, CURLOPT_SEEKDATA, c);
    curl_easy_setopt(e, CURLOPT_URL, c->url);
    set_method(c);
    set_headers(c);
    /* A request without a body could be sent again by curl behind our back: only a new connection rules that
     * out. */
    bool fresh = c->fresh || (c->once && c->body_bytes == 0);
    curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    curl_easy_setopt(e, CURLOPT_MAXAGE_CONN, c->max_idle_s ? (long)c->max_idle_s : 118L);
    curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME, (long)c->silence_s);
    CURLMcode m = curl_multi_add_handle(h->multi, e);
    assert(m == CURLM_OK);
    (void)m;
    h->running++;
}

void http_cancel(struct http_call *c)
{
    if (!c->easy)
        return;
    note_departure(c);
    detach(c);
    buf_unref(c->content);
    c->content = NULL;
}

bool http_is_running(const struct http_call *c)
{
    return c->easy != NULL;
}
