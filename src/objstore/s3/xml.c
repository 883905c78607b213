#include "objstore/s3/xml.h"

#include <expat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "objstore/s3/uri.h"

/* One walk over a document: element paths are compared below the root, whatever the root is called. */
struct walk {
    XML_Parser parser;
    const char *root;
    unsigned depth;
    char path[128]; /* of the open element below the root: "Contents/Key" */
    size_t path_ends[XML_DEPTH_MAX + 1];
    struct text text;
    bool failed;
    void (*opened)(void *, const char *path);
    void (*closed)(struct walk *, void *, const char *path, const char *text);
    void *ctx;
};

static void walk_fail(struct walk *w)
{
    w->failed = true;
    XML_StopParser(w->parser, XML_FALSE);
}

static void XMLCALL on_doctype(void *data, const XML_Char *name, const XML_Char *system,
                               const XML_Char *public, int internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)internal;
    walk_fail(data);
}

static void XMLCALL on_start(void *data, const XML_Char *name, const XML_Char **attributes)
{
    struct walk *w = data;
    (void)attributes;
    const char *colon = strrchr(name, ':');
    const char *local = colon ? colon + 1 : name;
    text_clear(&w->text);
    if (w->depth == XML_DEPTH_MAX || (w->depth == 0 && strcmp(local, w->root) != 0)) {
        walk_fail(w);
        return;
    }
    size_t end = w->depth ? w->path_ends[w->depth - 1] : 0;
    w->path_ends[w->depth] = end;
    if (w->depth > 0) {
        int n = snprintf(w->path + end, sizeof w->path - end, "%s%s", end ? "/" : "", local);
        if (n < 0 || (size_t)n >= sizeof w->path - end) {
            walk_fail(w);
            return;
        }
        w->path_ends[w->depth] = end + (size_t)n;
        if (w->opened)
            w->opened(w->ctx, w->path);
    }
    w->depth++;
}

static void XMLCALL on_end(void *data, const XML_Char *name)
{
    struct walk *w = data;
    (void)name;
    if (w->failed) /* expat may still close what it was told to stop at */
        return;
    w->depth--;
    if (w->depth > 0) {
        w->closed(w, w->ctx, w->path, text_of(&w->text));
        w->path[w->path_ends[w->depth - 1]] = '\0';
    }
    text_clear(&w->text);
}

static void XMLCALL on_text(void *data, const XML_Char *s, int n)
{
    struct walk *w = data;
    if (w->text.bytes + (size_t)n > XML_TEXT_MAX)
        walk_fail(w);
    else
        text_add_bytes(&w->text, s, (size_t)n);
}

static bool walk_document(struct walk *w, const void *bytes, size_t n)
{
    w->parser = XML_ParserCreate(NULL);
    if (!w->parser || n > INT32_MAX) {
        XML_ParserFree(w->parser);
        return false;
    }
    XML_SetUserData(w->parser, w);
    XML_SetElementHandler(w->parser, on_start, on_end);
    XML_SetCharacterDataHandler(w->parser, on_text);
    XML_SetStartDoctypeDeclHandler(w->parser, on_doctype);
    bool ok = XML_Parse(w->parser, bytes, (int)n, XML_TRUE) == XML_STATUS_OK && !w->failed;
    XML_ParserFree(w->parser);
    text_finish(&w->text);
    return ok;
}

/* ----------------------------------------------------------------------- times */

int64_t xml_parse_time(const char *s)
{
    struct tm tm = {0};
    const char *rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest)
        return 0;
    int64_t ms = (int64_t)timegm(&tm) * 1000;
    if (*rest == '.') {
        rest++;
        for (int64_t unit = 100; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            ms += unit * (*rest - '0');
    }
    return strcmp(rest, "Z") == 0 && ms > 0 ? ms : 0;
}

/* ----------------------------------------------------------------------- lists */

struct list_walk {
    struct xml_list *list;
    size_t max, room;
    bool encoded, too_many;
};

static struct xml_list_entry *add_entry(struct list_walk *l)
{
    struct xml_list *list = l->list;
    if (list->count == l->max)
        return NULL;
    if (list->count == l->room) {
        l->room = l->room ? 2 * l->room : 16;
        list->entries = mem_realloc(list->entries, l->room * sizeof *list->entries);
    }
    struct xml_list_entry *e = &list->entries[list->count++];
    memset(e, 0, sizeof *e);
    return e;
}

static bool parse_bytes(const char *s, uint64_t *n)
{
    char *end;
    if (*s < '0' || *s > '9' || strlen(s) > 19)
        return false;
    *n = strtoull(s, &end, 10);
    return *end == '\0';
}

static void list_opened(void *ctx, const char *path)
{
    struct list_walk *l = ctx;
    bool prefix = strcmp(path, "CommonPrefixes") == 0;
    if (!prefix && strcmp(path, "Contents") != 0)
        return;
    struct xml_list_entry *e = add_entry(l);
    if (e)
        e->is_prefix = prefix;
    else
        l->too_many = true;
}

static bool set_key(struct xml_list_entry *e, const char *text)
{
    if (e->key || !*text)
        return false;
    e->key = mem_strdup(text);
    return true;
}

