#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/format/document.h"
#include "volume/format/manifest.h"

static const char heartbeat_kind[] = "heartbeat", format_kind[] = "format";

/* Host names and socket paths are bytes, JSON strings are UTF-8: what is not is shown as '?'. */
static json_t *text_for_people(const char *text)
{
    json_t *v = json_string(text);
    if (v)
        return v;
    char shown[sizeof((struct heartbeat){0}).addresses];
    size_t n = 0;
    for (; text[n] && n < sizeof shown - 1; n++)
        shown[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    shown[n] = 0;
    v = json_string(shown);
    assert(v);
    return v;
}

struct buf *heartbeat_encode(const struct heartbeat *h)
{
    const struct process_id *p = &h->process;
    assert(h->serial <= INT64_MAX && p->pid_ns <= INT64_MAX && p->start_time <= INT64_MAX &&
           h->lease_ttl_ms <= INT64_MAX);
    json_t *o = document_create(heartbeat_kind);
    json_t *members =
        json_pack("{s:I, s:s, s:o, s:s, s:I, s:I, s:I, s:o, s:I, s:I}", "serial", (json_int_t)h->serial,
                  "nonce", h->nonce, "host", text_for_people(p->host), "boot_id", p->boot_id, "pid_ns",
                  (json_int_t)p->pid_ns, "pid", (json_int_t)p->pid, "start_time", (json_int_t)p->start_time,
                  "addresses", text_for_people(h->addresses), "lease_ttl_ms", (json_int_t)h->lease_ttl_ms,
                  "turn", (json_int_t)h->turn);
    assert(members);
    json_object_update(o, members);
    json_decref(members);
    return document_encode(o, HEARTBEAT_BYTES_MAX);
}

enum err heartbeat_parse(const void *bytes, size_t n, struct heartbeat *h, struct complaint *complaint)
{
    json_t *o;
    enum err err = document_parse(bytes, n, HEARTBEAT_BYTES_MAX, heartbeat_kind, &o, complaint);
    if (err)
        return err;
    const char *bad = NULL;
    struct reader r = {o, &bad};
    struct heartbeat read = {0};
    struct process_id *p = &read.process;
    read.serial = (uint64_t)read_int(&r, "serial", 0, INT64_MAX);
    read_hex(&r, "nonce", ID_HEX - 1, false, read.nonce);
    read_text(&r, "host", p->host, sizeof p->host);
    read_text(&r, "boot_id", p->boot_id, sizeof p->boot_id);
    p->pid_ns = (uint64_t)read_int(&r, "pid_ns", 0, INT64_MAX);
    p->pid = read_int(&r, "pid", 0, INT32_MAX);
    p->start_time = (uint64_t)read_int(&r, "start_time", 0, INT64_MAX);
    read_text(&r, "addresses", read.addresses, sizeof read.addresses);
    read.lease_ttl_ms = (uint64_t)read_int(&r, "lease_ttl_ms", 1, INT64_MAX);
    read.turn = (uint32_t)read_int(&r, "turn", 0, UINT32_MAX);
    json_decref(o);
    if (bad)
        return complain(complaint, ERR_CORRUPT, "the heartbeat's \"%s\" is missing or not possible", bad);
    *h = read;
    return ERR_OK;
}

struct buf *format_encode(void)
{
    return document_encode(document_create(format_kind), FORMAT_BYTES_MAX);
}

enum err format_parse(const void *bytes, size_t n, struct complaint *complaint)
{
    json_t *o;
    enum err err = document_parse(bytes, n, FORMAT_BYTES_MAX, format_kind, &o, complaint);
    if (!err)
        json_decref(o);
    return err;
}
