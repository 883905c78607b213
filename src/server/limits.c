#include "base/bytes.h"
#include "base/log.h"
#include "server/private.h"

/* What a connection may always have under way or unsent, whatever others do. */
#define ALWAYS_BYTES (256 * KIB)
#define LOOK_NS      NS_PER_S

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

static void wait_for_others(struct connection *c, uint32_t reply_bytes)
{
    struct server *s = c->server;
    c->waits_for_bytes = reply_bytes;
    if (!link_in_list(&c->reply_link))
        list_push(&s->reply_waiters, &c->reply_link);
    if (!timer_started(&s->reply_timer))
        timer_start(s->loop, &s->reply_timer, LOOK_NS);
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

/* Others wait for the memory that replies take which nobody fetches. */
void server_replies_stall(struct timer *t)
{
    struct server *s = CONTAINER_OF(t, struct server, reply_timer);
    uint64_t now = loop_now_ns(s->loop);
    if (list_empty(&s->reply_waiters))
        return;
    timer_start(s->loop, &s->reply_timer, LOOK_NS);
    LIST_EACH(&s->connections, k)
    {
        struct connection *c = CONTAINER_OF(k, struct connection, link);
        if (c->fd >= 0 && nbd_output_bytes(&c->nbd) > ALWAYS_BYTES &&
            now - c->last_sent_ns >= s->config.reply_stall_ns)
            connection_close(c, "the client does not fetch its replies, and others wait for the memory");
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
