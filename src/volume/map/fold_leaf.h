/* fold_leaf.h - one leaf of the map as it will be: changes over what its old page says.
 *
 * A page never passes PAGE_BYTES_CAP. What can be read is in whole blocks by then (pack.h); only damage that
 * is overwritten in very many small parts can ask for more. Blocks in more than LEAF_PARTS_MAX parts are
 * then given up as a whole: they read as an I/O error until they are written anew, and the log says so.
 */
#ifndef VOLUME_FOLD_LEAF_H
#define VOLUME_FOLD_LEAF_H

#include "volume/extents.h"
#include "volume/format/page.h"

#define LEAF_PARTS_MAX 1024u /* so many in every block fit into the cap, each with a piece and an object */

struct fold_leaf {
    const char *name; /* of the export, for people */
    struct leaf_builder *builder;
    const struct extents *changes; /* holes, zeros and pieces */
    uint32_t block_size;
    uint64_t region; /* where the leaf begins */
    uint32_t size;   /* of it, to the end of the export at most */
    const void *old; /* the page, checked; NULL: there is none, or it is the base; then it all is: */
    enum subtree_kind old_kind;
    const struct page_ref *base; /* NULL: none. What neither changes nor the old page say is as there */
};

/* HOLE, ZEROS, or PAGE: *page is a reference to the new one. */
enum subtree_kind fold_leaf(const struct fold_leaf *, struct buf **page);

#endif
