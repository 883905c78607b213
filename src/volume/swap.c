#include "volume/swap.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mark.h"
#include "volume/engine_state.h"

#define PAUSE_MIN_NS  (100 * NS_PER_MS)
#define PAUSE_MAX_NS  (5 * NS_PER_S)
#define LOUD_ATTEMPTS 8u

/* ------------------------------------------------------------------------ ids */

static void random_hex(struct loop *l, char *out, size_t bytes)
{
    uint8_t random[16];
    assert(bytes <= sizeof random);
    loop_random(l, random, bytes);
    hex_encode(random, bytes, out);
}

void random_id(struct loop *l, char out[ID_HEX])
{
    random_hex(l, out, 16);
}

void random_folder(struct loop *l, char out[FOLDER_HEX])
{
    random_hex(l, out, 8);
}

void manifest_renew(struct manifest *m, struct loop *l)
{
    m->serial++;
    random_id(l, m->nonce);
}

/* -------------------------------------------------------------------- reading */

/* What a GET of a manifest brought; whatever is wrong with it is logged here. */
static enum err manifest_read(const char *name, struct objstore_req *r, struct manifest *m,
                              struct complaint *complaint)
{
    struct buf *content = r->content;
    r->content = NULL;
    if (r->err == ERR_CORRUPT) {
        complain(complaint, ERR_CORRUPT, "the manifest of export %s is larger than %u bytes", name,
                 MANIFEST_BYTES_MAX);
    } else if (r->err) {
        *complaint = r->complaint;
        return r->err;
    }
    enum err err = r->err ? r->err : manifest_parse(content->data, content->bytes, m, complaint);
    buf_unref(content);
    if (err)
        log_error("manifest", "%s: %s: %s", r->key, err_text(err), complaint->text);
    return err;
}

static void manifest_got(struct objstore_req *r)
{
    struct manifest_get *g = CONTAINER_OF(r, struct manifest_get, req);
    g->err = manifest_read(g->name, r, &g->manifest, &g->complaint);
    if (!g->err)
        memcpy(g->etag, r->etag, sizeof g->etag);
    g->done(g);
}

void manifest_get_start(struct manifest_get *g)
{
    assert(g->done && g->name);
    key_manifest(&g->key, g->name);
    memset(&g->manifest, 0, sizeof g->manifest);
    g->complaint.text[0] = '\0';
    g->req = (struct objstore_req){
        .verb = OBJSTORE_GET,
        .key = g->key.text,
        .limit = MANIFEST_BYTES_MAX,
        .patience_ns = g->patience_ns,
        .done = manifest_got,
    };
    objstore_submit(g->engine->store, &g->req);
}

void manifest_get_cancel(struct manifest_get *g)
{
    objstore_cancel(&g->req);
}

/* ------------------------------------------------------------------- swapping */

static void swap_step(struct swap *);

static void swap_answered(struct objstore_req *r)
{
    swap_step(CONTAINER_OF(r, struct swap, req));
}

static void swap_paused(struct timer *t)
{
    swap_step(CONTAINER_OF(t, struct swap, timer));
}

static void swap_finish(struct swap *s, enum err err)
{
    timer_stop(&s->timer);
    buf_unref(s->body);
    s->body = NULL;
    s->err = err;
    s->done(s);
}

/* The end without having seen who won. */
static void swap_give_up(struct swap *s, enum err why)
{
    if (s->maybe_applied)
        mark_hit("swap.unknown");
    swap_finish(s, s->maybe_applied ? ERR_UNKNOWN : why);
}

static uint64_t patience_left(const struct swap *s)
{
    uint64_t spent = loop_now_ns(s->engine->loop) - s->started_ns;
    return spent < s->patience_ns ? s->patience_ns - spent : 0;
}

static bool out_of_patience(const struct swap *s)
{
    return s->patience_ns && patience_left(s) == 0;
}

static void swap_put(struct swap *s)
{
    s->state = SWAP_PUT;
    s->attempts++;
    s->iov = (struct iovec){.iov_base = s->body->data, .iov_len = s->body->bytes};
    s->req = (struct objstore_req){
        .verb = OBJSTORE_PUT,
        .key = s->key.text,
        .patience_ns = s->patience_ns ? patience_left(s) : 0,
        .body = &s->iov,
        .body_count = 1,
        .condition = s->create ? OBJSTORE_CREATE : OBJSTORE_MATCH,
        .done = swap_answered,
    };
    if (!s->create)
        memcpy(s->req.etag, s->etag, sizeof s->etag);
    objstore_submit(s->engine->store, &s->req);
}

static void swap_read_back(struct swap *s)
{
    s->state = SWAP_READ_BACK;
    s->req = (struct objstore_req){
        .verb = OBJSTORE_GET,
        .key = s->key.text,
        .limit = MANIFEST_BYTES_MAX,
        .patience_ns = s->patience_ns ? patience_left(s) : 0,
        .done = swap_answered,
    };
    objstore_submit(s->engine->store, &s->req);
}

static void swap_pause(struct swap *s, enum swap_state state, uint64_t ns)
{
    s->state = state;
    s->timer.fire = swap_paused;
    timer_start(s->engine->loop, &s->timer, ns);
}

