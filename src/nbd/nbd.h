/* nbd.h - the NBD protocol, server side: bytes in, requests out, replies. No sockets, no storage, no clock.
 *
 * Specification: NetworkBlockDevice/nbd doc/proto.md, fixed newstyle, without STARTTLS and EXTENDED_HEADERS
 * (both answer NBD_REP_ERR_UNSUP). One struct nbd per connection; one thread.
 *
 *      bytes --> nbd_room, nbd_received --> struct nbd_ops (what the client wants)
 *      bytes <-- nbd_output, nbd_sent   <-- nbd_found, nbd_reply, nbd_read_...  (what it is told)
 *
 * Guarantees
 *   1. Whatever the client sends, memory is bounded: a receive buffer of NBD_RECEIVE_BYTES that is there
 *      only while it holds something, for at most NBD_RECEIVE_KEPT connections of a pool (all others receive
 *      no more than they can use at once, and keep an option's data at most), NBD_OUTPUT_HIGH bytes of
 *      replies beyond the one that reached it, what `take` and `admit` allowed, and the buffers that replies
 *      refer to (nbd_output_held). A length that was merely stated is never allocated.
 *   2. A request handed to `submit` is valid: known command and flags, inside the export, a change only
 *      where changes are allowed, at most NBD_PAYLOAD_MAX of payload either way. All others are answered
 *      here.
 *   3. Every request gets exactly one reply, after its payload was taken in whole.
 *   4. Malformed input ends the connection (nbd_end: NBD_BROKEN) with a reason for the log.
 *   5. Requests are taken from the stream in order; replies leave in the order in which they were given.
 *
 * The struct is the caller's, its fields are private to src/nbd.
 */
#ifndef NBD_NBD_H
#define NBD_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/err.h"
#include "nbd/output.h"
#include "nbd/proto.h"

#define NBD_RECEIVE_BYTES (UINT32_C(64) << 10)
#define NBD_RECEIVE_KEPT  64 /* so many connections that wait may keep what they received ahead */
#define NBD_OUTPUT_HIGH                                                                                      \
    (UINT32_C(1) << 20) /* no request is taken from the stream while so much waits to be sent */

struct nbd;

/* A command under way. Embedded in what the caller needs to carry it out. */
struct nbd_request {
    uint64_t cookie, offset;
    uint32_t length;
    uint16_t flags; /* NBD_CMD_FLAG_... */
    uint16_t cmd;   /* enum nbd_cmd, never DISC */
};

/* What a client is told about an export. Strings are copied. */
struct nbd_export {
    const char *name;        /* the canonical one */
    const char *description; /* NULL: none */
    uint64_t size;
    uint32_t block_size; /* preferred */
    bool read_only;
    const char *const *snapshots; /* what it can be compared with, by metadata contexts */
    size_t snapshot_count;
};

/* What the protocol asks for. Any of these may be called from nbd_received and nbd_resume, and from nowhere
 * else
 * (`drop`: from nbd_finish too). The functions marked (answers) may be called from inside. */
struct nbd_ops {
    /* Handshake, one at a time; each is answered once, at once or later, by nbd_list_end, nbd_found or
     * nbd_refused. After a later answer, call nbd_resume. `name` is as the client sent it, without NUL; it
     * stays until answered. list: nbd_list_entry for each, then nbd_list_end. look: what would `open` say?
     * Takes nothing. open: takes the export: the connection belongs to it from nbd_found on. */
    void (*list)(struct nbd *);
    void (*look)(struct nbd *, const char *name);
    void (*open)(struct nbd *, const char *name);

    /* A struct for one more request. NULL: too much under way; nothing is taken from the stream until
     * nbd_resume. */
    struct nbd_request *(*take)(struct nbd *, enum nbd_cmd, uint32_t length);
    /* A WRITE of more than 0 bytes wants memory for its payload. True: it is there. False: nbd_admitted
     * follows; until then nothing more is taken from the stream. */
    bool (*admit)(struct nbd *, struct nbd_request *);
    /* Part `index` of that memory, from 0 on; in all they are `length` bytes. */
    struct iovec (*payload)(struct nbd *, struct nbd_request *, size_t index);
    /* Carry it out. Answered once by nbd_reply, nbd_read_... or nbd_status_..., at once or later. */
    void (*submit)(struct nbd *, struct nbd_request *);
    /* A request that was taken and will not be submitted: the connection ended before its payload had come.
     */
    void (*drop)(struct nbd *, struct nbd_request *);
};

