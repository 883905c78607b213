#include "volume/format/stored.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "volume/volume.h"

static bool stays(char c, bool first)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || (c == '.' && !first);
}

enum err name_encode(const char *name, char encoded[EXPORT_NAME_MAX + 1])
{
    static const char digits[] = "0123456789ABCDEF";
    char out[EXPORT_NAME_MAX + 1];
    size_t n = 0;
    for (size_t i = 0; name[i]; i++) {
        unsigned char c = (unsigned char)name[i];
        bool plain = stays(name[i], i == 0);
        if (c == '@' || n + (plain ? 1 : 3) > EXPORT_NAME_MAX)
            return ERR_INVALID;
        if (plain) {
            out[n++] = name[i];
        } else {
            out[n++] = '=';
            out[n++] = digits[c >> 4];
            out[n++] = digits[c & 15];
        }
    }
    if (n == 0)
        return ERR_INVALID;
    out[n] = 0;
    memcpy(encoded, out, n + 1);
    return ERR_OK;
}

static int upper_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

enum err name_decode(const char *encoded, char name[EXPORT_NAME_MAX + 1])
{
    char out[EXPORT_NAME_MAX + 1], again[EXPORT_NAME_MAX + 1];
    size_t n = 0;
    for (const char *c = encoded; *c; c++) {
        if (n == EXPORT_NAME_MAX)
            return ERR_INVALID;
        if (*c != '=') {
            out[n++] = *c;
            continue;
        }
        int high = upper_digit(c[1]), low = high < 0 ? -1 : upper_digit(c[2]);
        if (low < 0 || (high | low) == 0)
            return ERR_INVALID;
        out[n++] = (char)(high << 4 | low);
        c += 2;
    }
    out[n] = 0;
    if (name_encode(out, again) || strcmp(again, encoded) != 0)
        return ERR_INVALID;
    memcpy(name, out, n + 1);
    return ERR_OK;
}

/* ------------------------------------------------------------------- making keys */

PRINTF(2, 3) static void key_format(struct key *k, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(k->text, sizeof k->text, fmt, args);
    va_end(args);
    assert(n > 0 && (size_t)n < sizeof k->text);
}

static void key_object(struct key *k, const char *folder, const struct object_name *object)
{
    char hex[SHA256_HEX];
    hex_encode(object->hash.bytes, sizeof object->hash.bytes, hex);
    key_format(k, "%s/%s-%08x", folder, hex, (unsigned)object->turn);
}

void key_block(struct key *k, const struct object_name *object)
{
    key_object(k, "blocks", object);
}

void key_map(struct key *k, const struct object_name *object)
{
    key_object(k, "maps", object);
}

static void must_encode(const char *name, char encoded[EXPORT_NAME_MAX + 1])
{
    enum err err = name_encode(name, encoded);
    assert(err == ERR_OK);
    (void)err;
}

void key_gc_list(struct key *k, const struct object_name *object)
{
    key_object(k, "gc", object);
}

void key_manifest(struct key *k, const char *name)
{
    char encoded[EXPORT_NAME_MAX + 1];
    must_encode(name, encoded);
    key_format(k, "exports/%s/manifest", encoded);
}

void key_export_logs(struct key *k, const char *name, const char *id)
{
    char encoded[EXPORT_NAME_MAX + 1];
    must_encode(name, encoded);
    key_format(k, "exports/%s/%s/", encoded, id);
}

void key_log_folder(struct key *k, const char *name, const char *id, uint32_t epoch, const char *nonce)
{
    char encoded[EXPORT_NAME_MAX + 1];
    must_encode(name, encoded);
    key_format(k, "exports/%s/%s/%08x-%s/", encoded, id, (unsigned)epoch, nonce);
}

void key_log_slot(struct key *k, const char *name, const char *id, uint32_t epoch, const char *nonce,
                  uint64_t slot)
{
    char encoded[EXPORT_NAME_MAX + 1];
    must_encode(name, encoded);
    key_format(k, "exports/%s/%s/%08x-%s/%016llx", encoded, id, (unsigned)epoch, nonce,
               (unsigned long long)slot);
}

void key_server(struct key *k, const char *server_id)
{
    key_format(k, "servers/%s", server_id);
}

/* ------------------------------------------------------------- taking keys apart */

static bool take(const char **key, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(*key, prefix, n) != 0)
        return false;
    *key += n;
    return true;
}

static bool take_hex(const char **key, unsigned digits, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < digits; i++) {
        char c = (*key)[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            v = v << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *key += digits;
    *value = v;
    return true;
}

bool key_parse_log_slot(const char *key, const char *name, const char *id, uint32_t *epoch,
                        char nonce[FOLDER_HEX], uint64_t *slot)
{
    struct key folder;
    uint64_t epoch_value, nonce_value, slot_value;
    key_export_logs(&folder, name, id);
    if (!take(&key, folder.text) || !take_hex(&key, 8, &epoch_value) || !take(&key, "-"))
        return false;
    const char *nonce_text = key;
    if (!take_hex(&key, FOLDER_HEX - 1, &nonce_value) || !take(&key, "/") ||
        !take_hex(&key, 16, &slot_value) || *key)
        return false;
    *epoch = (uint32_t)epoch_value;
    memcpy(nonce, nonce_text, FOLDER_HEX - 1);
    nonce[FOLDER_HEX - 1] = 0;
    *slot = slot_value;
    return true;
}

bool key_parse_object(const char *key, const char *folder, struct object_name *object)
{
    struct object_name read;
    char hex[SHA256_HEX] = {0};
    uint64_t turn;
    if (!take(&key, folder) || strlen(key) != 64 + 1 + 8)
        return false;
    memcpy(hex, key, 64);
    key += 64;
    if (!hex_decode(hex, read.hash.bytes, sizeof read.hash.bytes) || !take(&key, "-") ||
        !take_hex(&key, 8, &turn))
        return false;
    read.turn = (uint32_t)turn;
    *object = read;
    return true;
}

bool key_parse_export(const char *key, char name[EXPORT_NAME_MAX + 1])
{
    if (!take(&key, "exports/"))
        return false;
    size_t n = strcspn(key, "/");
    if (n > EXPORT_NAME_MAX || (strcmp(key + n, "/") != 0 && strcmp(key + n, "/manifest") != 0))
        return false;
    char encoded[EXPORT_NAME_MAX + 1];
    memcpy(encoded, key, n);
    encoded[n] = 0;
    return name_decode(encoded, name) == ERR_OK;
}
