/* What a mark must see, and what a server must forget, so that nothing referred to is deleted.
 *
 * X is content that was stored, overwritten and folded away, and then found again by its owner when it was
 * condemned already, but before the owner knew: referred to, condemned, and never pardoned.
 */
#include "scenario.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/exports.h"

#define PUT   RULE_VERB(OBJSTORE_PUT)
#define GET   RULE_VERB(OBJSTORE_GET)
#define LIST  RULE_VERB(OBJSTORE_LIST)
#define BYTES 16384u /* an object of four blocks */
#define X     'x'
#define Y     'y'

static struct client_op *begin_write(struct client *c, uint64_t offset, int content)
{
    uint8_t *data = malloc(BYTES);
    assert(data);
    memset(data, content, BYTES);
    for (uint32_t i = 0; i < BYTES; i += 4096)
        data[i] = (uint8_t)(i / 4096 + 1);
    return client_submit(c, VOLUME_WRITE, 0, offset, BYTES, data, true);
}

static void write_content(struct script *t, struct client *c, uint64_t offset, int content)
{
    expect(t, script_wait(t, begin_write(c, offset, content)) == ERR_OK);
    expect(t, script_flush(t, c) == ERR_OK);
}

static struct client *once_with_x(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    t->config.checkpoint_interval_ns = 60 * NS_PER_S;
    struct client *a = script_open(t, script_server(t, 0), *e);
    write_content(t, a, 0, X);
    script_await_checkpoint(t, *e);
    write_content(t, a, 0, Y);
    script_await_checkpoint(t, *e);
    return a;
}

static size_t blocks(const struct script *t)
{
    return bucket_count(t->bucket, "blocks/");
}

static void collect_once(struct script *t, struct process *d)
{
    process_collect(d, true, 600 * NS_PER_S);
    expect(t, script_collected(t, d) == ERR_OK);
}

/* X is condemned, and referred to by the log at 65536. */
static struct client *with_condemned_x(struct script *t, struct process *g, struct model_export **e)
{
    struct client *a = once_with_x(t, e);
    collect_once(t, g);
    write_content(t, a, 65536, X);
    expect(t, blocks(t) == 2 && script_slots(t, *e) == 1);
    return a;
}

/* Nobody has it open, and X is referred to by its map. */
static struct process *closed_with_condemned_x(struct script *t, struct process *g, struct model_export **e)
{
    struct client *a = with_condemned_x(t, g, e);
    struct process *d = a->process;
    collect_once(t, g);
    script_run(t, 15);
    expect(t, script_close(t, a) == ERR_OK && blocks(t) == 2);
    return d;
}

static bool read_elsewhere(struct script *t, struct client *a, struct model_export *e)
{
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 3), e);
    return script_read(t, b, 0, 131072) == ERR_OK;
}

/* The reference to X moves from the log into the map between the collector's two looks at the manifest. */
static void condemned_moves_into_the_map(struct script *t)
{
    struct model_export *e;
    struct process *g = script_server(t, 1);
    struct client *a = with_condemned_x(t, g, &e);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, LIST, "exports/disk/*", g->server);
    process_collect(g, true, 600 * NS_PER_S);
    script_await_held(t, r, 1);
    expect(t, script_slots(t, e) == 1);
    script_await_checkpoint(t, e);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
    expect(t, read_elsewhere(t, a, e));
}

struct command {
    struct export_op op;
    bool done;
};

static void command_done(struct export_op *op)
{
    CONTAINER_OF(op, struct command, op)->done = true;
}

static bool command_over(void *ctx)
{
    return ((const struct command *)ctx)->done;
}

static void begin(struct process *d, struct command *c, void (*verb)(struct export_op *))
{
    c->op.engine = d->engine;
    c->op.done = command_done;
    server_enter(d->server);
    verb(&c->op);
    server_leave(d->server);
}

static enum err end(struct script *t, struct command *c)
{
    expect(t, sim_run_until(t->sim, command_over, c, 600 * NS_PER_S));
    return c->op.err;
}

/* The only export is forked, under a name that was passed already, and removed while it is about to be read:
 * it was never seen alive, and its child was not there when the exports were listed. */
static void parent_of_unseen_child_removed(struct script *t)
{
    struct model_export *e;
    struct process *g = script_server(t, 1);
    struct process *d = closed_with_condemned_x(t, g, &e);
    struct rule *r = rule_add_times(t->bucket, RULE_HOLD, GET, "exports/disk/manifest", g->server, 1, 1);
    process_collect(g, true, 600 * NS_PER_S);
    script_await_held(t, r, 1);
    struct command fork = {.op = {.name = e->name, .child = "child"}};
    begin(d, &fork, export_fork);
    expect(t, end(t, &fork) == ERR_OK);
    script_remove(t, d, e);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
}

/* The parent was read, the child is not filled yet, and the parent is gone: the collector waits. */
static void fork_in_progress_is_waited_for(struct script *t)
{
    struct model_export *e;
    struct process *g = script_server(t, 1), *d = closed_with_condemned_x(t, g, &e);
    struct rule *r =
        rule_add_times(t->bucket, RULE_HOLD_ANSWER, GET, "exports/disk/manifest", d->server, 1, 1);
    struct command fork = {.op = {.name = e->name, .child = "child"}};
    begin(d, &fork, export_fork);
    script_await_held(t, r, 1);
    script_remove(t, g, e);
    process_collect(g, true, 600 * NS_PER_S);
    script_run(t, 20);
    expect(t, g->collecting && blocks(t) == 2);
    rule_release(t->bucket, r);
    expect(t, end(t, &fork) == ERR_OK);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
}

