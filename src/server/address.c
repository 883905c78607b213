#include "server/address.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/bytes.h"

static enum err parse_unix(const char *path, struct address *out, struct complaint *c)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof un.sun_path)
        return complain(c, ERR_INVALID, "unix:%s: the path of a socket has 1 to %zu bytes", path,
                        sizeof un.sun_path - 1);
    strncpy(un.sun_path, path, sizeof un.sun_path - 1);
    memset(out, 0, sizeof *out);
    memcpy(&out->socket, &un, sizeof un);
    out->bytes = sizeof un;
    return ERR_OK;
}

/* Splits HOST:PORT; an IPv6 address stands in brackets. */
static bool split(const char *text, char *host, size_t host_room, const char **port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1])
        return false;
    size_t bytes = (size_t)(colon - text);
    if (*text == '[') {
        if (bytes < 3 || text[bytes - 1] != ']')
            return false;
        text++;
        bytes -= 2;
    } else if (memchr(text, ':', bytes)) {
        return false;
    }
    if (bytes >= host_room)
        return false;
    memcpy(host, text, bytes);
    host[bytes] = '\0';
    *port = colon + 1;
    return true;
}

static bool port_is_valid(const char *port)
{
    unsigned value = 0;
    for (; *port; port++) {
        if (*port < '0' || *port > '9' || value > 65535)
            return false;
        value = value * 10 + (unsigned)(*port - '0');
    }
    return value <= 65535;
}

enum err address_parse(const char *text, struct address out[ADDRESSES_MAX], size_t *count,
                       struct complaint *c)
{
    char host[256];
    const char *port = NULL;
    if (strncmp(text, "unix:", 5) == 0) {
        enum err err = parse_unix(text + 5, &out[0], c);
        if (!err)
            *count = 1;
        return err;
    }
    if (!split(text, host, sizeof host, &port) || !port_is_valid(port))
        return complain(c, ERR_INVALID, "\"%s\" is no address: use HOST:PORT, [IPv6]:PORT or unix:PATH",
                        text);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    int r = getaddrinfo(*host ? host : NULL, port, &hints, &found);
    if (r)
        return complain(c, ERR_INVALID, "\"%s\": %s", text, gai_strerror(r));
    size_t n = 0;
    for (struct addrinfo *i = found; i && n < ADDRESSES_MAX; i = i->ai_next, n++) {
        memset(&out[n], 0, sizeof out[n]);
        memcpy(&out[n].socket, i->ai_addr, i->ai_addrlen);
        out[n].bytes = i->ai_addrlen;
    }
    freeaddrinfo(found);
    *count = n;
    return ERR_OK;
}

const char *address_unix_path(const struct address *a)
{
    return a->socket.ss_family == AF_UNIX ? ((const struct sockaddr_un *)(const void *)&a->socket)->sun_path
                                          : NULL;
}

void address_format(const struct address *a, char out[ADDRESS_TEXT_MAX])
{
    char host[64] = "?", port[8] = "?";
    const char *path = address_unix_path(a);
    if (path) {
        snprintf(out, ADDRESS_TEXT_MAX, "unix:%s", path);
        return;
    }
    getnameinfo((const struct sockaddr *)&a->socket, a->bytes, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, ADDRESS_TEXT_MAX, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}
