#include "base/bytes.h"
#include "base/log.h"
#include "server/private.h"

/* What a connection may have under way or unsent whatever others do. */
#define ALWAYS_BYTES    (4 * KIB)
#define ALWAYS_REQUESTS 4
/* Who has no more than that shares SMALL_BYTES_MAX with those alike and does not wait for those who have
 * more. */
#define SMALL_BYTES     (256 * KIB)
#define SMALL_BYTES_MAX (8 * MIB)
#define REQUESTS_MAX    (8 * KIB) /* of all connections */

/* While somebody waits for memory, those who may hold it are looked at so often in the time they have to
 * move. */
#define LOOKS      5
#define PACE_BYTES (64 * KIB) /* of a payload, in that time */

static size_t reply_bytes_now(const struct connection *c)
{
    return c->promised + nbd_output_bytes(&c->nbd);
}

static bool small_fits(const struct server *s, size_t bytes)
{
    return s->reply_bytes - s->large_bytes + bytes <= SMALL_BYTES_MAX;
}

static bool large_fits(const struct server *s, size_t bytes)
{
    return !s->large_bytes || s->large_bytes + bytes <= s->config.reply_bytes_max;
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
    s->large_bytes += (now > SMALL_BYTES ? now : 0) - (c->charged > SMALL_BYTES ? c->charged : 0);
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

/* In order, where small replies do not wait for large ones. */
void server_replies_fit(struct task *t)
{
    struct server *s = CONTAINER_OF(t, struct server, reply_task);
    bool small_full = false, large_full = false;
    LIST_EACH(&s->reply_waiters, k)
    {
        struct connection *c = CONTAINER_OF(k, struct connection, reply_link);
        if (c->waits_for_bytes <= SMALL_BYTES)
            small_full = small_full || !small_fits(s, c->waits_for_bytes);
        else
            large_full = large_full || !large_fits(s, c->waits_for_bytes);
        if (c->waits_for_bytes <= SMALL_BYTES ? small_full : large_full)
            continue;
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
    size_t unfetched = small_fits(s, SMALL_BYTES) ? SMALL_BYTES : ALWAYS_BYTES;
    if (replies || payloads)
        look_soon(s);
    LIST_EACH(&s->connections, k)
    {
        struct connection *c = CONTAINER_OF(k, struct connection, link);
        if (c->fd < 0 || c->lingering)
            continue;
        bool fetches_nothing = stalls(&c->reply_stall, replies && nbd_output_bytes(&c->nbd) > unfetched,
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
    if (c->under_way >= SERVER_REQUESTS_MAX ||
        (c->under_way >= ALWAYS_REQUESTS && s->under_way >= REQUESTS_MAX))
        return false;
    size_t now = reply_bytes_now(c);
    if (now + reply_bytes <= ALWAYS_BYTES)
        return true;
    connection_account(c);
    bool small = now + reply_bytes <= SMALL_BYTES, mine = now + reply_bytes <= SERVER_REPLY_MAX;
    bool fits = small ? small_fits(s, reply_bytes) : large_fits(s, reply_bytes);
    if (now)
        return fits && (small || (mine && list_empty(&s->reply_waiters)));
    if (fits && (small || c->its_turn || list_empty(&s->reply_waiters))) {
        c->its_turn = false;
        return true;
    }
    wait_for_others(c, reply_bytes);
    return false;
}
