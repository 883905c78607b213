/* address.h - HOST:PORT, [IPv6]:PORT and unix:PATH, to socket addresses and back. */
#ifndef SERVER_ADDRESS_H
#define SERVER_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "base/err.h"

struct address {
    struct sockaddr_storage socket;
    socklen_t bytes;
};

#define ADDRESS_TEXT_MAX 128
#define ADDRESSES_MAX    16

/* What the text stands for: a host name may have several. INVALID with a complaint when there is none. */
enum err address_parse(const char *text, struct address out[ADDRESSES_MAX], size_t *count,
                       struct complaint *);
void address_format(const struct address *, char out[ADDRESS_TEXT_MAX]);
/* The path of a unix socket; NULL for others. */
const char *address_unix_path(const struct address *);

#endif
