/* Transmission: four bytes say how (slices, structured replies, contexts, export, order of answers,
 * admission), then records: a request with its fields, or raw bytes.
 *
 * Checked against a model that reads the same requests: one reply to each valid or invalid request, none
 * twice, chunks inside the range, in order and without overlap, exactly one DONE and it last, the errors the
 * specification names, and nothing after the end. */
#include <string.h>

#include "base/mem.h"
#include "fuzz_reader.h"
#include "nbd_peer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define REQUESTS_MAX 256

struct expected {
    uint64_t offset;
    uint32_t length;
    uint16_t flags, cmd;
    bool answered;
    uint64_t next; /* where the next chunk may begin */
    unsigned contexts;
};

struct session {
    struct peer peer;
    bool structured, contexts, read_only;
    struct expected requests[REQUESTS_MAX];
    size_t count;
    bool broken; /* what was sent is not a request */
    uint8_t *sent;
    size_t sent_bytes;
};

/* ------------------------------------------------------------- what is sent */

static void put(struct session *s, const void *bytes, size_t n)
{
    s->sent = mem_realloc(s->sent, s->sent_bytes + n + 1);
    if (n)
        memcpy(s->sent + s->sent_bytes, bytes, n);
    s->sent_bytes += n;
}

static void put_option(struct session *s, uint32_t option, const void *data, uint32_t n)
{
    uint8_t head[16];
    put_be64(head, NBD_IHAVEOPT);
    put_be32(head + 8, option);
    put_be32(head + 12, n);
    put(s, head, sizeof head);
    put(s, data, n);
}

static void put_handshake(struct session *s)
{
    static const char names[2][5] = {"demo", "ro"};
    const char *name = names[s->read_only];
    uint8_t flags[4] = {0, 0, 0, 3}, meta[64];
    uint32_t name_bytes = (uint32_t)strlen(name);
    put(s, flags, 4);
    if (s->structured)
        put_option(s, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
    if (s->contexts) {
        put_be32(meta, name_bytes);
        memcpy(meta + 4, name, name_bytes);
        put_be32(meta + 4 + name_bytes, 2);
        put_be32(meta + 8 + name_bytes, 15);
        memcpy(meta + 12 + name_bytes, "base:allocation", 15);
        put_be32(meta + 27 + name_bytes, 13);
        memcpy(meta + 31 + name_bytes, "ashlar:breaks", 13);
        put_option(s, NBD_OPT_SET_META_CONTEXT, meta, 44 + name_bytes);
    }
    put_option(s, NBD_OPT_EXPORT_NAME, name, name_bytes);
}

/* Small numbers mostly, and those around the edges. */
static uint64_t pick_offset(uint16_t v)
{
    switch (v >> 14) {
    case 0:
        return v & 0x3fff;
    case 1:
        return PEER_SIZE - (v & 0xff);
    case 2:
        return (uint64_t)(v & 0xff) * PEER_BLOCK;
    default:
        return UINT64_MAX - (v & 0xff);
    }
}

static uint32_t pick_length(uint16_t v)
{
    switch (v >> 14) {
    case 0:
        return v & 0x3f;
    case 1:
        return (v & 0x1f) * 1000u;
    case 2:
        return PEER_SIZE - (v & 0xff);
    default:
        return UINT32_MAX - (v & 0xff);
    }
}

static void put_request(struct session *s, const uint8_t *in)
{
    struct expected e = {.cmd = in[0] % 10,
                         .flags = in[1] & 0x3f,
                         .offset = pick_offset(get_be16(in + 2)),
                         .length = pick_length(get_be16(in + 4))};
    uint8_t head[NBD_REQUEST_BYTES];
    if (e.cmd == NBD_CMD_FLUSH && in[1] & 0x80)
        e.offset = e.length = 0;
    if (e.cmd == NBD_CMD_WRITE || (e.cmd == NBD_CMD_READ && e.length <= PEER_SIZE))
        e.length &= 0x7fff; /* its payload must be sent, or read: the rest is the unit tests' */
    e.next = e.offset;
    put_be32(head, NBD_REQUEST_MAGIC);
    put_be16(head + 4, e.flags);
    put_be16(head + 6, e.cmd);
    put_be64(head + 8, s->count);
    put_be64(head + 16, e.offset);
    put_be32(head + 24, e.length);
    put(s, head, sizeof head);
    if (e.cmd == NBD_CMD_WRITE) {
        uint8_t *payload = mem_calloc(1, e.length);
        put(s, payload, e.length);
        mem_free(payload);
    }
    s->requests[s->count++] = e;
}

/* ---------------------------------------------------------- what is answered */

static uint32_t expected_error(const struct session *s, const struct expected *e)
{
    static const uint16_t allowed[] = {1 | 4, 1, 0, 1, 1, 1, 1 | 2 | 16, 1 | 8};
    bool change = e->cmd == NBD_CMD_WRITE || e->cmd == NBD_CMD_TRIM || e->cmd == NBD_CMD_WRITE_ZEROES;
    bool outside = e->offset > PEER_SIZE || e->length > PEER_SIZE - e->offset;
    if (e->cmd > 7 || e->flags & ~allowed[e->cmd] || (e->flags & NBD_CMD_FLAG_DF && !s->structured))
        return NBD_EINVAL;
    if (change && s->read_only)
        return NBD_EPERM;
    if (e->cmd == NBD_CMD_FLUSH && (e->offset || e->length))
        return NBD_EINVAL;
    if (e->cmd == NBD_CMD_BLOCK_STATUS && (!e->length || !s->contexts))
        return NBD_EINVAL;
    if (outside)
        return e->cmd == NBD_CMD_WRITE || e->cmd == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL;
    return NBD_OK;
}

static struct expected *awaited(struct session *s, uint64_t cookie)
{
    EXPECT(cookie < s->count);
    EXPECT(!s->requests[cookie].answered);
    return &s->requests[cookie];
}

static void check_content(const struct expected *e, const uint8_t *bytes, uint64_t offset, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        bool data = (offset + i) / PEER_BLOCK % 3 == 0;
        EXPECT(bytes[i] == (data ? peer_byte(offset + i) : 0));
    }
    EXPECT(offset >= e->offset && offset + n <= e->offset + e->length);
}

