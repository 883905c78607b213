/* requests.h - the machines behind volume_submit for what has to wait: READ, CACHE, STATUS, CHANGES. */
#ifndef VOLUME_REQUESTS_H
#define VOLUME_REQUESTS_H

#include "volume/volume_state.h"

void read_submit(struct volume_req *); /* READ, CACHE */
void status_submit(struct volume_req *);
void changes_submit(struct volume_req *);

#endif