enum nbd_end {
    NBD_ALIVE,
    NBD_ENDING, /* takes no more input; close when nbd_idle and nothing is left to send */
    NBD_BROKEN, /* close now */
};

/* ------------------------------------------------------------------- life */

/* Spare memory that the connections of one thread share. Zeroed at first. */
struct nbd_pool {
    uint8_t *receive;
    unsigned kept;
};
void nbd_pool_finish(struct nbd_pool *);

/* Queues the greeting. */
void nbd_init(struct nbd *, const struct nbd_ops *, struct nbd_pool *);
/* Drops what was not sent and calls `drop` for a request whose payload is incomplete. Requests that were
 * submitted are the caller's; they must not be answered any more. */
void nbd_finish(struct nbd *);

/* From now on every request is answered ESHUTDOWN, an option that opens an export ERR_SHUTDOWN; the
 * connection ends as soon as what is under way is answered. A payload that is incomplete is dropped. */
void nbd_shutdown(struct nbd *);

/* The client will send nothing more: what is under way is answered, then the connection ends. True when it
 * ended where it may: after DISC or ABORT, or between requests; false in the middle of something. */
bool nbd_eof(struct nbd *);

enum nbd_end nbd_end(const struct nbd *);
const char *nbd_reason(const struct nbd *); /* NBD_BROKEN: why, in one line; may hold what the client sent */
bool nbd_idle(const struct nbd *);          /* nothing taken is unanswered */

/* For timeouts: what the client owes. */
enum nbd_wait {
    NBD_WAIT_HANDSHAKE, /* the rest of an option, or the next one */
    NBD_WAIT_REQUEST,   /* nothing: it may be silent for as long as it likes */
    NBD_WAIT_PAYLOAD,   /* the rest of a request that has begun */
    NBD_WAIT_US,        /* it is our turn */
};
enum nbd_wait nbd_waits_for(const struct nbd *);
/* Of a WRITE that waits for admission: the bytes of its payload that nbd_received has not seen. */
uint32_t nbd_payload_missing(const struct nbd *);

/* --------------------------------------------------------------- bytes in */

#define NBD_ROOM_IOVECS 64
/* Where the next bytes from the client go. Returns the number of iovecs, at most NBD_ROOM_IOVECS; 0: read
 * nothing now. Call nbd_received after it, also with 0 bytes, before anything else. */
size_t nbd_room(struct nbd *, struct iovec *);
void nbd_received(struct nbd *, size_t bytes);
/* Goes on with bytes received before, where something stood in the way that may be gone: output was sent, a
 * request struct is free, an answer was given. True when it made progress (there may be output). */
bool nbd_resume(struct nbd *);
/* nbd_room would give room. */
bool nbd_wants_input(const struct nbd *);

/* -------------------------------------------------------------- bytes out */

static inline size_t nbd_output_bytes(const struct nbd *);
/* Bytes of other people's buffers that what is to be sent refers to, each counted as often as it is referred
 * to; and how to make that at most twice of what is sent, where the client does not fetch it. */
static inline size_t nbd_output_held(const struct nbd *);
void nbd_output_compact(struct nbd *);
/* Fills in at most max iovecs with what is to be sent; they are valid until nbd_sent. Returns how many. */
size_t nbd_output(struct nbd *, struct iovec *, size_t max);
void nbd_sent(struct nbd *, size_t bytes);

/* ------------------------------------------------- answers in the handshake */

void nbd_list_entry(struct nbd *, const char *name, const char *description); /* description may be NULL */
void nbd_list_end(struct nbd *);
void nbd_found(struct nbd *, const struct nbd_export *);
/* rep: NBD_REP_ERR_...; text: for a person, NULL or empty for none. After EXPORT_NAME the connection is
 * broken. */
void nbd_refused(struct nbd *, uint32_t rep, const char *text);

/* ------------------------------------------------------ answers to requests */

/* After admit returned false. An error other than NBD_OK drops the request now (`drop` is not called) and is
 * answered when the payload has been drained. Then call nbd_resume. */
void nbd_admitted(struct nbd *, struct nbd_request *, enum nbd_error);

/* Any error, and success of everything but READ and BLOCK_STATUS. */
void nbd_reply(struct nbd *, const struct nbd_request *, enum nbd_error);

/* READ: begin, then adjacent parts covering the range, then end; nothing else in between. A data part holds a
 * reference to its buffer until it is sent. */
void nbd_read_begin(struct nbd *, const struct nbd_request *);
void nbd_read_data(struct nbd *, struct buf *, size_t skip, size_t bytes);
void nbd_read_hole(struct nbd *, uint64_t bytes);
void nbd_read_end(struct nbd *);

