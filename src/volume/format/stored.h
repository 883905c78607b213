/* stored.h - names and references of what lies in the bucket (docs/FORMAT.md: words). Plain values, no I/O.
 * */
#ifndef VOLUME_STORED_H
#define VOLUME_STORED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "objstore/objstore.h"

#define ID_HEX     33 /* 128 random bits as hex, with its NUL: exports, servers, version nonces */
#define FOLDER_HEX 17 /* 64 random bits as hex, with its NUL: the nonce of a log folder */

/* A block object or a map object: {sha256 of the stored bytes}-{turn}. */
struct object_name {
    struct sha256 hash;
    uint32_t turn;
};

static inline bool object_name_equal(const struct object_name *a, const struct object_name *b)
{
    return a->turn == b->turn && sha256_equal(&a->hash, &b->hash);
}

/* Where a piece is: bytes stored together in a block object, named by the hash of their plain content. */
struct piece_ref {
    struct object_name object;
    uint32_t offset;       /* in the object */
    uint32_t stored_bytes; /* as stored: after compression and encryption */
    uint32_t bytes;        /* plain */
    uint8_t codec;         /* 0: plain. Others are reserved, and refused as CORRUPT by this version */
    uint8_t cipher;        /* 0: none */
    uint16_t key;          /* 0: none */
    struct sha256 hash;    /* of the plain bytes */
};

/* What a subtree of the map holds. */
struct map_sums {
    uint64_t mapped;  /* bytes of the export that are data */
    uint64_t stored;  /* stored bytes of the pieces its pages name, a piece counted once a page */
    uint64_t objects; /* block objects its pages name, an object counted once a page */
};

/* Where a map page is, in a map object. */
struct page_ref {
    struct object_name object; /* unspecified when `self` */
    bool self;                 /* in the very object that holds the page with this reference */
    uint32_t offset, bytes;
    struct sha256 hash; /* of the page's bytes */
};

enum subtree_kind { SUBTREE_HOLE, SUBTREE_ZEROS, SUBTREE_PAGE, SUBTREE_BASE /* as the page's base has it */ };

struct subtree {
    enum subtree_kind kind;
    struct page_ref page; /* SUBTREE_PAGE */
    struct map_sums sums; /* zero unless SUBTREE_PAGE */
};

/* The root of an export or snapshot: a subtree that covers the region of `level` (0: one leaf page). */
struct map_root {
    unsigned level;
    struct subtree tree; /* never BASE, page never self */
};

/* One log folder and the slots in it that are to be replayed: from, ..., to - 1. */
struct segment {
    uint32_t epoch;
    char nonce[FOLDER_HEX];
    uint64_t from, to;
};

/* --------------------------------------------------------------------- keys */

struct key {
    char text[OBJSTORE_KEY_MAX];
};

/* A path segment: [A-Za-z0-9_-] and '.' but not in front stay, every other byte is =XX (upper-case hex).
 * INVALID when it is empty, holds '@' or a NUL, or is longer than EXPORT_NAME_MAX encoded. */
MUST_CHECK enum err name_encode(const char *name, char encoded[241]);
/* INVALID when it is not what name_encode makes. */
MUST_CHECK enum err name_decode(const char *encoded, char name[241]);

void key_block(struct key *, const struct object_name *);   /* blocks/{sha256}-{turn:08x} */
void key_map(struct key *, const struct object_name *);     /* maps/... */
void key_gc_list(struct key *, const struct object_name *); /* gc/... */
void key_manifest(struct key *, const char *name);          /* exports/{name}/manifest; name is valid */
void key_export_logs(struct key *, const char *name, const char *id); /* exports/{name}/{id}/ */
void key_log_folder(struct key *, const char *name, const char *id, uint32_t epoch,
                    const char *nonce); /* .../ */
void key_log_slot(struct key *, const char *name, const char *id, uint32_t epoch, const char *nonce,
                  uint64_t slot);
void key_server(struct key *, const char *server_id); /* servers/{id} */
/* Takes apart a key under an export's logs: false unless it is key_log_slot of that name and id. */
bool key_parse_log_slot(const char *key, const char *name, const char *id, uint32_t *epoch,
                        char nonce[FOLDER_HEX], uint64_t *slot);
/* {folder}{sha256}-{turn}: folder is "blocks/", "maps/" or "gc/". */
bool key_parse_object(const char *key, const char *folder, struct object_name *);
/* exports/{name}/ or exports/{name}/manifest. */
bool key_parse_export(const char *key, char name[241]);

#endif
