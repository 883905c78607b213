/* document.h - the small mutable objects as JSON under a checksum (docs/FORMAT.md: Documents). For manifest.c
 * and heartbeat.c.
 *
 * The first line is {"sha256":"<64 hex digits>", and a newline; the hash is that of every byte after the
 * newline; the whole is one JSON object. Every document names the version of the format ("ashlar") and its
 * kind.
 */
#ifndef VOLUME_DOCUMENT_H
#define VOLUME_DOCUMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

#define DOCUMENT_VERSION 1

/* An object with version and kind, for json_object_set_new. */
json_t *document_create(const char *kind);
/* Lets go of the object. At most `max` bytes (asserted). */
struct buf *document_encode(json_t *, size_t max);

/* CORRUPT: not such a document, more than `max` bytes, or its checksum is wrong. UNSUPPORTED: whole, but of a
 * later version. OK: *out is the caller's. */
MUST_CHECK enum err document_parse(const void *bytes, size_t n, size_t max, const char *kind, json_t **out,
                                   struct complaint *);

/* Reads an object's members. The first that is missing or out of bounds is noted in *bad; what is read from
 * then on is harmless and means nothing. */
struct reader {
    const json_t *object;
    const char **bad;
};

void reader_refuse(const struct reader *, const char *name);
int64_t read_int(const struct reader *, const char *name, int64_t min, int64_t max);
bool read_bool(const struct reader *, const char *name);
/* Exactly that many lower-case hex digits, or, where it may be empty, none. `out` holds digits + 1. */
void read_hex(const struct reader *, const char *name, size_t digits, bool may_be_empty, char *out);
/* Less than `size` bytes. */
void read_text(const struct reader *, const char *name, char *out, size_t size);
/* The number of the string among the `count` names. */
unsigned read_choice(const struct reader *, const char *name, const char *const *names, unsigned count);
struct reader read_object(const struct reader *, const char *name);
/* At most `max` objects; NULL (an empty array to jansson) when there is none. */
const json_t *read_array(const struct reader *, const char *name, size_t max);
struct reader read_element(const struct reader *, const json_t *array, size_t i, const char *name);

#endif
