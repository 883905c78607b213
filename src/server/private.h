/* private.h - what the files of src/server share. One thread, one engine.
 *
 *      listener --fd--> connection --name--> exports --> volume
 *                           |
 *                          nbd (the protocol)
 */
#ifndef SERVER_PRIVATE_H
#define SERVER_PRIVATE_H

#include "base/list.h"
#include "nbd/nbd.h"
#include "server/bases.h"
#include "server/control.h"
#include "server/exports.h"
#include "server/server.h"
#include "volume/exports.h"

/* ---------------------------------------------------------------- listeners */

struct listener {
    struct server *server;
    struct watch watch;
    struct timer pause; /* after accept failed for want of descriptors or memory */
    int fd;
    char *address;
    char *unix_path; /* ours: removed at the end */
    uint64_t unix_inode;
};

/* Adds to the server's listeners; INVALID or DENIED or HELD with a complaint. */
enum err listener_open(struct server *, const char *where, struct complaint *);
enum err listener_inherit(struct server *, int fd, struct complaint *);
void listeners_start(struct server *);
void listeners_close(struct server *);

/* ----------------------------------------------------------------- requests */

struct connection;

struct request {
    struct volume_req volume;
    struct nbd_request nbd;
    struct connection *connection;
    struct status *status; /* BLOCK_STATUS */
    struct link link;      /* in the pool */
    uint32_t reply_bytes;  /* promised */
};

/* Structs are kept for reuse, at most REQUESTS_KEPT of them. */
#define REQUESTS_KEPT 1024
struct request *request_get(struct server *);
void request_put(struct server *, struct request *);

/* The three ways a volume's request goes (requests.c). */
void request_translate(struct request *);
void request_answer(struct request *); /* tells the client */

/* BLOCK_STATUS (status.c): done from the loop, with the error in request->volume. */
void block_status_submit(struct request *, void (*done)(struct request *));
void block_status_answer(struct request *);
void block_status_finish(struct request *); /* frees; harmless on any other request */

/* -------------------------------------------------------------- connections */

/* Of one that holds what others wait for. */
struct stall {
    unsigned looks;
    uint64_t bytes; /* when it was first looked at */
};

struct connection {
    struct server *server;
    struct link link;
    int fd; /* -1: closed */
    struct watch watch;
    unsigned watched;
    struct timer timer;
    struct task flush;
    struct nbd nbd;
    struct export_user user;
    struct base_user bases[NBD_CONTEXTS_MAX]; /* what its metadata contexts compare with */
    size_t base_count, contexts_done;         /* so many of its contexts have what they need */
    unsigned base_of[NBD_CONTEXTS_MAX];       /* by context: which of them, counted from 1; 0: none */
    struct export_op op;                      /* LIST, INFO */
    bool asking;                              /* op is under way */
    bool joined, eof, hung_up, linger, lingering;
    size_t under_way;       /* at the volume */
    size_t promised;        /* bytes of replies to READ and BLOCK_STATUS not yet given */
    size_t charged;         /* to the server's reply_bytes */
    size_t held;            /* likewise, by what is to be sent */
    struct link reply_link; /* waits for others' replies to be fetched */
    uint32_t waits_for_bytes;
    bool its_turn;
    bool awaits_admission;
    struct stall reply_stall, payload_stall;
    uint64_t timer_since_ns, handshake_left_ns, last_byte_ns;
    enum nbd_wait timer_for;
    uint64_t requests, received_bytes, sent_bytes;
    char peer[80];
    char export[VOLUME_NAME_MAX + 1];
};

void connection_open(struct server *, int fd);
/* Sends what there is to send, goes on with what was received, closes when it is over. c may be gone after
 * it. */
void connection_pump(struct connection *);
/* The same, once, from the loop: answers that come one by one leave together. */
void connection_pump_later(struct connection *);
void connection_shutdown(struct connection *);
/* Closes the socket now. What is under way completes and is dropped; then the struct is freed. */
void connection_close(struct connection *, const char *why);
void connection_release(struct connection *); /* frees a closed one once nothing refers to it */

extern const struct nbd_ops connection_ops;       /* asks.c */
void connection_leave_bases(struct connection *); /* asks.c */
/* False: the client must first fetch its replies, or wait for others'. */
bool connection_may_take(struct connection *, uint32_t reply_bytes);
void connection_account(struct connection *);
void connection_stop_waiting(struct connection *);
void server_replies_fit(struct task *);
void connection_awaits_admission(struct connection *, bool);
void server_look(struct timer *);

/* ------------------------------------------------------------------- errors */

enum nbd_error error_to_nbd(enum err);
uint32_t error_to_rep(enum err);

/* ------------------------------------------------------------------- server */

struct server {
    struct loop *loop;
    struct server_config config; /* strings are ours; listen and inherited are not kept */
    char *default_export;        /* the one in config */
    struct export_params auto_create;
    struct listener **listeners;
    size_t listener_count;
    struct exports exports;
    struct bases bases;
    struct control *control; /* NULL: none */
    struct list connections;
    struct list spare_requests;
    size_t spare_request_count;
    struct nbd_pool nbd_pool;
    size_t connection_count, under_way, reply_bytes, large_bytes, held_bytes;
    struct list reply_waiters; /* connections, in order */
    struct task reply_task;
    size_t awaiting_admission;
    struct timer look_timer;
    bool started, stopping;
    void (*stopped)(void *, bool);
    void *stopped_ctx;
    struct task stopped_task;
    bool clean;
    struct server_stats stats;
};

/* A connection or an export is gone: perhaps all is over. */
void server_check_stopped(struct server *);
void server_stopped_task(struct task *);

#endif