/* Within an entry, and at its end; false when the document is at fault. */
static bool entry_closed(struct xml_list_entry *e, const char *path, const char *text)
{
    if (strcmp(path, "Contents/Key") == 0 || strcmp(path, "CommonPrefixes/Prefix") == 0)
        return set_key(e, text);
    if (strcmp(path, "Contents/Size") == 0)
        return parse_bytes(text, &e->bytes);
    if (strcmp(path, "Contents/LastModified") == 0)
        e->modified_ms = xml_parse_time(text);
    if (strcmp(path, "Contents") == 0 || strcmp(path, "CommonPrefixes") == 0)
        return e->key != NULL;
    return true;
}

static void list_closed(struct walk *w, void *ctx, const char *path, const char *text)
{
    struct list_walk *l = ctx;
    struct xml_list *list = l->list;
    if (strcmp(path, "IsTruncated") == 0)
        list->truncated = strcmp(text, "true") == 0;
    else if (strcmp(path, "EncodingType") == 0)
        l->encoded = strcmp(text, "url") == 0;
    else if (strcmp(path, "NextContinuationToken") == 0 && !list->token)
        list->token = mem_strdup(text);
    else if (l->too_many || (list->count && !entry_closed(&list->entries[list->count - 1], path, text)))
        walk_fail(w);
}

bool xml_parse_list(const void *bytes, size_t n, size_t max_entries, struct xml_list *out)
{
    struct xml_list list = {0};
    struct list_walk l = {.list = &list, .max = max_entries};
    struct walk w = {.root = "ListBucketResult", .opened = list_opened, .closed = list_closed, .ctx = &l};
    bool ok = walk_document(&w, bytes, n);
    for (size_t i = 0; ok && l.encoded && i < list.count; i++)
        ok = uri_decode(list.entries[i].key);
    if (!ok) {
        xml_list_finish(&list);
        return false;
    }
    *out = list;
    return true;
}

void xml_list_finish(struct xml_list *l)
{
    for (size_t i = 0; i < l->count; i++)
        mem_free(l->entries[i].key);
    mem_free(l->entries);
    mem_free(l->token);
    memset(l, 0, sizeof *l);
}

/* ------------------------------------------------------------------- deletions */

static void add_escaped(struct text *to, const char *s)
{
    while (*s) {
        size_t plain = strcspn(s, "&<>\"'");
        text_add_bytes(to, s, plain);
        s += plain;
        if (*s)
            text_addf(to, "&#%d;", *s++);
    }
}

void xml_add_deletion(struct text *to, const char *prefix, const char *const *keys, size_t count)
{
    text_add(to, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                 "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
    for (size_t i = 0; i < count; i++) {
        text_add(to, "<Object><Key>");
        add_escaped(to, prefix);
        add_escaped(to, keys[i]);
        text_add(to, "</Key></Object>");
    }
    text_add(to, "</Delete>");
}

struct deleted_walk {
    struct text key, code;
    void (*failed)(void *, const char *, const char *);
    void *ctx;
};

static void deleted_closed(struct walk *w, void *ctx, const char *path, const char *text)
{
    struct deleted_walk *d = ctx;
    (void)w;
    if (strcmp(path, "Error/Key") == 0) {
        text_clear(&d->key);
        text_add(&d->key, text);
    } else if (strcmp(path, "Error/Code") == 0) {
        text_clear(&d->code);
        text_add(&d->code, text);
    } else if (strcmp(path, "Error") == 0) {
        d->failed(d->ctx, text_of(&d->key), text_of(&d->code));
        text_clear(&d->key);
        text_clear(&d->code);
    }
}

bool xml_parse_deleted(const void *bytes, size_t n, void (*failed)(void *, const char *, const char *),
                       void *ctx)
{
    struct deleted_walk d = {.failed = failed, .ctx = ctx};
    struct walk w = {.root = "DeleteResult", .closed = deleted_closed, .ctx = &d};
    bool ok = walk_document(&w, bytes, n);
    text_finish(&d.key);
    text_finish(&d.code);
    return ok;
}

/* ---------------------------------------------------------------------- errors */

static void error_closed(struct walk *w, void *ctx, const char *path, const char *text)
{
    struct xml_error *e = ctx;
    (void)w;
    if (strcmp(path, "Code") == 0)
        snprintf(e->code, sizeof e->code, "%s", text);
    else if (strcmp(path, "Message") == 0)
        snprintf(e->message, sizeof e->message, "%s", text);
    else if (strcmp(path, "Region") == 0)
        snprintf(e->region, sizeof e->region, "%s", text);
    else if (strcmp(path, "ServerTime") == 0)
        snprintf(e->server_time, sizeof e->server_time, "%s", text);
}

bool xml_parse_error(const void *bytes, size_t n, struct xml_error *out)
{
    struct xml_error e = {0};
    struct walk w = {.root = "Error", .closed = error_closed, .ctx = &e};
    memset(out, 0, sizeof *out);
    if (!walk_document(&w, bytes, n))
        return false;
    *out = e;
    return true;
}
