/* Collection: what nothing refers to goes, and nothing else, whatever happens to whom.
 *
 * In most of them X is content that was stored, overwritten and folded away: nothing refers to it any more,
 * but the server that stored it knows where it lies.
 */
#include "scenario.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define PUT   RULE_VERB(OBJSTORE_PUT)
#define GET   RULE_VERB(OBJSTORE_GET)
#define BYTES 16384u /* an object of four blocks: stored in the background as soon as it is written */
#define X     'x'
#define Y     'y'

/* A write of that content, told apart by place in the object, not by place in the export. */
static struct client_op *begin_write(struct client *c, uint64_t offset, int content, unsigned flags)
{
    uint8_t *data = malloc(BYTES);
    assert(data);
    memset(data, content, BYTES);
    for (uint32_t i = 0; i < BYTES; i += 4096)
        data[i] = (uint8_t)(i / 4096 + 1);
    return client_submit(c, VOLUME_WRITE, flags, offset, BYTES, data, true);
}

static void write_content(struct script *t, struct client *c, uint64_t offset, int content)
{
    expect(t, script_wait(t, begin_write(c, offset, content, 0)) == ERR_OK);
}

/* The owner of an export in which X lay once. */
static struct client *once_with_x(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    struct client *a = script_open(t, script_server(t, 0), *e);
    write_content(t, a, 0, X);
    expect(t, script_flush(t, a) == ERR_OK);
    script_await_checkpoint(t, *e);
    write_content(t, a, 0, Y);
    expect(t, script_flush(t, a) == ERR_OK);
    script_await_checkpoint(t, *e);
    return a;
}

static size_t blocks(const struct script *t)
{
    return bucket_count(t->bucket, "blocks/");
}

static enum err collect_once(struct script *t, struct process *d)
{
    process_collect(d, true, 60 * NS_PER_S);
    return script_collected(t, d);
}

/* Exports removed, servers gone: nothing is left but tombstones. What is still there stays. */
static void garbage_goes(struct script *t)
{
    struct model_export *e, *other = script_export(t, "other", NULL);
    struct client *a = once_with_x(t, &e);
    struct client *b = script_open(t, a->process, other);
    expect(t, script_write(t, b, 0, 32768, VOLUME_FUA) == ERR_OK);
    struct process *d = a->process;
    expect(t, script_close(t, a) == ERR_OK && script_close(t, b) == ERR_OK);
    expect(t, script_collect(t, d) == ERR_OK);
    size_t before = blocks(t);
    script_remove(t, d, e);
    expect(t, script_collect(t, d) == ERR_OK);
    expect(t, d->collect.counts.deleted_objects > 0);
    expect(t, blocks(t) > 0 && blocks(t) < before);
    b = script_open(t, d, other);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
    expect(t, script_close(t, b) == ERR_OK);
    script_remove(t, d, other);
    expect(t, script_collect(t, d) == ERR_OK);
    script_nothing_left(t);
}

/* Content that is condemned is written again: it gets another name, and the old object may go. */
static void reput_of_condemned(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    expect(t, collect_once(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
    script_run(t, 15); /* the owner has looked */
    write_content(t, a, 65536, X);
    expect(t, script_flush(t, a) == ERR_OK);
    expect(t, blocks(t) == 3);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
    expect(t, script_read(t, a, 0, 131072) == ERR_OK);
}

/* It found X stored, has not logged that, and sleeps for days: X goes, and it may not log it any more. */
static void dedup_asleep_before_log(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    write_content(t, a, 65536, X); /* answered, not flushed */
    script_run(t, 1);
    expect(t, blocks(t) == 2);
    script_sleep(a->process);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 1 && g->collect.counts.fenced == 1);
    script_wake(a->process);
    script_run(t, 60);
}

/* The store takes no blocks for six hours: the collector waits, and deletes nothing. */
static void ack_while_upload_pending(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    write_content(t, a, 65536, X);
    script_run(t, 1);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "blocks/*", NULL);
    write_content(t, a, 32768, 'z');
    process_collect(g, false, UINT64_C(100000) * NS_PER_S);
    script_run(t, 6 * 3600);
    expect(t, g->collecting && blocks(t) == 2);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, script_read(t, a, 0, 131072) == ERR_OK);
}

/* It beats, but cannot read the collector's folder: it never acknowledges, and is given up in the end. */
static void partitioned_from_gc_prefix_only(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    bucket_outage(t->bucket, a->process->server, "gc/", false, 1000 * NS_PER_S);
    write_content(t, a, 65536, X);
    expect(t, script_flush(t, a) == ERR_OK); /* logged: it stays */
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, g->collect.counts.declared_dead >= 1 && g->collect.counts.fenced >= 1);
    script_run(t, 2000);
}

