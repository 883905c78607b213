/* serve.h - the parts of `ashlar serve` around the server itself. */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include "cli/option.h"
#include "cli/runtime.h"
#include "server/server.h"

#define SERVE_INHERITED_MAX 32
#define SERVE_ANY           "NAME" /* stands for any export in the lines that attach one */

struct serve_options {
    struct option_list listen;
    uint64_t auto_create;
    uint64_t cache_size, write_buffer, inline_buffer, flush_interval, lease_ttl, gc_interval;
    bool read_only;
    const char *default_export;
    const char *pid_file;
    uint64_t ready_fd; /* 0: none */
};

/* Listening sockets handed over by a service manager (sd_listen_fds(3): LISTEN_FDS, LISTEN_PID); the
 * variables are taken out of the environment. INVALID with a complaint. */
MUST_CHECK enum err serve_inherited(int fds[SERVE_INHERITED_MAX], size_t *count, struct complaint *);

/* Makes a directory of its own for the control socket, in XDG_RUNTIME_DIR or /tmp, and removes what servers
 * that were killed have left there. False, said: there is none, and path is "". */
#define SERVE_CONTROL_MAX CONTROL_PATH_MAX
bool serve_control_path(char path[SERVE_CONTROL_MAX]);
void serve_control_remove(char path[SERVE_CONTROL_MAX]); /* harmless for "" */

/* The NBD URI (NetworkBlockDevice/nbd, doc/uri.md) of an export at an address of server.h; freed with
 * mem_free. */
char *serve_uri(const char *address, const char *export_name);
/* On standard output: where the server is and the lines that attach an export there with common clients. */
void serve_print_lines(const struct server *, const char *export_name);
/* One URI a line (of the empty export name), then end of file. False: errno says why. */
bool serve_tell_ready(int fd, const struct server *);

/* The process id, in a file that is replaced as a whole. False: errno says why. */
bool serve_write_pid(const char *file);

#endif
