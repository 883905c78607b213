#include <assert.h>

#include "base/log.h"
#include "server/private.h"

static void tell_stopped(struct server *s, bool clean)
{
    if (!s->stopped || link_in_list(&s->stopped_task.link))
        return;
    s->clean = clean;
    loop_post(s->loop, &s->stopped_task);
}

void server_stopped_task(struct task *t)
{
    struct server *s = CONTAINER_OF(t, struct server, stopped_task);
    void (*stopped)(void *, bool) = s->stopped;
    s->stopped = NULL;
    stopped(s->stopped_ctx, s->clean);
}

void server_check_stopped(struct server *s)
{
    if (s->stopping && s->connection_count == 0 && s->exports.count == 0 && list_empty(&s->bases.all) &&
        (!s->control || control_idle(s->control)))
        tell_stopped(s, true);
}

void server_stop(struct server *s, void (*stopped)(void *, bool), void *ctx)
{
    assert(!s->stopping);
    s->stopping = true;
    s->stopped = stopped;
    s->stopped_ctx = ctx;
    listeners_close(s);
    if (s->control)
        control_stop(s->control);
    if (s->connection_count)
        log_info("server", "stopping: %zu connections", s->connection_count);
    LIST_EACH(&s->connections, k)
    connection_shutdown(CONTAINER_OF(k, struct connection, link));
    server_check_stopped(s);
}

void server_abandon(struct server *s)
{
    assert(s->stopping);
    exports_abandon(&s->exports);
    tell_stopped(s, false);
}
