#include "volume/format/document.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"

static const char opening[] = "{\"sha256\":\"", closing[] = "\",\n";

enum {
    OPENING = sizeof opening - 1,
    HEX = 64,
    CLOSING = sizeof closing - 1,
    FIRST_LINE = OPENING + HEX + CLOSING
};

/* -------------------------------------------------------------------- making */

json_t *document_create(const char *kind)
{
    json_t *object = json_pack("{s:i, s:s}", "ashlar", DOCUMENT_VERSION, "kind", kind);
    assert(object);
    return object;
}

struct buf *document_encode(json_t *object, size_t max)
{
    const size_t flags = JSON_INDENT(1);
    size_t n = json_dumpb(object, NULL, 0, flags);
    char *text = mem_alloc(n);
    size_t dumped = json_dumpb(object, text, n, flags);
    assert(n > 2 && dumped == n && memcmp(text, "{\n", 2) == 0);
    json_decref(object);

    struct buf *out = buf_create(FIRST_LINE + (n - 2) + 1);
    assert(out->bytes <= max);
    memcpy(out->data + FIRST_LINE, text + 2, n - 2);
    out->data[out->bytes - 1] = '\n';
    mem_free(text);

    char hex[SHA256_HEX];
    struct sha256 sum = sha256_of(out->data + FIRST_LINE, out->bytes - FIRST_LINE);
    hex_encode(sum.bytes, sizeof sum.bytes, hex);
    memcpy(out->data, opening, OPENING);
    memcpy(out->data + OPENING, hex, HEX);
    memcpy(out->data + OPENING + HEX, closing, CLOSING);
    return out;
}

/* ------------------------------------------------------------------- reading */

static bool checksum_check(const char *text, size_t n)
{
    struct sha256 said;
    char hex[SHA256_HEX];
    if (n < FIRST_LINE || memcmp(text, opening, OPENING) != 0 ||
        memcmp(text + OPENING + HEX, closing, CLOSING) != 0)
        return false;
    memcpy(hex, text + OPENING, HEX);
    hex[HEX] = 0;
    struct sha256 sum = sha256_of(text + FIRST_LINE, n - FIRST_LINE);
    return hex_decode(hex, said.bytes, sizeof said.bytes) && sha256_equal(&said, &sum);
}

enum err document_parse(const void *bytes, size_t n, size_t max, const char *kind, json_t **out,
                        struct complaint *complaint)
{
    if (n > max || !checksum_check(bytes, n))
        return complain(complaint, ERR_CORRUPT, "the %s is damaged: its content does not match its checksum",
                        kind);
    json_error_t error;
    json_t *object = json_loadb(bytes, n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(object)) {
        json_decref(object);
        return complain(complaint, ERR_CORRUPT, "the %s is not a JSON object, line %d: %s", kind, error.line,
                        error.text);
    }
    const json_t *version = json_object_get(object, "ashlar");
    const char *said = json_string_value(json_object_get(object, "kind"));
    enum err err = ERR_OK;
    if (!json_is_integer(version) || json_integer_value(version) < 1 || !said || strcmp(said, kind) != 0)
        err = complain(complaint, ERR_CORRUPT, "the %s does not say that it is one", kind);
    else if (json_integer_value(version) != DOCUMENT_VERSION)
        err = complain(
            complaint, ERR_UNSUPPORTED,
            "the %s was written in version %lld of the format, and this program knows version %d: use a "
            "newer release",
            kind, (long long)json_integer_value(version), DOCUMENT_VERSION);
    if (err)
        json_decref(object);
    else
        *out = object;
    return err;
}

void reader_refuse(const struct reader *r, const char *name)
{
    if (!*r->bad)
        *r->bad = name;
}

int64_t read_int(const struct reader *r, const char *name, int64_t min, int64_t max)
{
    const json_t *v = json_object_get(r->object, name);
    if (json_is_integer(v) && json_integer_value(v) >= min && json_integer_value(v) <= max)
        return json_integer_value(v);
    reader_refuse(r, name);
    return min;
}

bool read_bool(const struct reader *r, const char *name)
{
    const json_t *v = json_object_get(r->object, name);
    if (!json_is_boolean(v))
        reader_refuse(r, name);
    return json_is_true(v);
}

void read_hex(const struct reader *r, const char *name, size_t digits, bool may_be_empty, char *out)
{
    const char *text = json_string_value(json_object_get(r->object, name));
    if (text && strspn(text, "0123456789abcdef") == digits && !text[digits]) {
        memcpy(out, text, digits + 1);
        return;
    }
    if (!text || *text || !may_be_empty)
        reader_refuse(r, name);
    out[0] = 0;
}

void read_text(const struct reader *r, const char *name, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(r->object, name));
    size_t bytes = text ? strlen(text) + 1 : 0;
    if (text && bytes <= size) {
        memcpy(out, text, bytes);
        return;
    }
    reader_refuse(r, name);
    out[0] = 0;
}

unsigned read_choice(const struct reader *r, const char *name, const char *const *names, unsigned count)
{
    const char *text = json_string_value(json_object_get(r->object, name));
    for (unsigned i = 0; text && i < count; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    reader_refuse(r, name);
    return 0;
}

struct reader read_object(const struct reader *r, const char *name)
{
    struct reader inner = {json_object_get(r->object, name), r->bad};
    if (!json_is_object(inner.object))
        reader_refuse(r, name);
    return inner;
}

const json_t *read_array(const struct reader *r, const char *name, size_t max)
{
    const json_t *array = json_object_get(r->object, name);
    if (json_is_array(array) && json_array_size(array) <= max)
        return array;
    reader_refuse(r, name);
    return NULL;
}

struct reader read_element(const struct reader *r, const json_t *array, size_t i, const char *name)
{
    struct reader inner = {json_array_get(array, i), r->bad};
    if (!json_is_object(inner.object))
        reader_refuse(r, name);
    return inner;
}
