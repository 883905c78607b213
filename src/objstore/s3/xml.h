/* xml.h - the XML that S3 speaks: lists, deletions, errors (S3 API reference: ListObjectsV2, DeleteObjects,
 * "Error responses").
 *
 * What is parsed comes from outside: documents with a DOCTYPE, nested deeper than XML_DEPTH_MAX, with an
 * element's text longer than XML_TEXT_MAX, or with more entries than were asked for are refused.
 */
#ifndef OBJSTORE_S3_XML_H
#define OBJSTORE_S3_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "objstore/s3/text.h"

#define XML_DEPTH_MAX 16
#define XML_TEXT_MAX  4096 /* a key of 1,024 bytes, every one of them as %XX */

struct xml_list_entry {
    char *key; /* decoded; with the store's prefix; a common prefix ends in '/' */
    bool is_prefix;
    uint64_t bytes;
    int64_t modified_ms;
};

struct xml_list {
    struct xml_list_entry *entries; /* in the document's order */
    size_t count;
    bool truncated;
    char *token; /* NextContinuationToken, or NULL */
};

bool xml_parse_list(const void *, size_t bytes, size_t max_entries, struct xml_list *);
void xml_list_finish(struct xml_list *);

/* Adds the body of a DeleteObjects request for prefix + each key. */
void xml_add_deletion(struct text *, const char *prefix, const char *const *keys, size_t count);
/* Calls failed for each key that was not deleted: the key with the store's prefix, and why. */
bool xml_parse_deleted(const void *, size_t bytes, void (*failed)(void *, const char *key, const char *code),
                       void *);

struct xml_error {
    char code[64], message[256], region[64],
        server_time[32]; /* "" where the document is silent; cut to fit */
};
/* False, and everything "", when it is no <Error> document. */
bool xml_parse_error(const void *, size_t bytes, struct xml_error *);

/* 2026-01-31T12:00:00.123Z in milliseconds since 1970; 0 on anything else. */
int64_t xml_parse_time(const char *);

#endif
