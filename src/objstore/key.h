/* key.h - which strings are keys, for every store (the rule is objstore.h's).
 *
 * UTF-8 (RFC 3629: no overlong forms, no surrogates), no control characters (U+0000 to U+001F, U+007F),
 * shorter than OBJSTORE_KEY_MAX, segments between '/' neither empty nor "." nor "..".
 */
#ifndef OBJSTORE_KEY_H
#define OBJSTORE_KEY_H

#include <stdbool.h>

#include "base/err.h"
#include "objstore/objstore.h"

bool key_valid(const char *key);
/* What some valid key begins with, "" included: the last segment may be empty or cut anywhere but inside a
 * character. */
bool key_prefix_valid(const char *prefix);

/* Every rule of objstore.h about what may be asked; INVALID with a complaint. For a store's submit. */
MUST_CHECK enum err key_check_req(const struct objstore_req *, struct complaint *);

#endif
