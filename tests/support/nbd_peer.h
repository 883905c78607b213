/* nbd_peer.h - a struct nbd with an imagined disk behind it, driven by bytes: for unit tests and fuzzing.
 *
 * Exports: "demo" and "" (1 MiB), "ro" (read-only), "held" (POLICY), "huge" (2^63 - 1 bytes), "later"
 * (answered by peer_answer); others are unknown. The disk: 4 KiB blocks; every third is data, then a hole,
 * then allocated zeros; byte i of data is peer_byte(i). Writes are kept in `written`.
 */
#ifndef TESTS_NBD_PEER_H
#define TESTS_NBD_PEER_H

#include "nbd/nbd.h"

#define PEER_SIZE     (UINT64_C(1) << 20)
#define PEER_BLOCK    4096u
#define PEER_REQUESTS 64

struct peer_request {
    struct nbd_request nbd; /* first: found by a cast */
    bool used, submitted;
};

struct peer {
    struct nbd nbd; /* first */
    struct nbd_pool pool;
    struct peer_request requests[PEER_REQUESTS];
    bool hold;        /* submitted requests wait for peer_release */
    bool admit_later; /* WRITEs wait for peer_admit */
    size_t requests_max;
    struct nbd_request *waiting; /* for peer_admit */
    uint8_t *payload;            /* of the WRITE being received */
    uint8_t *out;                /* all that was sent */
    size_t out_bytes, out_room;
    uint8_t *written; /* the last WRITE's payload */
    uint32_t written_bytes;
    uint64_t submitted, dropped;
    char asked[32];    /* kinds of submitted requests, in order: the command's number as a digit */
    size_t send_limit; /* how many bytes the client fetches from now on; SIZE_MAX: all */
};

uint8_t peer_byte(uint64_t at);
void peer_init(struct peer *);
void peer_finish(struct peer *);
/* Offers the bytes in slices of so many; stops when they are not wanted. Returns how many were taken. */
size_t peer_feed(struct peer *, const void *bytes, size_t n, size_t slice);
void peer_send(struct peer *); /* moves output to `out` */
void peer_release(struct peer *, enum nbd_error);
void peer_admit(struct peer *, enum nbd_error);
void peer_answer(struct peer *); /* what was asked about "later" */
size_t peer_under_way(const struct peer *);

#endif