/* X is condemned, and then referred to once more, by a log record alone: its server had not looked yet. */
static struct client *with_x_condemned_and_logged(struct script *t, struct process *g,
                                                  struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    struct process *d = script_server(t, 0);
    for (int content = X; content <= Y; content++) {
        struct client *a = script_open(t, d, *e);
        write_content(t, a, 0, content);
        expect(t, script_close(t, a) == ERR_OK); /* folds it */
    }
    struct client *a = script_open(t, d, *e);
    expect(t, collect_once(t, g) == ERR_OK);
    write_content(t, a, 65536, X);
    expect(t, script_flush(t, a) == ERR_OK);
    expect(t, blocks(t) == 2);
    return a;
}

static void log_refers_to_condemned(struct script *t)
{
    struct model_export *e;
    struct process *g = script_server(t, 1);
    struct client *a = with_x_condemned_and_logged(t, g, &e);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
    expect(t, script_read(t, a, 0, 131072) == ERR_OK);
}

/* The reference moves from the log into the map while the collector has read the manifest and not the log. */
static void checkpoint_between_log_and_manifest_read(struct script *t)
{
    struct model_export *e;
    struct process *g = script_server(t, 1);
    struct client *a = with_x_condemned_and_logged(t, g, &e);
    struct rule *r =
        rule_add_times(t->bucket, RULE_HOLD_ANSWER, GET, "exports/disk/manifest", g->server, 1, 1);
    process_collect(g, false, 60 * NS_PER_S);
    script_await_held(t, r, 1);
    expect(t, script_close(t, a) == ERR_OK);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
}

/* Somebody takes the export while it is being marked, and goes on writing what is condemned. */
static void takeover_in_mid_turn(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1), *b = script_server(t, 0);
    expect(t, collect_once(t, g) == ERR_OK);
    write_content(t, a, 65536, 'z');
    expect(t, script_flush(t, a) == ERR_OK);
    struct rule *r = rule_add_times(t->bucket, RULE_HOLD, GET, "exports/disk/manifest", g->server, 1, 1);
    process_collect(g, true, 60 * NS_PER_S);
    script_await_held(t, r, 1);
    server_crash(a->process->server);
    struct client *c = script_open(t, b, e);
    write_content(t, c, 0, X);
    expect(t, script_flush(t, c) == ERR_OK);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, script_read(t, c, 0, 131072) == ERR_OK);
}

/* Who joins while the collector waits has to acknowledge as well. */
static void server_joins_in_mid_turn(struct script *t)
{
    struct model_export *e, *other = script_export(t, "other", NULL);
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "blocks/*", a->process->server);
    write_content(t, a, 65536, 'z');
    process_collect(g, false, 600 * NS_PER_S);
    script_run(t, 20);
    struct client *b = script_open(t, script_server(t, 2), other);
    write_content(t, b, 0, X);
    expect(t, script_flush(t, b) == ERR_OK);
    expect(t, g->collecting);
    rule_release(t->bucket, r);
    expect(t, script_collected(t, g) == ERR_OK);
    expect(t, script_read(t, a, 0, 131072) == ERR_OK);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
}

/* Its takeover of a second export is on the way while it is declared dead, and arrives when everything was
 * marked: what it found stored before may not be referred to there. */
static void manifest_taken_while_declared_dead(struct script *t)
{
    struct model_export *e, *other = script_export(t, "other", NULL);
    struct client *a = once_with_x(t, &e);
    struct process *d = a->process, *g = script_server(t, 1);
    expect(t, script_close(t, a) == ERR_OK);
    struct client *b = script_open(t, d, other);
    expect(t, script_close(t, b) == ERR_OK);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, PUT, "exports/other/manifest", d->server);
    b = process_open(d, other);
    script_await_held(t, r, 1);
    script_sleep(d);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 1);
    rule_release(t->bucket, r);
    script_wake(d);
    script_run(t, 60);
    if (b->state == CLIENT_OPEN && !b->lost) {
        write_content(t, b, 0, X);
        script_flush(t, b);
        script_run(t, 15);
        script_read(t, b, 0, 65536);
    }
}

