#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "objstore/s3/store.h"
#include "objstore/s3/xml.h"

#define BARREN_MAX  1000 /* pages one after the other that bring no new key */
#define ENDLESS_MAX 3

/* MinIO (seen in 2026-02 and before) counts keys that lie before start-after against max-keys when
 * start-after lies in a folder below the one listed and that folder has neighbours such as "name-2" that sort
 * before "name/": entries are left out, and the answer says that there are no more. Its continuation tokens
 * are sound, and so is a start-after that names no folder. So there a list begins at the folder's name
 * without its '/', goes on by tokens and leaves out what is not wanted. */

static const char *below_listed_folder(const struct objstore_req *q)
{
    const char *slash = strrchr(q->key, '/');
    size_t folder = slash ? (size_t)(slash - q->key) + 1 : 0;
    return q->after && strncmp(q->after, q->key, folder) == 0 ? q->after + folder : NULL;
}

static bool starts_in_a_folder(const struct objstore_req *q)
{
    const char *below = below_listed_folder(q);
    return below && strchr(below, '/');
}

/* Behind a folder that was listed as one entry a list goes on after the last key there can be in it. */
static void set_start(struct s3_request *r)
{
    const struct objstore_req *q = r->req;
    size_t n = q->after ? strlen(q->after) : 0;
    text_clear(&r->start);
    if (n == 0)
        return;
    text_add(&r->start, text_of(&r->s->root));
    if (r->careful) {
        const char *below = below_listed_folder(q);
        text_add_bytes(&r->start, q->after, (size_t)(strchr(below, '/') - q->after));
        return;
    }
    text_add(&r->start, q->after);
    if (q->delimited && q->after[n - 1] == '/')
        text_add(&r->start, "\xf4\x8f\xbf\xbf");
}

void s3_list_begin(struct s3_request *r)
{
    r->careful = r->s->counts_skipped_keys && starts_in_a_folder(r->req);
    r->page = r->careful ? OBJSTORE_LIST_MAX : r->req->list_limit;
    r->barren = 0;
    text_clear(&r->token);
    objstore_entries_free(r->req->entries, r->req->entry_count);
    r->req->entries = NULL;
    r->req->entry_count = 0;
    set_start(r);
}

/* -------------------------------------------------------------------------------- entries */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct objstore_entry *)a)->key, ((const struct objstore_entry *)b)->key);
}

enum fate { TAKE, SKIP, NONSENSE };

/* Skipped: what is not after `after`, and what is no key of ours (a folder's marker, a name too long). */
static enum fate judge(const struct s3_request *r, const struct xml_list_entry *e)
{
    const struct objstore_req *q = r->req;
    const struct text *root = &r->s->root;
    if (strncmp(e->key, text_of(root), root->bytes) != 0)
        return NONSENSE;
    const char *key = e->key + root->bytes;
    size_t n = strlen(key);
    if (strncmp(key, q->key, strlen(q->key)) != 0 || (e->is_prefix && (n == 0 || key[n - 1] != '/')))
        return NONSENSE;
    if (n == 0 || n >= OBJSTORE_KEY_MAX || (q->after && strcmp(key, q->after) <= 0))
        return SKIP;
    return !e->is_prefix && key[n - 1] == '/' ? SKIP : TAKE;
}

static void drop_repetitions(struct objstore_req *q)
{
    size_t kept = MIN(q->entry_count, 1);
    for (size_t i = 1; i < q->entry_count; i++) {
        if (strcmp(q->entries[kept - 1].key, q->entries[i].key) == 0)
            mem_free(q->entries[i].key);
        else
            q->entries[kept++] = q->entries[i];
    }
    q->entry_count = kept;
}

static bool take_entries(struct s3_request *r, const struct xml_list *list)
{
    struct objstore_req *q = r->req;
    q->entries = mem_realloc(q->entries, (q->entry_count + list->count + 1) * sizeof *q->entries);
    for (size_t i = 0; i < list->count; i++) {
        const struct xml_list_entry *e = &list->entries[i];
        enum fate fate = judge(r, e);
        if (fate == TAKE)
            q->entries[q->entry_count++] =
                (struct objstore_entry){mem_strdup(e->key + r->s->root.bytes), e->bytes, e->modified_ms};
        if (fate == NONSENSE)
            return false;
    }
    qsort(q->entries, q->entry_count, sizeof *q->entries, by_key);
    drop_repetitions(q);
    return true;
}

static void cut_to_limit(struct objstore_req *q)
{
    while (q->entry_count > q->list_limit) {
        mem_free(q->entries[--q->entry_count].key);
        q->truncated = true;
    }
}

/* --------------------------------------------------------------------------------- pages */

static bool is_minio_token(const char *token)
{
    struct text copy = {0}; /* gnutls_datum_t knows no const */
    gnutls_datum_t plain;
    text_add(&copy, token);
    const gnutls_datum_t encoded = {(unsigned char *)copy.at, (unsigned)copy.bytes};
    bool found = false;
    if (gnutls_base64_decode2(&encoded, &plain) == 0) {
        found = memmem(plain.data, plain.size, "[minio_cache:", 13) != NULL;
        gnutls_free(plain.data);
    }
    text_finish(&copy);
    return found;
}

static void note_server(struct s3_store *s, const struct http_call *c, const struct xml_list *list)
{
    if (!s->counts_skipped_keys)
        s->counts_skipped_keys = c->head.is_minio || (list->token && is_minio_token(list->token));
}

static void comes_to_no_end(struct s3_request *r)
{
    if (++r->endless < ENDLESS_MAX) {
        s3_request_nonsense(r, "a list that leads back to where it was");
        return;
    }
    log_error("s3", "%s: the list of what begins with \"%s\" comes to no end", r->s->name, r->req->key);
    s3_request_finish(r, ERR_CORRUPT);
}

/* A page may hold fewer entries than were asked for, or none, although there are more behind it. */
static void take_page(struct s3_request *r, struct xml_list *list)
{
    struct objstore_req *q = r->req;
    size_t before = q->entry_count;
    bool sense = take_entries(r, list);
    r->barren = q->entry_count > before ? 0 : r->barren + 1;
    bool on = sense && list->truncated && q->entry_count < q->list_limit;
    if (!sense || (on && !list->token)) {
        s3_request_nonsense(r, "the answer to ListObjectsV2");
        return;
    }
    if (on && (strcmp(list->token, text_of(&r->token)) == 0 || r->barren > BARREN_MAX)) {
        comes_to_no_end(r);
        return;
    }
    if (on) {
        text_clear(&r->token);
        text_add(&r->token, list->token);
        s3_request_again(r);
        return;
    }
    q->truncated = list->truncated;
    cut_to_limit(q);
    s3_request_finish(r, ERR_OK);
}

void s3_list_answered(struct s3_request *r, struct http_call *c)
{
    struct xml_list list;
    if (!xml_parse_list(c->content->data, c->content->bytes, r->page, &list)) {
        s3_request_nonsense(r, "the answer to ListObjectsV2");
        return;
    }
    note_server(r->s, c, &list);
    if (r->s->counts_skipped_keys && !r->careful && starts_in_a_folder(r->req)) {
        s3_list_begin(r);
        s3_request_again(r);
    } else {
        take_page(r, &list);
    }
    xml_list_finish(&list);
}
