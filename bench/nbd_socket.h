/* nbd_socket.h - what the load generator and the bare loop share: the transport, and NBD's two handshakes in
 * their shortest form (NBD specification: fixed newstyle negotiation, NBD_OPT_GO). Errors end the process. */
#ifndef BENCH_NBD_SOCKET_H
#define BENCH_NBD_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `address` is unix:PATH or HOST:PORT (an IPv4 address). */
int nbd_dial(const char *address);
int nbd_listen(const char *address);

/* The client's half, up to the transmission phase with simple replies. Returns the export's size. */
uint64_t nbd_go(int fd, const char *name);
/* The server's half: any export has `bytes`. False: the client went away without entering transmission. */
bool nbd_serve_handshake(int fd, uint64_t bytes);

bool full_send(int fd, const void *from, size_t n); /* false when the other side has gone */
bool full_recv(int fd, void *to, size_t n);

_Noreturn void fail(const char *what); /* prints it with errno; exit status 1 */

#endif
