/* control.h - commands from this machine on the exports of a live server: a unix socket in a private
 * directory.
 *
 * Who may reach the socket's directory may give commands; it belongs to the server's user, with mode 0700. A
 * request is one line, a JSON object of at most CONTROL_LINE_MAX bytes, its answer another; they follow
 * each other on a connection, one at a time. At most CONTROL_PEERS_MAX connections; one that sends nothing
 * for a while is closed.
 *
 *      {"request": "snapshot", "export": NAME, "snapshot": NAME}
 *      {"request": "remove-snapshot", "export": NAME, "snapshot": NAME}
 *      {"request": "fork", "export": NAME, "snapshot": NAME (may be left out), "child": NAME}
 *      {"request": "resize", "export": NAME, "size": BYTES, "shrink": BOOL (may be left out)}
 *      {"request": "rollback", "export": NAME, "snapshot": NAME, "discard": BOOL (may be left out)}
 *      {"request": "remove", "export": NAME}
 *
 *      {"ok": true, "saved": NAME (rollback, when something was saved)}
 *      {"ok": false, "error": "HELD", "text": "one sentence for a person"}
 *
 * What is possible while clients are connected (snapshots, forks, growing) is done through the open volume;
 * what is not is refused while they are, and done as by the command itself when they have gone.
 */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include <stdbool.h>

#include "base/err.h"

#define CONTROL_LINE_MAX  4096u
#define CONTROL_PEERS_MAX 16u

struct control;
struct server;

/* Binds and listens. DENIED with a complaint: the system refuses the path. */
MUST_CHECK enum err control_open(struct server *, const char *path, struct control **, struct complaint *);
void control_start(struct control *);
/* Takes no new requests; those under way go on to their end. */
void control_stop(struct control *);
/* Nothing is under way any more: server_destroy may follow. */
bool control_idle(const struct control *);
void control_destroy(struct control *); /* stopped and idle, or never started; NULL is fine */

#endif
