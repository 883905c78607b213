#include "objstore/probe.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"

enum { TRIES = 5, PUTS = 3 };
#define CLEANING_PATIENCE_NS (10 * NS_PER_S)

enum state { CREATING, MATCHING, STALE, CLEANING };

struct put {
    struct objstore_req req;
    struct iovec body;
    char text[64];
    struct run *run;
};

struct run {
    struct probe *probe;
    struct objstore *store;
    enum state state;
    unsigned tries, waiting, bodies;
    bool again, canceled;
    bool stored; /* something may be */
    char nonce[33];
    /* once: created and never replaced; none: never created; twin: two creates at once, then replaced. */
    char once[64], none[64], twin[64];
    char once_etag[OBJSTORE_ETAG_MAX], twin_etag[OBJSTORE_ETAG_MAX];
    struct put puts[PUTS];
    struct objstore_req clean;
    const char *cleaned[3];
    enum err err;
    struct complaint complaint;
};

static void step(struct run *);

/* -------------------------------------------------------------------- requests */

static void put_done(struct objstore_req *r)
{
    struct put *p = CONTAINER_OF(r, struct put, req);
    p->run->stored = p->run->stored || r->err == ERR_OK || r->err == ERR_UNKNOWN;
    if (--p->run->waiting == 0)
        step(p->run);
}

static void send_put(struct run *u, const char *key, enum objstore_condition condition, const char *etag)
{
    struct put *p = &u->puts[u->waiting++];
    *p = (struct put){.run = u};
    int n = snprintf(p->text, sizeof p->text, "ashlar probe %s %u\n", u->nonce, u->bodies++);
    p->body = (struct iovec){p->text, (size_t)n};
    p->req = (struct objstore_req){.verb = OBJSTORE_PUT,
                                   .key = key,
                                   .patience_ns = u->probe->patience_ns,
                                   .done = put_done,
                                   .body = &p->body,
                                   .body_count = 1,
                                   .condition = condition};
    if (etag)
        memcpy(p->req.etag, etag, sizeof p->req.etag);
    objstore_submit(u->store, &p->req);
}

static void clean_done(struct objstore_req *r)
{
    struct run *u = CONTAINER_OF(r, struct run, clean);
    if (r->err)
        log_warn("store", "%s: probe/%s could not be removed: %s", objstore_name(u->store), u->nonce,
                 r->complaint.text[0] ? r->complaint.text : err_text(r->err));
    step(u);
}

static void clean(struct run *u)
{
    u->cleaned[0] = u->once;
    u->cleaned[1] = u->none;
    u->cleaned[2] = u->twin;
    u->state = CLEANING;
    u->clean = (struct objstore_req){.verb = OBJSTORE_DELETE,
                                     .key = "",
                                     .patience_ns = CLEANING_PATIENCE_NS,
                                     .done = clean_done,
                                     .keys = u->cleaned,
                                     .key_count = COUNT_OF(u->cleaned)};
    objstore_submit(u->store, &u->clean);
}

/* --------------------------------------------------------------------- verdicts */

static void ignores(struct run *u, const char *what)
{
    u->err = complain(
        &u->complaint, ERR_UNSUPPORTED,
        "%s does not keep conditions on writes (%s), so two servers could destroy each other's data; "
        "use a store that honours If-Match and If-None-Match, or, if only one server will ever run, "
        "add conditional_writes=off to the store's URL",
        objstore_name(u->store), what);
}

/* False when one of the answers ends the probe, or has to be asked for again. */
static bool usable(struct run *u, unsigned count)
{
    for (unsigned i = 0; i < count && !u->err; i++) {
        const struct objstore_req *r = &u->puts[i].req;
        if (r->err == ERR_OK || r->err == ERR_CONFLICT || r->err == ERR_UNKNOWN)
            continue;
        u->err = r->err;
        u->complaint = r->complaint;
    }
    if (u->canceled && !u->err)
        u->err = ERR_CANCELED;
    return !u->err;
}

