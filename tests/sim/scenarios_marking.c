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

#define GET   RULE_VERB(OBJSTORE_GET)
#define LIST  RULE_VERB(OBJSTORE_LIST)
#define BYTES 16384u /* an object of four blocks */
#define X     'x'
#define Y     'y'

static void write_content(struct script *t, struct client *c, uint64_t offset, int content)
{
    uint8_t *data = malloc(BYTES);
    assert(data);
    memset(data, content, BYTES);
    for (uint32_t i = 0; i < BYTES; i += 4096)
        data[i] = (uint8_t)(i / 4096 + 1);
    expect(t, script_wait(t, client_submit(c, VOLUME_WRITE, 0, offset, BYTES, data, true)) == ERR_OK);
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

struct forking {
    struct export_op op;
    bool done;
};

static void forked(struct export_op *op)
{
    CONTAINER_OF(op, struct forking, op)->done = true;
}

static bool is_done(void *ctx)
{
    return ((struct forking *)ctx)->done;
}

/* The only export is forked, under a name that was passed already, and removed while it is about to be read:
 * it was never seen alive, and its child was not there when the exports were listed. */
static void parent_of_unseen_child_removed(struct script *t)
{
    struct model_export *e;
    struct process *g = script_server(t, 1);
    struct client *a = with_condemned_x(t, g, &e);
    struct process *d = a->process;
    collect_once(t, g);
    script_run(t, 15);
    expect(t, script_close(t, a) == ERR_OK && blocks(t) == 2);
    struct rule *r = rule_add_times(t->bucket, RULE_HOLD, GET, "exports/disk/manifest", g->server, 1, 1);
    process_collect(g, true, 600 * NS_PER_S);
    script_await_held(t, r, 1);
    struct forking f = {.op = {.engine = d->engine, .name = e->name, .child = "child", .done = forked}};
    server_enter(d->server);
    export_fork(&f.op);
    server_leave(d->server);
    expect(t, sim_run_until(t->sim, is_done, &f, 600 * NS_PER_S) && f.op.err == ERR_OK);
    script_remove(t, d, e);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
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
    S(condemned_moves_into_the_map), S(parent_of_unseen_child_removed), S(index_outlives_its_server), {0}};