static void two_collectors_one_asleep(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1), *h = script_server(t, 2);
    expect(t, collect_once(t, g) == ERR_OK);
    script_run(t, 15);
    struct rule *r = rule_add(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_DELETE), "blocks/*", g->server);
    process_collect(g, true, 60 * NS_PER_S);
    script_await_held(t, r, 1);
    script_sleep(g);
    write_content(t, a, 65536, X);
    expect(t, script_flush(t, a) == ERR_OK);
    expect(t, script_collect(t, h) == ERR_OK);
    expect(t, blocks(t) == 2);
    rule_release(t->bucket, r); /* the late deletion hits nobody */
    script_wake(g);
    script_run(t, 120);
    expect(t, script_read(t, a, 0, 131072) == ERR_OK);
    expect(t, script_collect(t, h) == ERR_OK);
}

/* At every change that the collector makes in the bucket, before and after it. */
static void collector_killed_at_every_step(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    for (uint64_t step = 0; step < 20; step++) {
        write_content(t, a, 65536, (int)('A' + step));
        expect(t, script_flush(t, a) == ERR_OK);
        struct process *g = script_server(t, 1);
        enum rule_action action = step % 2 ? RULE_CRASH_AFTER : RULE_CRASH_BEFORE;
        struct rule *r = rule_add_times(t->bucket, action, RULE_MUTATIONS, "*", g->server, step / 2, 1);
        process_collect(g, false, 60 * NS_PER_S);
        script_collected(t, g);
        r->left = 0;
        if (g->server->alive)
            script_stop(t, g);
        expect(t, script_read(t, a, 0, 131072) == ERR_OK);
    }
    struct process *g = script_server(t, 1);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, script_read(t, a, 0, 131072) == ERR_OK);
    expect(t, script_close(t, a) == ERR_OK);
    script_remove(t, g, e);
    expect(t, script_collect(t, g) == ERR_OK);
    script_nothing_left(t);
}

/* X is condemned, and found live: it was referred to once more just before that was known. It stays
 * condemned, and who loads the page that names it learns nothing from that. */
static void warming_loads_condemned_page(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *d = a->process, *g = script_server(t, 1);
    expect(t, collect_once(t, g) == ERR_OK);
    write_content(t, a, 65536, X); /* its server has not looked yet */
    expect(t, script_flush(t, a) == ERR_OK && script_close(t, a) == ERR_OK);
    expect(t, blocks(t) == 2);
    for (int turns = 0; turns < 2; turns++) {
        struct client *b = script_open(t, script_server(t, 2), e);
        expect(t, script_read(t, b, 0, 131072) == ERR_OK);
        write_content(t, b, 98304, X);
        expect(t, script_flush(t, b) == ERR_OK && script_close(t, b) == ERR_OK);
        expect(t, blocks(t) == 3);
        b = script_open(t, b->process, e);
        write_content(t, b, 98304, Y);
        expect(t, script_flush(t, b) == ERR_OK && script_close(t, b) == ERR_OK);
        script_stop(t, b->process);
        expect(t, script_collect(t, g) == ERR_OK); /* the one that is not referred to any more goes */
        expect(t, blocks(t) == 2);
    }
    script_stop(t, d);
}

/* Known before it was condemned, asked for after: purged. */
static void index_purge_after_condemn(struct script *t)
{
    struct model_export *e;
    struct client *a = once_with_x(t, &e);
    struct process *g = script_server(t, 1);
    write_content(t, a, 65536, X); /* found, and logged: X is referred to again */
    expect(t, script_flush(t, a) == ERR_OK);
    script_run(t, 1);
    expect(t, blocks(t) == 2);
    write_content(t, a, 65536, Y);
    expect(t, script_flush(t, a) == ERR_OK);
    script_await_checkpoint(t, e);
    expect(t, collect_once(t, g) == ERR_OK);
    script_run(t, 15);
    write_content(t, a, 98304, X);
    expect(t, script_flush(t, a) == ERR_OK);
    expect(t, blocks(t) == 3);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 2);
    expect(t, script_read(t, a, 0, 131072) == ERR_OK);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "collect", #name, name                                                                               \
    }
const struct scenario scenarios_collection[] = {S(garbage_goes),
                                                S(reput_of_condemned),
                                                S(dedup_asleep_before_log),
                                                S(ack_while_upload_pending),
                                                S(partitioned_from_gc_prefix_only),
                                                S(log_refers_to_condemned),
                                                S(checkpoint_between_log_and_manifest_read),
                                                S(takeover_in_mid_turn),
                                                S(server_joins_in_mid_turn),
                                                S(manifest_taken_while_declared_dead),
                                                S(two_collectors_one_asleep),
                                                S(collector_killed_at_every_step),
                                                S(warming_loads_condemned_page),
                                                S(index_purge_after_condemn),
                                                {0}};
