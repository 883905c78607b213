/* envelope.h - the first 48 bytes of every binary format (docs/FORMAT.md: Envelope).
 *
 *    0  4  magic
 *    4  2  version: 1
 *    6  2  the format's own
 *    8  4  length of the whole, in bytes
 *   12  4  the format's own
 *   16 32  SHA-256 of bytes 0 to 15 followed by bytes 48 to the end
 *
 * Later versions keep this much, so that damage and a newer version can be told apart.
 */
#ifndef VOLUME_ENVELOPE_H
#define VOLUME_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define ENVELOPE_BYTES   48u
#define ENVELOPE_VERSION 1u

/* Fills in all but the format's own fields; everything else in the n bytes is there already. */
void envelope_close(uint8_t *bytes, size_t n, const char magic[4]);
/* OK, CORRUPT (magic, length, checksum) or UNSUPPORTED (whole, but of another version). */
MUST_CHECK enum err envelope_check(const uint8_t *bytes, size_t n, const char magic[4]);

#endif