struct reader {
    struct volume_open open;
    struct volume_close close;
    bool opened, closed;
};

static void reader_opened(struct volume_open *o)
{
    CONTAINER_OF(o, struct reader, open)->opened = true;
}

static void reader_closed(struct volume_close *c)
{
    CONTAINER_OF(c, struct reader, close)->closed = true;
}

static void reader_lost(struct volume *v, void *ctx, enum err why)
{
    (void)v, (void)ctx, (void)why;
}

static bool reader_is_open(void *ctx)
{
    return ((const struct reader *)ctx)->opened;
}

static bool reader_is_closed(void *ctx)
{
    return ((const struct reader *)ctx)->closed;
}

static void open_snapshot(struct script *t, struct process *d, struct reader *r, const char *name)
{
    r->open =
        (struct volume_open){.engine = d->engine, .name = name, .lost = reader_lost, .done = reader_opened};
    server_enter(d->server);
    volume_open(&r->open);
    server_leave(d->server);
    expect(t, sim_run_until(t->sim, reader_is_open, r, 600 * NS_PER_S) && r->open.err == ERR_OK);
}

static void close_snapshot(struct script *t, struct process *d, struct reader *r)
{
    r->close = (struct volume_close){.volume = r->open.volume, .done = reader_closed};
    server_enter(d->server);
    volume_close(&r->close);
    server_leave(d->server);
    expect(t, sim_run_until(t->sim, reader_is_closed, r, 600 * NS_PER_S));
}

/* A snapshot is pinned, and removed with its export, while the export is about to be read. */
static void pin_read_before_manifests(struct script *t)
{
    struct model_export *e;
    struct process *g = script_server(t, 1), *d = closed_with_condemned_x(t, g, &e);
    struct process *h = script_server(t, 2);
    struct command take = {.op = {.name = e->name, .snapshot = "past"}};
    begin(d, &take, export_snapshot);
    expect(t, end(t, &take) == ERR_OK);
    struct rule *r = rule_add_times(t->bucket, RULE_HOLD, GET, "exports/disk/manifest", g->server, 1, 1);
    process_collect(g, true, 600 * NS_PER_S);
    script_await_held(t, r, 1);
    struct reader reader = {0};
    open_snapshot(t, h, &reader, "disk@past");
    script_remove(t, d, e);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
    close_snapshot(t, h, &reader);
    script_run(t, 15);
    expect(t, script_collect(t, g) == ERR_OK);
    script_nothing_left(t);
}

/* Its pages are stored, its manifest is on the way: no turn is acknowledged before that is over. */
static void open_checkpoint_is_waited_for(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "exports/disk/manifest", a->process->server);
    write_content(t, a, 65536, 'z');
    script_await_held(t, r, 1);
    process_collect(g, false, UINT64_C(100000) * NS_PER_S);
    script_run(t, 600);
    expect(t, g->collecting);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, read_elsewhere(t, a, e));
}

/* It is to end while it turns the page and the store is away. */
static void collector_ends_during_outage(struct script *t)
{
    struct model_export *e;
    once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "gc/state", g->server);
    process_collect(g, false, 600 * NS_PER_S);
    script_await_held(t, r, 1);
    bucket_outage(t->bucket, g->server, "gc/", false, 3600 * NS_PER_S);
    process_collect_stop(g);
    script_run(t, 60);
    expect(t, !g->collecting);
}

/* A page that a server loads in the turn in which it joined refers to X, which is condemned. */
static void page_teaches_nothing_condemned(struct script *t)
{
    struct model_export *e;
    struct client *a = with_condemned_x(t, script_server(t, 1), &e);
    script_await_checkpoint(t, e);
    server_crash(a->process->server);
    struct client *b = script_open(t, script_server(t, 3), e);
    expect(t, script_read(t, b, 65536, BYTES) == ERR_OK);
    write_content(t, b, 98304, X);
    expect(t, blocks(t) == 3);
}

/* It sleeps while X is condemned and deleted, and the list that named X is gone when it wakes under a new id:
 * what it knew before is nothing to go by. */
static void index_outlives_its_server(struct script *t)
{
    struct model_export *e, *other = script_export(t, "other", NULL);
    struct client *a = once_with_x(t, &e);
    struct process *d = a->process, *g = script_server(t, 1);
    expect(t, script_close(t, a) == ERR_OK);
    script_sleep(d);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 1 && g->collect.counts.declared_dead == 1);
    script_wake(d);
    script_run(t, 60);
    struct client *b = script_open(t, d, other);
    write_content(t, b, 0, X);
    expect(t, blocks(t) == 2);
    expect(t, read_elsewhere(t, b, other));
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "collect", #name, name                                                                               \
    }
const struct scenario scenarios_marking[] = {
    S(condemned_moves_into_the_map),  S(parent_of_unseen_child_removed), S(fork_in_progress_is_waited_for),
    S(pin_read_before_manifests),     S(page_teaches_nothing_condemned), S(collector_ends_during_outage),
    S(open_checkpoint_is_waited_for), S(index_outlives_its_server),      {0}};