/* Doubles with every attempt; half of it is left to chance, so that rivals do not meet again. */
static uint64_t pause_ns(struct swap *s)
{
    uint64_t random, longest = s->attempts > 6 ? PAUSE_MAX_NS : PAUSE_MIN_NS << (s->attempts - 1);
    loop_random(s->engine->loop, &random, sizeof random);
    return longest / 2 + random % (longest / 2);
}

static void swap_after_put(struct swap *s)
{
    enum err err = s->req.err;
    if (s->req.complaint.text[0])
        s->complaint = s->req.complaint;
    if (err == ERR_OK) {
        memcpy(s->etag, s->req.etag, sizeof s->etag);
        swap_finish(s, ERR_OK);
        return;
    }
    if (err == ERR_UNKNOWN)
        s->maybe_applied = true;
    if (s->canceled) {
        swap_give_up(s, ERR_CANCELED);
    } else if (err == ERR_UNKNOWN || err == ERR_CONFLICT || err == ERR_CANCELED) {
        if (out_of_patience(s))
            swap_give_up(s, ERR_UNAVAILABLE);
        else
            swap_read_back(s);
    } else if (s->patience_ns || (err != ERR_NOSPACE && err != ERR_DENIED && err != ERR_UNAVAILABLE)) {
        swap_give_up(s, err);
    } else {
        swap_pause(s, SWAP_PAUSE, RETRY_NS);
    }
}

static void swap_again(struct swap *s)
{
    if (s->canceled) {
        swap_give_up(s, ERR_CANCELED);
    } else if (out_of_patience(s)) {
        swap_give_up(s, ERR_UNAVAILABLE);
    } else {
        if (s->attempts == LOUD_ATTEMPTS)
            log_warn("manifest", "%s: refused %u times although nobody has replaced it; trying on",
                     s->key.text, s->attempts);
        mark_hit("swap.again");
        swap_pause(s, SWAP_PAUSE, pause_ns(s));
    }
}

static void swap_compare(struct swap *s, struct manifest *there)
{
    if (strcmp(there->nonce, s->next->nonce) == 0) {
        mark_hit("swap.found_ours");
        memcpy(s->etag, s->req.etag, sizeof s->etag);
        manifest_finish(there);
        swap_finish(s, ERR_OK);
    } else if (!s->create && strcmp(there->nonce, s->former_nonce) == 0) {
        /* The version is the same, so its ETag is as good as ours; a copied bucket may have given it another.
         */
        memcpy(s->etag, s->req.etag, sizeof s->etag);
        manifest_finish(there);
        swap_again(s);
    } else {
        s->found = *there;
        memcpy(s->etag, s->req.etag, sizeof s->etag);
        swap_finish(s, ERR_CONFLICT);
    }
}

static void swap_after_read(struct swap *s)
{
    struct manifest there = {0};
    struct complaint complaint = {0};
    enum err err = manifest_read(s->name, &s->req, &there, &complaint);
    if (complaint.text[0])
        s->complaint = complaint;
    if (err == ERR_OK) {
        swap_compare(s, &there);
    } else if (err == ERR_NOTFOUND && s->create) {
        swap_again(s);
    } else if (err == ERR_NOTFOUND) {
        swap_finish(s, ERR_CONFLICT);
    } else if (err == ERR_CORRUPT || err == ERR_UNSUPPORTED) {
        swap_finish(s, err);
    } else if (s->canceled || s->patience_ns) {
        swap_give_up(s, s->canceled ? ERR_CANCELED : err);
    } else {
        swap_pause(s, SWAP_READ_PAUSE, RETRY_NS);
    }
}

static void swap_step(struct swap *s)
{
    switch (s->state) {
    case SWAP_PUT:
        swap_after_put(s);
        break;
    case SWAP_PAUSE:
        if (s->canceled || out_of_patience(s))
            swap_give_up(s, s->canceled ? ERR_CANCELED : ERR_UNAVAILABLE);
        else
            swap_put(s);
        break;
    case SWAP_READ_BACK:
        swap_after_read(s);
        break;
    case SWAP_READ_PAUSE:
        if (s->canceled)
            swap_give_up(s, ERR_CANCELED);
        else
            swap_read_back(s);
        break;
    }
}

void swap_start(struct swap *s)
{
    assert(s->done && s->name && s->next && (s->create || s->etag[0]));
    key_manifest(&s->key, s->name);
    memset(&s->found, 0, sizeof s->found);
    memset(&s->timer, 0, sizeof s->timer);
    s->complaint.text[0] = '\0';
    s->body = manifest_encode(s->next);
    s->attempts = 0;
    s->started_ns = loop_now_ns(s->engine->loop);
    s->canceled = s->maybe_applied = false;
    swap_put(s);
}

void swap_cancel(struct swap *s)
{
    if (!s->body || s->canceled)
        return;
    s->canceled = true;
    if (s->state == SWAP_PAUSE || s->state == SWAP_READ_PAUSE)
        timer_start(s->engine->loop, &s->timer, 0);
    else
        objstore_cancel(&s->req);
}
