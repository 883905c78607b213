/* base.h - the inside of struct volume_base: a snapshot that volumes are compared with. */
#ifndef VOLUME_BASE_H
#define VOLUME_BASE_H

#include "volume/pinned.h"
#include "volume/volume.h"

struct volume_base {
    struct pinned pinned;
    struct volume_base_open *req; /* NULL when it is open */
};

#endif
