/* nbd_script.h - what a client sends and what it must be sent, as bytes. */
#ifndef NBD_SCRIPT_H
#define NBD_SCRIPT_H

#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "nbd_peer.h"
#include "unit.h"

struct script {
    uint8_t *bytes;
    size_t n, room;
};

static inline uint8_t *script_room(struct script *s, size_t n)
{
    if (!s->bytes || s->n + n > s->room) {
        s->room = 2 * (s->n + n) + 16;
        s->bytes = mem_realloc(s->bytes, s->room);
    }
    memset(s->bytes + s->n, 0, n);
    s->n += n;
    return s->bytes + s->n - n;
}

static inline void say(struct script *s, const void *bytes, size_t n)
{
    if (n)
        memcpy(script_room(s, n), bytes, n);
}

static inline void say16(struct script *s, uint16_t v)
{
    put_be16(script_room(s, 2), v);
}

static inline void say32(struct script *s, uint32_t v)
{
    put_be32(script_room(s, 4), v);
}

static inline void say64(struct script *s, uint64_t v)
{
    put_be64(script_room(s, 8), v);
}

static inline void say_text(struct script *s, const char *text) /* with its length */
{
    say32(s, (uint32_t)strlen(text));
    say(s, text, strlen(text));
}

static inline void say_option(struct script *s, uint32_t option, const struct script *data)
{
    say(s, "IHAVEOPT", 8);
    say32(s, option);
    say32(s, data ? (uint32_t)data->n : 0);
    if (data)
        say(s, data->bytes, data->n);
}

static inline void say_request(struct script *s, uint16_t flags, uint16_t cmd, uint64_t cookie,
                               uint64_t offset, uint32_t length)
{
    say32(s, 0x25609513);
    say16(s, flags);
    say16(s, cmd);
    say64(s, cookie);
    say64(s, offset);
    say32(s, length);
}

/* what the server says */

static inline void hear_greeting(struct script *s)
{
    say(s, "NBDMAGICIHAVEOPT", 16);
    say16(s, 3);
}

static inline void hear_option(struct script *s, uint32_t option, uint32_t rep, const void *data, size_t n)
{
    say64(s, UINT64_C(0x3e889045565a9));
    say32(s, option);
    say32(s, rep);
    say32(s, (uint32_t)n);
    say(s, data, n);
}

static inline void hear_simple(struct script *s, uint64_t cookie, uint32_t error)
{
    say32(s, 0x67446698);
    say32(s, error);
    say64(s, cookie);
}

static inline void hear_chunk(struct script *s, uint16_t flags, uint16_t type, uint64_t cookie,
                              uint32_t length)
{
    say32(s, 0x668e33ef);
    say16(s, flags);
    say16(s, type);
    say64(s, cookie);
    say32(s, length);
}

static inline void hear_data(struct script *s, uint64_t from, uint32_t n)
{
    uint8_t *at = script_room(s, n);
    for (uint32_t i = 0; i < n; i++)
        at[i] = peer_byte(from + i);
}

static inline void script_free(struct script *s)
{
    mem_free(s->bytes);
    *s = (struct script){0};
}

/* Sends `in` in slices of 1, 5, 1,000 bytes and whole; each time exactly `out` comes back. `check` looks at
 * the peer afterwards. Frees both. */
static inline void play(struct script *in, struct script *out, void (*check)(struct peer *))
{
    static const size_t slices[] = {1, 5, 1000, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(slices); i++) {
        struct peer p;
        peer_init(&p);
        peer_send(&p);
        assert_int_equal(peer_feed(&p, in->bytes, in->n, slices[i]), in->n);
        assert_int_equal(p.out_bytes, out->n);
        assert_memory_equal(p.out, out->bytes, out->n);
        if (check)
            check(&p);
        peer_finish(&p);
    }
    script_free(in);
    script_free(out);
}

static inline void is_alive(struct peer *p)
{
    assert_int_equal(nbd_end(&p->nbd), NBD_ALIVE);
    assert_int_equal(peer_under_way(p), 0);
}

static inline void is_ending(struct peer *p)
{
    assert_int_equal(nbd_end(&p->nbd), NBD_ENDING);
    assert_true(nbd_idle(&p->nbd));
}

static inline void is_broken(struct peer *p)
{
    assert_int_equal(nbd_end(&p->nbd), NBD_BROKEN);
    assert_true(strlen(nbd_reason(&p->nbd)) > 10);
}

#endif
