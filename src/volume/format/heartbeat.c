#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "volume/format/document.h"
#include "volume/format/manifest.h"
#include "volume/format/root.h"

static const char heartbeat_kind[] = "heartbeat", format_kind[] = "format";

/* Host names and socket paths are bytes, JSON strings are UTF-8: what is not is shown as '?'. */
static json_t *text_for_people(const char *text)
{
    json_t *v = json_string(text);
    if (v)
        return v;
    char shown[VOLUME_NAME_MAX + 1];
    size_t n = 0;
    for (; text[n] && n < sizeof shown - 1; n++)
        shown[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
    shown[n] = 0;
    v = json_string(shown);
    assert(v);
    return v;
}

static json_t *pins_encode(const struct heartbeat *h)
{
    json_t *array = json_array();
    assert(array && h->pin_count <= HEARTBEAT_PINS_MAX);
    for (size_t i = 0; i < h->pin_count; i++) {
        const struct heartbeat_pin *p = &h->pins[i];
        json_t *o = json_pack("{s:o, s:I, s:o}", "name", text_for_people(p->name), "block_size",
                              (json_int_t)p->block_size, "root", root_encode(&p->root));
        assert(o);
        json_array_append_new(array, o);
    }
    return array;
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
    json_t *control = h->control[0] ? json_string(h->control) : NULL;
    if (control) /* one that is not UTF-8 cannot be told, and so not be used */
        json_object_set_new(o, "control", control);
    if (h->pin_count)
        json_object_set_new(o, "pins", pins_encode(h));
    if (h->dead)
        json_object_set_new(o, "dead", json_true());
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
    if (json_object_get(o, "control"))
        read_text(&r, "control", read.control, sizeof read.control);
    read.lease_ttl_ms = (uint64_t)read_int(&r, "lease_ttl_ms", 1, INT64_MAX);
    read.turn = (uint32_t)read_int(&r, "turn", 0, UINT32_MAX);
    if (json_object_get(o, "dead"))
        read.dead = read_bool(&r, "dead");
    json_decref(o);
    if (bad)
        return complain(complaint, ERR_CORRUPT, "the heartbeat's \"%s\" is missing or not possible", bad);
    *h = read;
    return ERR_OK;
}

static void read_pin(const struct reader *r, struct heartbeat_pin *pin)
{
    struct reader root = read_object(r, "root");
    read_text(r, "name", pin->name, sizeof pin->name);
    pin->block_size = (uint32_t)read_int(r, "block_size", BLOCK_SIZE_MIN, BLOCK_SIZE_MAX);
    read_root(&root, &pin->root);
    if (pin->block_size & (pin->block_size - 1))
        reader_refuse(r, "block_size");
    else if (!root_holds(&pin->root, pin->block_size, 0))
        reader_refuse(r, "root");
}

enum err heartbeat_pins(const void *bytes, size_t n, struct heartbeat_pin **pins, size_t *count,
                        struct complaint *complaint)
{
    json_t *o;
    enum err err = document_parse(bytes, n, HEARTBEAT_BYTES_MAX, heartbeat_kind, &o, complaint);
    if (err)
        return err;
    const char *bad = NULL;
    struct reader r = {o, &bad};
    const json_t *array = json_object_get(o, "pins") ? read_array(&r, "pins", HEARTBEAT_PINS_MAX) : NULL;
    size_t found = json_array_size(array);
    struct heartbeat_pin *read = found ? MEM_ARRAY(struct heartbeat_pin, found) : NULL;
    for (size_t i = 0; i < found; i++) {
        struct reader in = read_element(&r, array, i, "pins");
        read_pin(&in, &read[i]);
    }
    json_decref(o);
    if (bad) {
        mem_free(read);
        return complain(complaint, ERR_CORRUPT, "the heartbeat's \"%s\" is missing or not possible", bad);
    }
    *pins = read;
    *count = found;
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
