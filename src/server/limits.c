#include "base/bytes.h"
#include "base/log.h"
#include "server/private.h"

/* What a connection may always have under way or unsent, whatever others do. */
#define ALWAYS_BYTES (256 * KIB)

/* While somebody waits for memory, those who may hold it are looked at so often in the time they have to
 * move. */
#define LOOKS      5
#define PACE_BYTES (64 * KIB) /* of a payload, in that time */

static size_t reply_bytes_now(const struct connection *c)
{
    return c->promised + nbd_output_bytes(&c->nbd);
}

static bool fits(const struct server *s, uint32_t bytes)
{
    return !s->reply_bytes || s->reply_bytes + bytes <= s->config.reply_bytes_max;
}

void connection_account(struct connection *c)
{
    struct server *s = c->server;
    size_t now = c->fd >= 0 ? reply_bytes_now(c) : c->promised,
           held = c->fd >= 0 ? nbd_output_held(&c->nbd) : 0;
    if (s->held_bytes - c->held + held > s->config.reply_bytes_max) {
        nbd_output_compact(&c->nbd);
        held = nbd_output_held(&c->nbd);
    }
    s->held_bytes += held - c->held;
    c->held = held;
    bool less = now < c->charged;
    s->reply_bytes += now - c->charged;
    c->charged = now;
    if (less && !list_empty(&s->reply_waiters))
        loop_post(s->loop, &s->reply_task);
}

/* ----------------------------------------------------------------- waiting */

static void look_soon(struct server *s)
{
    if (!timer_started(&s->look_timer))
        timer_start(s->loop, &s->look_timer, s->config.stall_ns / LOOKS);
}

static void wait_for_others(struct connection *c, uint32_t reply_bytes)
{
    struct server *s = c->server;
    c->waits_for_bytes = reply_bytes;
    if (!link_in_list(&c->reply_link))
        list_push(&s->reply_waiters, &c->reply_link);
    look_soon(s);
}

void connection_awaits_admission(struct connection *c, bool waits)
{
    struct server *s = c->server;
    if (waits == c->awaits_admission)
        return;
    c->awaits_admission = waits;
    s->awaiting_admission += waits ? 1 : (size_t)-1;
    if (waits)
        look_soon(s);
}

void connection_stop_waiting(struct connection *c)
{
    struct server *s = c->server;
    if (!link_in_list(&c->reply_link))
        return;
    list_remove(&c->reply_link);
    loop_post(s->loop, &s->reply_task);
}

void server_replies_fit(struct task *t)
{
    struct server *s = CONTAINER_OF(t, struct server, reply_task);
    struct link *k;
    while ((k = list_first(&s->reply_waiters))) {
        struct connection *c = CONTAINER_OF(k, struct connection, reply_link);
        if (!fits(s, c->waits_for_bytes))
            return;
        list_remove(k);
        c->its_turn = true;
        connection_pump(c);
    }
}

/* Counts looks and not time, so that a server that was stopped for a while blames nobody for it. */
static bool stalls(struct stall *k, bool holds, uint64_t bytes, uint64_t pace, unsigned looks)
{
    if (!holds || !k->looks || bytes - k->bytes >= pace) {
        k->looks = holds;
        k->bytes = bytes;
        return false;
    }
    return ++k->looks > looks;
}

void server_look(struct timer *t)
{
    struct server *s = CONTAINER_OF(t, struct server, look_timer);
    bool replies = !list_empty(&s->reply_waiters), payloads = s->awaiting_admission > 0;
    if (replies || payloads)
        look_soon(s);
    LIST_EACH(&s->connections, k)
    {
        struct connection *c = CONTAINER_OF(k, struct connection, link);
        if (c->fd < 0 || c->lingering)
            continue;
        bool fetches_nothing = stalls(&c->reply_stall, replies && nbd_output_bytes(&c->nbd) > ALWAYS_BYTES,
                                      c->sent_bytes, 1, 2 * LOOKS);
        bool sends_nothing = stalls(&c->payload_stall, payloads && nbd_waits_for(&c->nbd) == NBD_WAIT_PAYLOAD,
                                    c->received_bytes, PACE_BYTES, LOOKS);
        if (fetches_nothing)
            connection_close(c, "the client does not fetch its replies, and others wait for the memory");
        else if (sends_nothing)
            connection_close(c, "the rest of a request does not come, and others wait for the memory");
    }
}

/* Whoever owes nothing and is refused is called when its turn comes; all others try again whenever something
 * of their own was answered or sent. */
bool connection_may_take(struct connection *c, uint32_t reply_bytes)
{
    const struct server *s = c->server;
    if (c->under_way >= SERVER_REQUESTS_MAX)
        return false;
    size_t now = reply_bytes_now(c);
    if (now + reply_bytes <= ALWAYS_BYTES)
        return true;
    connection_account(c);
    if (now) {
        bool mine = now + reply_bytes <= SERVER_REPLY_MAX;
        return mine && list_empty(&s->reply_waiters) && fits(s, reply_bytes);
    }
    if (fits(s, reply_bytes) && (c->its_turn || list_empty(&s->reply_waiters))) {
        c->its_turn = false;
        return true;
    }
    wait_for_others(c, reply_bytes);
    return false;
}
