#include "objstore/store_url.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "objstore/dir.h"
#include "objstore/key.h"
#include "objstore/mem.h"
#include "objstore/s3/s3.h"

/* -------------------------------------------------------------------- decoding */

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *found = c ? strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* In place. False when a '%' is not followed by two digits, or stands for NUL. */
static bool decode(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);
        if (low < 0 || high + low == 0)
            return false;
        *to++ = (char)(high << 4 | low);
        from += 2;
    }
    *to = '\0';
    return true;
}

static enum err decode_part(char *text, const char *what, struct complaint *c)
{
    if (decode(text))
        return ERR_OK;
    return complain(c, ERR_INVALID,
                    "the %s in the store's URL, \"%.200s\", has a '%%' that is not followed by two "
                    "hexadecimal digits (other than 00); write '%%' itself as %%25",
                    what, text);
}

/* Cuts at the first of the separators and gives what follows it, NULL when there is none. */
static char *cut(char *text, char separator)
{
    char *at = strchr(text, separator);
    if (!at)
        return NULL;
    *at = '\0';
    return at + 1;
}

/* ------------------------------------------------------------------------ file: */

static enum err parse_file(char *rest, struct store_url *u, struct complaint *c)
{
    u->kind = STORE_FILE;
    if (strncmp(rest, "//", 2) == 0)
        rest += 2;
    if (rest[0] != '/')
        return complain(c, ERR_INVALID,
                        "a file: store needs an absolute path, as in file:/var/lib/ashlar, not "
                        "\"%.200s\"",
                        rest);
    if (strchr(rest, '?') || strchr(rest, '#'))
        return complain(c, ERR_INVALID,
                        "a file: store takes no options; write '?' as %%3F and '#' as %%23 in its path");
    enum err err = decode_part(rest, "path", c);
    u->path = rest;
    return err;
}

/* -------------------------------------------------------------------------- s3: */

static enum err bad_value(struct complaint *c, const char *name, const char *value, const char *right)
{
    return complain(c, ERR_INVALID, "%s in the store's URL must be %s, not \"%.200s\"", name, right, value);
}

static enum err set_flag(const char *name, const char *value, int *flag, struct complaint *c)
{
    if ((value[0] != '0' && value[0] != '1') || value[1])
        return bad_value(c, name, value, "0 or 1");
    *flag = value[0] - '0';
    return ERR_OK;
}

static enum err set_conditional_writes(const char *value, struct s3_config *s3, struct complaint *c)
{
    bool off = strcmp(value, "off") == 0;
    if (!off && strcmp(value, "on") != 0)
        return bad_value(c, "conditional_writes", value, "on or off");
    s3->conditional_writes_off = off;
    return ERR_OK;
}

static enum err set_endpoint(char *value, struct s3_config *s3, struct complaint *c)
{
    const char *host = strncmp(value, "http://", 7) == 0    ? value + 7
                       : strncmp(value, "https://", 8) == 0 ? value + 8
                                                            : NULL;
    size_t n = strlen(value);
    if (n && value[n - 1] == '/')
        value[--n] = '\0';
    if (!host || host >= value + n || strpbrk(host, "/?#@ "))
        return bad_value(c, "endpoint", value, "http://HOST[:PORT] or https://HOST[:PORT]");
    s3->endpoint = value;
    return ERR_OK;
}

static enum err set_option(const char *name, char *value, struct s3_config *s3, struct complaint *c)
{
    const struct {
        const char *name;
        const char **to;
    } texts[] = {{"region", &s3->region}, {"profile", &s3->profile}, {"ca", &s3->ca_file}};
    if (strcmp(name, "path_style") == 0)
        return set_flag(name, value, &s3->path_style, c);
    if (strcmp(name, "conditional_writes") == 0)
        return set_conditional_writes(value, s3, c);
    if (strcmp(name, "endpoint") == 0)
        return set_endpoint(value, s3, c);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) != 0)
            continue;
        if (!value[0])
            return bad_value(c, name, value, "something");
        *texts[i].to = value;
        return ERR_OK;
    }
    return complain(c, ERR_INVALID,
                    "the store's URL has an option \"%.100s\" that is not known; there are endpoint, "
                    "region, path_style, profile, conditional_writes and ca",
                    name);
}