static void read_simple(struct session *s, struct reader *r)
{
    uint32_t error = reader_take32(r);
    struct expected *e = awaited(s, reader_take64(r));
    EXPECT(error == expected_error(s, e));
    e->answered = true;
    EXPECT(!s->structured || (e->cmd != NBD_CMD_READ && e->cmd != NBD_CMD_BLOCK_STATUS));
    if (e->cmd == NBD_CMD_READ && !error)
        check_content(e, reader_take(r, e->length), e->offset, e->length);
}

static void read_status(struct expected *e, struct reader *r, uint32_t bytes)
{
    uint32_t context = reader_take32(r);
    uint64_t sum = 0;
    EXPECT(context == 1 || context == 2);
    EXPECT(!(e->contexts & context));
    e->contexts |= context;
    EXPECT(bytes >= 12 && (bytes - 4) % 8 == 0);
    for (uint32_t i = 4; i < bytes; i += 8) {
        uint32_t length = reader_take32(r);
        reader_take32(r);
        EXPECT(length > 0);
        EXPECT(sum < e->length);
        sum += length;
    }
    EXPECT(sum <= e->length);
    EXPECT(!(e->flags & NBD_CMD_FLAG_REQ_ONE) || bytes == 12);
}

static void read_chunk(struct session *s, struct reader *r)
{
    uint16_t flags = reader_take16(r), type = reader_take16(r);
    struct expected *e = awaited(s, reader_take64(r));
    uint32_t bytes = reader_take32(r);
    EXPECT(s->structured && flags <= 1);
    e->answered = flags & NBD_REPLY_FLAG_DONE;
    if (type == NBD_REPLY_TYPE_ERROR) {
        EXPECT(bytes == 6 && e->answered);
        EXPECT(reader_take32(r) == expected_error(s, e));
        EXPECT(reader_take16(r) == 0);
        return;
    }
    EXPECT(expected_error(s, e) == NBD_OK);
    if (type == NBD_REPLY_TYPE_BLOCK_STATUS) {
        EXPECT(e->cmd == NBD_CMD_BLOCK_STATUS);
        read_status(e, r, bytes);
        EXPECT(e->answered == (e->contexts == 3));
        return;
    }
    EXPECT(e->cmd == NBD_CMD_READ);
    if (type == NBD_REPLY_TYPE_NONE) {
        EXPECT(bytes == 0 && e->answered && e->length == 0);
        return;
    }
    uint64_t offset = reader_take64(r), n;
    EXPECT(offset == e->next);
    if (type == NBD_REPLY_TYPE_OFFSET_DATA) {
        n = bytes - 8;
        check_content(e, reader_take(r, n), offset, n);
    } else {
        EXPECT(type == NBD_REPLY_TYPE_OFFSET_HOLE && bytes == 12);
        n = reader_take32(r);
    }
    e->next += n;
    EXPECT(n > 0 && e->next <= e->offset + e->length);
    EXPECT(e->answered == (e->next == e->offset + e->length));
    EXPECT(e->answered || !(e->flags & NBD_CMD_FLAG_DF));
}

