#include "volume/membership/pins.h"

#include <assert.h>

#include "base/mem.h"
#include "volume/engine_state.h"

enum err pin_set(struct pin *p, struct complaint *c)
{
    struct engine *e = p->engine;
    assert(p->done && p->died && !link_in_list(&p->link));
    if (e->pin_count == HEARTBEAT_PINS_MAX)
        return complain(c, ERR_INVALID,
                        "this server reads %u snapshots already, and can read no more at once",
                        HEARTBEAT_PINS_MAX);
    p->sent_serial = 0;
    p->confirmed = false;
    list_push(&e->pins, &p->link);
    e->pin_count++;
    lease_beat_soon(&e->lease);
    return ERR_OK;
}

void pin_drop(struct pin *p)
{
    if (!link_in_list(&p->link))
        return;
    list_remove(&p->link);
    p->engine->pin_count--;
}

struct heartbeat_pin *pins_send(struct engine *e, uint64_t serial, size_t *count)
{
    struct heartbeat_pin *sent = NULL;
    *count = 0;
    if (e->pin_count)
        sent = MEM_ARRAY(struct heartbeat_pin, e->pin_count);
    LIST_EACH(&e->pins, k)
    {
        struct pin *p = CONTAINER_OF(k, struct pin, link);
        if (!p->sent_serial)
            p->sent_serial = serial;
        assert(sent && *count < e->pin_count);
        sent[(*count)++] = p->content;
    }
    return sent;
}

/* Calling one may drop or set others: from the start again after each. */
static struct pin *first_to_confirm(struct engine *e)
{
    LIST_EACH(&e->pins, k)
    {
        struct pin *p = CONTAINER_OF(k, struct pin, link);
        if (!p->confirmed && p->sent_serial && p->sent_serial <= e->lease.stored_serial)
            return p;
    }
    return NULL;
}

void pins_confirmed(struct engine *e)
{
    struct pin *p;
    while ((p = first_to_confirm(e))) {
        p->confirmed = true;
        p->done(p);
    }
}

static struct pin *first_dead(struct engine *e)
{
    LIST_EACH(&e->pins, k)
    if (CONTAINER_OF(k, struct pin, link)->confirmed)
        return CONTAINER_OF(k, struct pin, link);
    return NULL;
}

void pins_died(struct engine *e)
{
    struct pin *p;
    LIST_EACH(&e->pins, k)
    CONTAINER_OF(k, struct pin, link)->sent_serial = 0;
    while ((p = first_dead(e))) {
        pin_drop(p);
        p->died(p);
    }
}
