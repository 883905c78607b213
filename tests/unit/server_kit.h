/* server_kit.h - a server on exports in memory, and clients of it that are written out byte by byte.
 *
 * setup and teardown are cmocka's; a test sets `config`, calls start and talks over sockets. One test at a
 * time.
 */
#ifndef TESTS_SERVER_KIT_H
#define TESTS_SERVER_KIT_H

#include "base/bytes.h"
#include "loop/uv_loop.h"
#include "nbd/proto.h"
#include "ram_volume.h"
#include "server/server.h"
#include "unit.h"

#define BUFFER MIB /* of the engine, for payloads */

extern struct loop *loop;
extern struct engine *engine;
extern struct server *server;
extern struct server_config config;
extern char path[64], where[80]; /* of its socket; as server_config wants it */
extern bool stopped, clean;

int setup(void **state);
int teardown(void **state);
void start(void);
void stop(void);                      /* cleanly, and leaves nothing behind */
void is_stopped(void *ctx, bool how); /* for server_stop: sets stopped and clean */

/* Runs the loop until it is so, for 20 s at most. */
void run_until(bool (*so)(void));
bool after_a_while(void);
bool over(void);
bool no_connection(void);
bool export_opened(void);

/* The client's side. What was heard last is in `heard`. */
extern uint8_t heard[64 << 10];
int dial(void);
void tell(int fd, const void *bytes, size_t n);
/* From now on `fd` is heard; waits for exactly so many bytes. */
void listen_to(int fd, size_t bytes);
void tell_option(int fd, uint32_t option, const char *data);
int attach(const char *name); /* by EXPORT_NAME, simple replies */
void request(int fd, uint16_t cmd, uint64_t cookie, uint64_t offset, uint32_t length);
/* In one go, with cookies from 0 on. */
void requests(int fd, size_t count, uint16_t cmd, uint32_t length);
void replied(int fd, uint64_t cookie, uint32_t error);
void gone(int fd); /* waits until the server has closed it */

#endif
