/* Snapshots that are read by a server that owns nothing, while the collector runs.
 *
 * In all of them X is content that only the snapshot "then" refers to.
 */
#include "scenario.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define PUT   RULE_VERB(OBJSTORE_PUT)
#define BYTES 16384u /* an object of four blocks */

/* ------------------------------------------------- what the script has no words for */

struct waiting {
    struct process *process;
    bool done;
    struct volume_change change;
    struct volume_open open;
    struct volume_close close;
    struct volume_req req;
    bool lost;
};

static bool is_done(void *ctx)
{
    return ((struct waiting *)ctx)->done;
}

static void wait_until_done(struct script *t, struct waiting *w)
{
    for (int i = 0; i < 600 && !is_done(w); i++)
        script_run(t, 0.1);
    expect(t, is_done(w));
    w->done = false;
}

static void changed(struct volume_change *c)
{
    CONTAINER_OF(c, struct waiting, change)->done = true;
}

static void opened(struct volume_open *o)
{
    CONTAINER_OF(o, struct waiting, open)->done = true;
}

static void closed(struct volume_close *c)
{
    CONTAINER_OF(c, struct waiting, close)->done = true;
}

static void answered(struct volume_req *r)
{
    CONTAINER_OF(r, struct waiting, req)->done = true;
}

static void lost(struct volume *v, void *ctx, enum err why)
{
    (void)v, (void)why;
    ((struct waiting *)ctx)->lost = true;
}

static void change(struct script *t, struct client *a, enum volume_change_verb verb)
{
    static struct waiting w;
    memset(&w, 0, sizeof w);
    w.change = (struct volume_change){.volume = a->volume, .verb = verb, .name = "then", .done = changed};
    server_enter(a->process->server);
    volume_change(&w.change);
    server_leave(a->process->server);
    wait_until_done(t, &w);
    expect(t, w.change.err == ERR_OK);
}

static void reader_begin(struct waiting *w, struct process *p)
{
    memset(w, 0, sizeof *w);
    w->process = p;
    w->open = (struct volume_open){
        .engine = p->engine, .name = "disk@then", .lost = lost, .ctx = w, .done = opened};
    server_enter(p->server);
    volume_open(&w->open);
    server_leave(p->server);
}

static enum err reader_open(struct script *t, struct waiting *w, struct process *p)
{
    reader_begin(w, p);
    wait_until_done(t, w);
    return w->open.err;
}

static void reader_close(struct script *t, struct waiting *w)
{
    w->close = (struct volume_close){.volume = w->open.volume, .done = closed};
    server_enter(w->process->server);
    volume_close(&w->close);
    server_leave(w->process->server);
    wait_until_done(t, w);
}

/* OK: it reads X. */
static enum err reader_read(struct script *t, struct waiting *w)
{
    w->req = (struct volume_req){.verb = VOLUME_READ, .bytes = BYTES, .done = answered};
    server_enter(w->process->server);
    volume_submit(w->open.volume, &w->req);
    server_leave(w->process->server);
    wait_until_done(t, w);
    enum err err = w->req.err;
    for (size_t i = 0; i < w->req.segment_count && !err; i++) {
        const struct volume_segment *s = &w->req.segments[i];
        expect(t, s->kind == VOLUME_DATA && s->buf->data[s->skip + s->bytes - 1] == 'x');
    }
    server_enter(w->process->server);
    volume_req_finish(&w->req);
    server_leave(w->process->server);
    return err;
}

static void write_all(struct script *t, struct client *a, int content)
{
    uint8_t *data = malloc(BYTES);
    assert(data);
    memset(data, content, BYTES);
    for (uint32_t i = 0; i < BYTES; i += 4096)
        data[i] = (uint8_t)(i / 4096 + 1);
    expect(t, script_wait(t, client_submit(a, VOLUME_WRITE, 0, 0, BYTES, data, true)) == ERR_OK);
    expect(t, script_flush(t, a) == ERR_OK);
}

/* The owner of an export whose snapshot has X, and which has Y itself. */
static struct client *with_snapshot(struct script *t)
{
    struct model_export *e = script_export(t, "disk", NULL);
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    t->config.cache_bytes = 0; /* what is read comes from the store */
    struct client *a = script_open(t, script_server(t, 0), e);
    write_all(t, a, 'x');
    change(t, a, VOLUME_SNAPSHOT);
    write_all(t, a, 'y');
    script_await_checkpoint(t, e);
    return a;
}

