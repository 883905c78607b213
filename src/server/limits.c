#include "server/private.h"

static size_t reply_bytes_now(const struct connection *c)
{
    return c->promised + nbd_output_bytes(&c->nbd);
}

void connection_account(struct connection *c)
{
    size_t now = c->fd >= 0 ? reply_bytes_now(c) : c->promised;
    c->server->reply_bytes += now - c->charged;
    c->charged = now;
}

/* Nobody who is refused waits in vain, because whoever owes nothing is never refused: a connection tries
 * again whenever something of its own was answered or sent. */
bool connection_may_take(struct connection *c, uint32_t reply_bytes)
{
    if (c->under_way >= SERVER_REQUESTS_MAX)
        return false;
    size_t now = reply_bytes_now(c);
    if (!reply_bytes || !now)
        return true;
    connection_account(c);
    return now + reply_bytes <= SERVER_REPLY_MAX &&
           c->server->reply_bytes + reply_bytes <= c->server->config.reply_bytes_max;
}