static void judge_creating(struct run *u)
{
    enum err once = u->puts[0].req.err, a = u->puts[1].req.err, b = u->puts[2].req.err;
    if (a == ERR_OK && b == ERR_OK)
        ignores(u, "of two that created an object at once, both were told that they had");
    u->again = once != ERR_OK || (a != ERR_OK && b != ERR_OK);
    memcpy(u->once_etag, u->puts[0].req.etag, sizeof u->once_etag);
    memcpy(u->twin_etag, u->puts[a == ERR_OK ? 1 : 2].req.etag, sizeof u->twin_etag);
}

static void judge_matching(struct run *u)
{
    enum err twice = u->puts[0].req.err, none = u->puts[1].req.err, right = u->puts[2].req.err;
    if (twice == ERR_OK)
        ignores(u, "an object was created that existed already");
    else if (none == ERR_OK)
        ignores(u, "an object was replaced that did not exist");
    else if (right == ERR_CONFLICT)
        ignores(u, "an object was not replaced although its ETag was given");
    u->again = twice != ERR_CONFLICT || none != ERR_CONFLICT || right != ERR_OK;
}

static void judge_stale(struct run *u)
{
    if (u->puts[0].req.err == ERR_OK)
        ignores(u, "an object was replaced although it had changed meanwhile");
    u->again = u->puts[0].req.err != ERR_CONFLICT;
}

/* -------------------------------------------------------------------------- steps */

static void begin(struct run *u)
{
    uint8_t nonce[16];
    loop_random(u->store->loop, nonce, sizeof nonce);
    hex_encode(nonce, sizeof nonce, u->nonce);
    snprintf(u->once, sizeof u->once, "probe/%s/once", u->nonce);
    snprintf(u->none, sizeof u->none, "probe/%s/none", u->nonce);
    snprintf(u->twin, sizeof u->twin, "probe/%s/twin", u->nonce);
    u->state = CREATING;
    u->tries++;
    u->again = false;
    u->bodies = 0;
    send_put(u, u->once, OBJSTORE_CREATE, NULL);
    send_put(u, u->twin, OBJSTORE_CREATE, NULL);
    send_put(u, u->twin, OBJSTORE_CREATE, NULL);
}

static void finish(struct run *u)
{
    struct probe *p = u->probe;
    p->err = u->err;
    p->complaint = u->complaint;
    p->impl = NULL;
    mem_free(u);
    p->done(p);
}

static void after_cleaning(struct run *u)
{
    if (u->canceled && !u->err)
        u->err = ERR_CANCELED;
    if (!u->err && u->again && u->tries == TRIES)
        u->err = complain(
            &u->complaint, ERR_UNAVAILABLE,
            "%s does not say reliably whether conditional writes were applied: %d times in a row answers "
            "were lost",
            objstore_name(u->store), TRIES);
    if (!u->err && u->again)
        begin(u);
    else
        finish(u);
}

static void step(struct run *u)
{
    switch (u->state) {
    case CREATING:
        if (usable(u, 3))
            judge_creating(u);
        if (u->err || u->again)
            break;
        u->state = MATCHING;
        send_put(u, u->once, OBJSTORE_CREATE, NULL);
        send_put(u, u->none, OBJSTORE_MATCH, u->once_etag);
        send_put(u, u->twin, OBJSTORE_MATCH, u->twin_etag);
        return;
    case MATCHING:
        if (usable(u, 3))
            judge_matching(u);
        if (u->err || u->again)
            break;
        u->state = STALE;
        send_put(u, u->twin, OBJSTORE_MATCH, u->twin_etag);
        return;
    case STALE:
        if (usable(u, 1))
            judge_stale(u);
        break;
    case CLEANING:
        after_cleaning(u);
        return;
    }
    if (u->stored)
        clean(u);
    else
        finish(u);
}

void probe_start(struct objstore *s, struct probe *p)
{
    struct run *u = MEM_NEW(struct run);
    u->probe = p;
    u->store = s;
    p->impl = u;
    p->err = ERR_OK;
    p->complaint.text[0] = '\0';
    begin(u);
}

void probe_cancel(struct probe *p)
{
    struct run *u = p->impl;
    if (!u)
        return;
    u->canceled = true;
    for (unsigned i = 0; i < PUTS; i++)
        if (u->puts[i].run)
            objstore_cancel(&u->puts[i].req);
    if (u->state == CLEANING)
        objstore_cancel(&u->clean);
}