static size_t blocks(const struct script *t)
{
    return bucket_count(t->bucket, "blocks/");
}

/* ------------------------------------------------------------------------ scenarios */

/* Nobody reads it: its data stays all the same. */
static void snapshot_keeps_what_only_it_has(struct script *t)
{
    with_snapshot(t);
    struct process *r = script_server(t, 1);
    expect(t, script_collect(t, r) == ERR_OK && script_collect(t, r) == ERR_OK);
    expect(t, blocks(t) == 2);
    struct waiting w;
    expect(t, reader_open(t, &w, r) == ERR_OK && reader_read(t, &w) == ERR_OK);
    reader_close(t, &w);
}

/* A snapshot is removed while somebody reads it: its data stays for as long as that, and goes then. */
static void snapshot_reader_while_removed(struct script *t)
{
    struct client *a = with_snapshot(t);
    struct process *r = script_server(t, 1), *g = script_server(t, 2);
    struct waiting w;
    expect(t, reader_open(t, &w, r) == ERR_OK && reader_read(t, &w) == ERR_OK);
    change(t, a, VOLUME_REMOVE_SNAPSHOT);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 2 && reader_read(t, &w) == ERR_OK);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, reader_read(t, &w) == ERR_OK);
    reader_close(t, &w);
    script_run(t, 15); /* its next heartbeat says so */
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 1);
    expect(t, reader_open(t, &w, r) == ERR_NOTFOUND);
}

/* It is removed, and collected, between the reader's first look and its pin: the second look sees that. */
static void pin_snapshot_removed_between(struct script *t)
{
    struct client *a = with_snapshot(t);
    struct process *r = script_server(t, 1), *g = script_server(t, 2);
    struct waiting w;
    struct rule *held = rule_add_times(t->bucket, RULE_HOLD, PUT, "servers/*", r->server, 0, 1);
    reader_begin(&w, r);
    script_await_held(t, held, 1);
    change(t, a, VOLUME_REMOVE_SNAPSHOT);
    rule_release(t->bucket, held);
    wait_until_done(t, &w);
    expect(t, w.open.err == ERR_NOTFOUND);
    expect(t, script_collect(t, g) == ERR_OK && blocks(t) == 1);
}

/* Declared dead, its pin counts no more: X goes, and the reader, awake again, serves nothing. */
static void pin_server_declared_dead(struct script *t)
{
    struct client *a = with_snapshot(t);
    struct process *r = script_server(t, 1), *g = script_server(t, 2);
    struct waiting w;
    expect(t, reader_open(t, &w, r) == ERR_OK && reader_read(t, &w) == ERR_OK);
    script_sleep(r);
    change(t, a, VOLUME_REMOVE_SNAPSHOT);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 1);
    script_wake(r);
    script_run(t, 60);
    expect(t, w.lost && reader_read(t, &w) == ERR_FENCED);
    expect(t, script_collect(t, g) == ERR_OK); /* what the pin named is gone: no damage */
    reader_close(t, &w);
    expect(t, reader_open(t, &w, r) == ERR_NOTFOUND);
}

/* Declared dead between its pin and its second look: it pins again before it serves. */
static void pin_server_declared_dead_before_it_looks(struct script *t)
{
    struct client *a = with_snapshot(t);
    struct process *r = script_server(t, 1), *g = script_server(t, 2);
    struct waiting w;
    struct rule *held = rule_add_times(t->bucket, RULE_HOLD, RULE_VERB(OBJSTORE_GET), "exports/disk/manifest",
                                       r->server, 1, 1);
    reader_begin(&w, r);
    script_await_held(t, held, 1);
    script_sleep(r);
    expect(t, script_collect(t, g) == ERR_OK && g->collect.counts.declared_dead == 1);
    script_wake(r);
    script_run(t, 60);
    rule_release(t->bucket, held);
    wait_until_done(t, &w);
    expect(t, w.open.err == ERR_OK);
    change(t, a, VOLUME_REMOVE_SNAPSHOT);
    expect(t, script_collect(t, g) == ERR_OK);
    expect(t, blocks(t) == 2 && reader_read(t, &w) == ERR_OK);
    reader_close(t, &w);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "pins", #name, name                                                                                  \
    }
const struct scenario scenarios_pins[] = {S(snapshot_keeps_what_only_it_has),
                                          S(snapshot_reader_while_removed),
                                          S(pin_snapshot_removed_between),
                                          S(pin_server_declared_dead),
                                          S(pin_server_declared_dead_before_it_looks),
                                          {0}};