static void check(struct session *s)
{
    struct reader r = {s->peer.out, s->peer.out + s->peer.out_bytes};
    uint32_t rep;
    bool ended = s->broken;
    read_greeting(&r);
    if (s->structured)
        EXPECT(read_option_reply(&r, NBD_OPT_STRUCTURED_REPLY, &rep));
    while (s->contexts && !read_option_reply(&r, NBD_OPT_SET_META_CONTEXT, &rep))
        ;
    EXPECT(reader_take64(&r) == PEER_SIZE);
    reader_take16(&r);
    while (reader_left(&r)) {
        uint32_t magic = reader_take32(&r);
        EXPECT(magic == NBD_SIMPLE_REPLY_MAGIC || magic == NBD_STRUCTURED_REPLY_MAGIC);
        if (magic == NBD_SIMPLE_REPLY_MAGIC)
            read_simple(s, &r);
        else
            read_chunk(s, &r);
    }
    for (size_t i = 0; i < s->count && !ended; i++) {
        ended = s->requests[i].cmd == NBD_CMD_DISC;
        EXPECT(s->requests[i].answered == !ended);
    }
}

static void session_run(struct session *s, const uint8_t *how)
{
    size_t fed = 0, slice = how[1] ? how[1] * (how[0] & 8 ? 1000u : 1u) : SIZE_MAX;
    struct peer *p = &s->peer;
    peer_init(p);
    p->hold = how[0] & 16;
    p->admit_later = how[0] & 32;
    p->requests_max = how[2] % PEER_REQUESTS + 1;
    peer_send(p);
    for (;;) {
        fed += peer_feed(p, s->sent + fed, s->sent_bytes - fed, slice);
        if (!peer_under_way(p) || (fed == s->sent_bytes && p->nbd.state == NBD_PAYLOAD))
            break;
        peer_admit(p, NBD_OK);
        peer_release(p, NBD_OK);
    }
    EXPECT(fed == s->sent_bytes || nbd_end(&p->nbd) != NBD_ALIVE);
    EXPECT(nbd_output_bytes(&p->nbd) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct session s;
    if (n < 4)
        return 0;
    memset(&s, 0, sizeof s);
    s.structured = data[0] & 1;
    s.contexts = s.structured && data[0] & 2;
    s.read_only = data[0] & 4;
    put_handshake(&s);
    const uint8_t *at = data + 4, *end = data + n;
    for (; end - at >= 6 && s.count < REQUESTS_MAX && s.sent_bytes < 4 * MIB; at += 6)
        put_request(&s, at);
    if (end > at && data[3] & 1) {
        uint8_t magic[4];
        put_be32(magic, NBD_REQUEST_MAGIC);
        put(&s, at, (size_t)(end - at));
        s.broken =
            memcmp(at, magic, MIN((size_t)(end - at), sizeof magic)) != 0 && end - at >= NBD_REQUEST_BYTES;
    }
    session_run(&s, data);
    check(&s);
    peer_finish(&s.peer);
    mem_free(s.sent);
    return 0;
}
