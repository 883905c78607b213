/* server.h - serves exports over NBD: listeners, connections, the exports that are open, limits, shutdown.
 *
 * Guarantees
 *   1. LIST and INFO only read. The first GO (or EXPORT_NAME) takes an export, its last connection gives it
 *      back with a clean close; all connections in between share one volume.
 *   2. One client cannot harm another: garbage, silence, payloads that do not come and replies that are not
 *      fetched cost memory within the limits below and close at most the connection they came on.
 *   3. Stopping takes no new work, answers what is under way, and closes every export cleanly before
 *      `stopped`.
 *
 * Memory per connection: under 2 KiB at rest; whatever others do, 16 KiB of an option's data, four requests
 * and 4 KiB of replies that are on their way or not fetched. All connections together: 4 MiB received ahead
 * (NBD_RECEIVE_KEPT), 8,192 requests, SERVER_REQUESTS_MAX of one; 8 MiB of replies of those who have up to
 * 256 KiB; and reply_bytes_max (or one reply) of all others, in turn, SERVER_REPLY_MAX (or one reply) of one.
 * Payloads are admitted by the volume.
 *
 * A refused GO carries a text for the person at the client:
 *
 *      no such export                  NBD_REP_ERR_UNKNOWN     the session goes on
 *      held by another server          NBD_REP_ERR_POLICY      names the holder (qemu shows the text,
 *                                                              libnbd in debug)
 *      the store or the export is bad  NBD_REP_ERR_PLATFORM    says which
 *      stopping                        NBD_REP_ERR_SHUTDOWN
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"
#include "volume/engine.h"
#include "volume/volume.h"

#define SERVER_REQUESTS_MAX 128                 /* under way on one connection */
#define SERVER_REPLY_MAX    (UINT32_C(8) << 20) /* bytes of replies of one connection */

struct server;

struct server_config {
    struct engine *engine;     /* joined */
    const char *const *listen; /* HOST:PORT, [IPv6]:PORT, unix:PATH; port 0: any free one */
    size_t listen_count;
    const int *inherited; /* listening sockets handed over (LISTEN_FDS); the server closes them */
    size_t inherited_count;
    const struct export_params *auto_create; /* checked; NULL: an unknown export is unknown */
    bool read_only;                          /* every export */
    const char *default_export;              /* what the empty name stands for; NULL: nothing */
    const char *control;                     /* where to listen for commands (control.h); NULL: nowhere */
    size_t connections_max;
    uint64_t handshake_ns;    /* what a client may take for its part of the handshake */
    uint64_t payload_idle_ns; /* silence in the middle of a request, or before fetching its last replies */
    size_t reply_bytes_max;
    uint64_t
        stall_ns; /* while others wait for memory: who has sent nothing for so long, or fetched nothing for
                        * twice as long, is closed */
};

/* Everything but engine and listeners: 1,024 connections, 10 s, 60 s, 32 MiB, 5 s. */
void server_config_defaults(struct server_config *);

/* Binds and listens: from now on clients queue up. NULL with a complaint: an address is malformed, taken, or
 * refused by the system. A unix socket left behind by a dead server is replaced. The configuration is copied.
 */
struct server *server_create(struct loop *, const struct server_config *, struct complaint *);
void server_start(struct server *);

/* What it listens on, as addresses clients can use: "127.0.0.1:10809", "[::1]:10809",
 * "unix:/run/ashlar.sock". */
size_t server_address_count(const struct server *);
const char *server_address(const struct server *, size_t);

/* Stops accepting; connections end when what is under way is answered; exports are closed. Waits for the
 * store for as long as that takes. stopped(ctx, true) comes from the loop; then server_destroy. */
void server_stop(struct server *, void (*stopped)(void *ctx, bool clean), void *ctx);
/* After server_stop: waits no longer. stopped(ctx, false) follows unless it was on its way; then nothing may
 * be destroyed any more and the process ends, as in a crash: what was flushed is safe. */
void server_abandon(struct server *);
/* Stopped, or never started. */
void server_destroy(struct server *);

struct server_stats {
    size_t connections, exports_open;
    uint64_t connections_total, connections_refused;
    uint64_t requests, received_bytes, sent_bytes;
    size_t reply_bytes; /* promised or queued now */
};
void server_stats(const struct server *, struct server_stats *);

#endif
