/* s3.h - the store behind s3:// URLs: a bucket of any server that speaks Amazon's S3 (objstore.h).
 *
 *   1. Keys are objects named prefix/key in the bucket. ETags are kept without their quotes; which form
 *      If-Match wants is found out: where an unproven form is refused although the object's ETag is the one
 *      asked for, the other form is tried before anything is answered (the refused request was not
 *      applied).
 *   2. Up to 64 requests are under way, 8 of them kept for OBJSTORE_DEMAND, fewer while the server
 *      throttles. A GET, HEAD or unconditional PUT which is slower than nearly all of its kind is sent
 *      again on a new connection, at most one in 20; the first answer wins, and the loser may still be
 *      applied later.
 *   3. What is retried and what a conditional PUT answers is told in verdict.h; in short: a refusal that is
 *      certain not to have been applied, 409 ConditionalRequestConflict included, is sent again until
 *      patience is over, with patience 0 for ever; one whose body may have left is never sent again but
 *      UNKNOWN. With patience, what only a person can mend (wrong key, no such bucket, wrong region) is
 *      answered at the second refusal.
 *   4. Credentials are read again from their files when the server refuses them, so that they may be
 *      exchanged under a running server. Clocks that differ are corrected by the server's own.
 *   5. With conditional_writes_off conditions are checked by a HEAD before the PUT, one PUT to a key at a
 *      time. That is safe only as long as no other process writes the bucket.
 *   6. NOTFOUND is answered only once the bucket is known to exist.
 */
#ifndef OBJSTORE_S3_S3_H
#define OBJSTORE_S3_S3_H

#include "base/err.h"
#include "loop/loop.h"
#include "objstore/objstore.h"
#include "objstore/s3/s3_config.h"

/* Reads the environment and the credential files (credentials.h), sends nothing. INVALID or DENIED with a
 * complaint. */
MUST_CHECK enum err s3_store_create(struct loop *, const struct s3_config *, struct objstore **,
                                    struct complaint *);

#endif
