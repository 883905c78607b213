/* requests.h - the way of a request to the bucket and of its answer back. */
#ifndef SIM_REQUESTS_H
#define SIM_REQUESTS_H

#include "bucket.h"

/* Takes it out of the world, answered or not. */
void request_end(struct bucket_op *);
/* It was held by a rule and goes on from where it was. */
void request_go_on(struct bucket *, struct bucket_op *);

/* bucket.c: what stands in its way. NULL: nothing. */
struct rule *rule_for(struct bucket *, const struct bucket_op *);
const struct outage *outage_for(const struct bucket *, const struct bucket_op *);

#endif