/* Metadata contexts. In `open`: those that will be in force for the export that is asked for; later: those
 * that are. What the flags of an extent say: */
enum nbd_context_kind {
    NBD_CONTEXT_ALLOCATION, /* base:allocation: NBD_STATE_HOLE, NBD_STATE_ZERO */
    NBD_CONTEXT_BREAKS,     /* ashlar:breaks: their number, the same everywhere */
    NBD_CONTEXT_DEPTH,      /* qemu:allocation-depth: 0 a hole, 1 the export's own, 2 its last snapshot's */
    NBD_CONTEXT_CHANGED_SINCE, /* ashlar:changed-since:SNAPSHOT: NBD_STATE_DIRTY, not as in the snapshot */
    NBD_CONTEXT_DIRTY_BITMAP,  /* qemu:dirty-bitmap:SNAPSHOT: the same, by the name that qemu's users know */
};

#define NBD_CONTEXTS_MAX 16 /* of a connection; what else it asks for is passed over */

struct nbd_context {
    enum nbd_context_kind kind;
    uint32_t id;
    char *snapshot; /* CHANGED_SINCE, DIRTY_BITMAP */
};

size_t nbd_context_count(const struct nbd *);
const struct nbd_context *nbd_context(const struct nbd *, size_t i);

/* BLOCK_STATUS: begin; for each context, in order, nbd_status_context and adjacent extents from the offset
 * on, at least one; then end. Neighbours with equal flags are merged; what is past NBD_STATUS_MAX, past the
 * first with REQ_ONE, and past the range's end is left out. */
void nbd_status_begin(struct nbd *, const struct nbd_request *);
void nbd_status_context(struct nbd *, size_t i);
void nbd_status_extent(struct nbd *, uint64_t bytes, uint32_t flags);
void nbd_status_end(struct nbd *);

/* ------------------------------------------------------------------ private */

enum nbd_state {
    NBD_CLIENT_FLAGS,  /* 4 bytes that answer the greeting */
    NBD_OPTION_HEAD,   /* the header of an option */
    NBD_OPTION_DATA,   /* its data, gathered in the receive buffer */
    NBD_OPTION_DRAIN,  /* its data, thrown away before it is refused */
    NBD_OPTION_ASKED,  /* list, look or open is under way */
    NBD_REQUEST,       /* the header of a request */
    NBD_ADMISSION,     /* a WRITE waits for memory */
    NBD_PAYLOAD,       /* its payload, on its way into that memory */
    NBD_PAYLOAD_DRAIN, /* its payload, thrown away before its error is answered */
    NBD_STOPPED,       /* no more input */
};

struct nbd {
    const struct nbd_ops *ops;
    struct nbd_pool *pool;
    enum nbd_state state;
    enum nbd_end end;
    bool shutting_down, no_zeroes, structured, read_only;

    /* input: what is received and not consumed is receive[start .. end_at), or stash when it is short */
    uint8_t *receive;
    uint32_t start, end_at;
    bool whole,
        kept; /* receive has NBD_RECEIVE_BYTES (else just what it holds); the pool counts it as kept */
    uint8_t stash[NBD_REQUEST_BYTES];

    /* the option or request being taken in */
    uint32_t option, options, left; /* left: bytes of data or payload still to come */
    uint32_t drain_rep;
    enum nbd_error drain_error;
    struct nbd_request head;     /* as on the wire */
    struct nbd_request *writing; /* whose payload is coming */
    size_t part, part_done;
    char *name, *context_name; /* of the option being answered; of the last SET_META_CONTEXT */
    char **queries;            /* of the option being answered */
    size_t query_count;
    struct nbd_context contexts[NBD_CONTEXTS_MAX];
    size_t context_count;
    uint16_t infos; /* NBD_INFO_... asked for, as bits */

    uint64_t size;
    uint32_t under_way;
    struct nbd_output output;

    /* the READ or BLOCK_STATUS being answered */
    const struct nbd_request *answering;
    uint8_t *chunk; /* its open chunk */
    uint32_t chunk_type;
    uint64_t chunk_bytes, answered_bytes;
    struct buf *status; /* the descriptors of a context */
    uint32_t status_count, status_id;

    char reason[200];
};

static inline size_t nbd_output_bytes(const struct nbd *n)
{
    return n->output.bytes;
}

static inline size_t nbd_output_held(const struct nbd *n)
{
    return n->output.held;
}

#endif
