/* flight.h - the inside of fetch: what is on its way from the store. For fetch.c and flight.c only.
 *
 * A flight is one piece, page or record that somebody waits for. Pieces that lie side by side in an object
 * and wait at the same time travel together: one GET, led by the first of them, brings the span, of at most
 * SPAN_BYTES_MAX; each is then checked and cached for itself.
 */
#ifndef VOLUME_FLIGHT_H
#define VOLUME_FLIGHT_H

#include "volume/map/fetch.h"

#define SPAN_BYTES_MAX (1 * MIB)

enum flight_kind { FLIGHT_PIECE, FLIGHT_PAGE, FLIGHT_RECORD };

/* What somebody waits for, and what makes two of them the same. */
struct want {
    enum flight_kind kind;
    struct sha256 id; /* its name in the cache: a piece's or page's own hash */
    struct key key;
    struct object_name object; /* a piece's or page's */
    uint32_t offset, bytes;    /* of the object; a record is wanted whole, of at most so many bytes */
    unsigned level;            /* a page's */
    uint32_t block_size;
};

struct flight {
    struct link link;    /* in its bucket, while others may join */
    struct link waiting; /* for room */
    struct engine *engine;
    struct want want;
    enum { FLIGHT_WAITS, FLIGHT_GETS, FLIGHT_CHECKS } state;
    enum objstore_priority priority;
    uint32_t age;        /* engine->turns.age when it was asked for */
    bool abandoned;      /* the last one who waits has canceled */
    bool alone;          /* in no span: one that held it was not as long as it should be */
    struct list waiters; /* struct fetch */
    struct flight *lead; /* GETS: the first of its span, whose request it is */
    struct flight *next; /* of its span */
    uint32_t span_bytes; /* the lead's */
    struct objstore_req req;
    struct job job;
    struct buf *content;
    struct sha256 found;
    enum err got, err; /* what the store said; what the check said */
};

/* Sends what waits as far as there is room: demand first, but every so often what has waited in the
 * background. */
void flights_serve(struct engine *);
/* Nobody waits for it any more (it is out of its bucket). What is under way for others goes on. */
void flight_abandon(struct flight *);

#endif
