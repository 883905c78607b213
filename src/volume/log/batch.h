/* batch.h - a frozen set on its way into the log: its data made ready, its records made and stored.
 *
 * UPLOADING  waits for background uploads of its data; what is too much for a record goes into objects
 * READY      everything it refers to is stored (DESIGN §3 rule 1); waits until all earlier batches have their
 * slots SENT       its records have slots and are on their way; their bytes never change (rule 2) STORED all
 * its records are known to be stored as ours; waits for earlier batches
 */
#ifndef VOLUME_BATCH_H
#define VOLUME_BATCH_H

#include "volume/volume_state.h"

struct batch *batch_create(struct volume *); /* takes all of volume->queued and its waiters */
void batch_destroy(struct batch *);          /* nothing of it is under way */

/* UPLOADING: goes on if it can; READY when nothing is left to wait for. */
void batch_prepare(struct batch *);
/* READY: gives out slots and sends the records. */
void batch_send(struct batch *);
/* SENT, after a retake: forgets its slots, READY again. Nothing of it is under way. */
void batch_recall(struct batch *);
/* Tries again what the store had no space for. */
void batch_retry(struct batch *);
void batch_stop(struct batch *); /* cancels what is under way */
bool batch_busy(const struct batch *);
/* The i-th record as sent; the batch's reference. */
struct buf *batch_record(const struct batch *, size_t i);

#endif
