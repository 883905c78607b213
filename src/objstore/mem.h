/* mem.h - the store in RAM: for `mem:` and for tests. All guarantees of objstore.h but durability.
 *
 *   1. Deterministic: requests take effect in the order they are submitted, at once; each is answered in
 *      the loop's next round.
 *   2. Every version has an ETag that no other version of any key in this store has.
 *   3. date_ms and modified_ms are loop_wall_ms.
 */
#ifndef OBJSTORE_MEM_H
#define OBJSTORE_MEM_H

#include "objstore/objstore.h"

struct objstore *mem_store_create(struct loop *);

#endif
