#include "objstore/key.h"

#include <stdint.h>
#include <string.h>

/* The length of the character at s, 0 when there is none that a key may hold. */
static size_t character(const uint8_t *s)
{
    if (s[0] < 0x80)
        return s[0] >= 0x20 && s[0] != 0x7f ? 1 : 0;
    size_t n = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static bool segment_valid(const char *segment, size_t n)
{
    return n > 0 && !(n == 1 && segment[0] == '.') && !(n == 2 && segment[0] == '.' && segment[1] == '.');
}

/* Everything up to the last '/'; *rest is what follows it. */
static bool folders_valid(const char *key, const char **rest)
{
    const char *segment = key, *s = key;
    while (*s) {
        size_t n = character((const uint8_t *)s);
        if (n == 0)
            return false;
        if (*s == '/') {
            if (!segment_valid(segment, (size_t)(s - segment)))
                return false;
            segment = s + 1;
        }
        s += n;
    }
    *rest = segment;
    return s - key < OBJSTORE_KEY_MAX;
}

bool key_valid(const char *key)
{
    const char *name;
    return folders_valid(key, &name) && segment_valid(name, strlen(name));
}

bool key_prefix_valid(const char *prefix)
{
    const char *rest;
    return folders_valid(prefix, &rest);
}

static enum err bad_key(struct complaint *c, const char *key)
{
    return complain(c, ERR_INVALID, "\"%.200s\" is not a key that can be stored", key);
}

static enum err check_delete(const struct objstore_req *r, struct complaint *c)
{
    if (r->key_count < 1 || r->key_count > OBJSTORE_DELETE_MAX)
        return complain(c, ERR_INVALID, "%zu keys to delete at once; 1 to %d are possible", r->key_count,
                        OBJSTORE_DELETE_MAX);
    for (size_t i = 0; i < r->key_count; i++)
        if (!key_valid(r->keys[i]))
            return bad_key(c, r->keys[i]);
    return ERR_OK;
}

static enum err check_list(const struct objstore_req *r, struct complaint *c)
{
    if (!key_prefix_valid(r->key))
        return bad_key(c, r->key);
    if (r->after && !key_prefix_valid(r->after))
        return bad_key(c, r->after);
    if (r->list_limit < 1 || r->list_limit > OBJSTORE_LIST_MAX)
        return complain(c, ERR_INVALID, "a listing of %zu entries; 1 to %d are possible", r->list_limit,
                        OBJSTORE_LIST_MAX);
    return ERR_OK;
}

enum err key_check_req(const struct objstore_req *r, struct complaint *c)
{
    if (r->verb == OBJSTORE_DELETE)
        return check_delete(r, c);
    if (r->verb == OBJSTORE_LIST)
        return check_list(r, c);
    return key_valid(r->key) ? ERR_OK : bad_key(c, r->key);
}