static enum err parse_options(char *options, struct s3_config *s3, struct complaint *c)
{
    while (options && *options) {
        char *next = cut(options, '&');
        char *value = cut(options, '=');
        if (!value)
            return complain(c, ERR_INVALID, "the option \"%.200s\" in the store's URL has no value", options);
        enum err err = decode_part(value, "option", c);
        if (!err)
            err = set_option(options, value, s3, c);
        if (err)
            return err;
        options = next;
    }
    return ERR_OK;
}

static enum err parse_s3(char *rest, struct store_url *u, struct complaint *c)
{
    u->kind = STORE_S3;
    u->s3 = (struct s3_config){.path_style = -1, .prefix = ""};
    if (strncmp(rest, "//", 2) != 0)
        return complain(c, ERR_INVALID, "an s3 store is written s3://bucket or s3://bucket/prefix");
    rest += 2;
    if (strchr(rest, '#'))
        return complain(c, ERR_INVALID, "write '#' as %%23 in the store's URL");
    char *options = cut(rest, '?'), *prefix = cut(rest, '/');
    enum err err = decode_part(rest, "bucket", c);
    if (!err && prefix)
        err = decode_part(prefix, "prefix", c);
    if (err)
        return err;
    if (!rest[0] || strpbrk(rest, "/?@: "))
        return complain(c, ERR_INVALID,
                        "\"%.200s\" is no bucket's name; an s3 store is written s3://bucket or "
                        "s3://bucket/prefix",
                        rest);
    u->s3.bucket = rest;
    size_t n = prefix ? strlen(prefix) : 0;
    if (n && prefix[n - 1] == '/')
        prefix[--n] = '\0';
    if (n && (n > 200 || !key_valid(prefix)))
        return complain(c, ERR_INVALID,
                        "\"%.200s\" cannot be a prefix: at most 200 bytes of UTF-8, no empty part "
                        "between slashes, none that is . or ..",
                        prefix);
    if (n)
        u->s3.prefix = prefix;
    return parse_options(options, &u->s3, c);
}

/* -------------------------------------------------------------------------- all */

static enum err parse(const char *url, struct store_url *u, struct complaint *c)
{
    char *rest = cut(u->text, ':');
    if (rest && strcmp(u->text, "mem") == 0) {
        u->kind = STORE_MEM;
        return *rest ? complain(c, ERR_INVALID, "nothing can follow mem: in the store's URL") : ERR_OK;
    }
    if (rest && strcmp(u->text, "file") == 0)
        return parse_file(rest, u, c);
    if (rest && strcmp(u->text, "s3") == 0)
        return parse_s3(rest, u, c);
    return complain(c, ERR_INVALID,
                    "\"%.200s\" is not a store's URL; those are file:/path, s3://bucket[/prefix] and "
                    "mem:",
                    url);
}

enum err store_url_parse(const char *url, struct store_url *out, struct complaint *c)
{
    struct store_url u = {.text = mem_strdup(url)};
    enum err err = parse(url, &u, c);
    if (err)
        mem_free(u.text);
    else
        *out = u;
    return err;
}

void store_url_finish(struct store_url *u)
{
    mem_free(u->text);
    u->text = NULL;
}

enum err objstore_open(struct loop *l, const char *url, struct objstore **out, struct complaint *c)
{
    struct store_url u;
    enum err err = store_url_parse(url, &u, c);
    if (err)
        return err;
    if (u.kind == STORE_MEM)
        *out = mem_store_create(l);
    else if (u.kind == STORE_FILE)
        err = dir_store_create(l, u.path, out, c);
    else
        err = s3_store_create(l, &u.s3, out, c);
    store_url_finish(&u);
    return err;
}
