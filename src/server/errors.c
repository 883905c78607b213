#include "base/bytes.h"
#include "server/private.h"

/* What a client is told: in answer to a request, and to GO. */
static const struct {
    enum nbd_error nbd;
    uint32_t rep;
} told[ERR_COUNT] = {
    [ERR_OK] = {NBD_OK, 0},
    [ERR_NOTFOUND] = {NBD_EIO, NBD_REP_ERR_UNKNOWN},
    [ERR_CONFLICT] = {NBD_EIO, NBD_REP_ERR_POLICY},
    [ERR_UNKNOWN] = {NBD_EIO, NBD_REP_ERR_PLATFORM},
    [ERR_NOSPACE] = {NBD_ENOSPC, NBD_REP_ERR_PLATFORM},
    [ERR_CORRUPT] = {NBD_EIO, NBD_REP_ERR_PLATFORM},
    [ERR_UNAVAILABLE] = {NBD_EIO, NBD_REP_ERR_PLATFORM},
    [ERR_DENIED] = {NBD_EIO, NBD_REP_ERR_PLATFORM},
    [ERR_FENCED] = {NBD_ESHUTDOWN, NBD_REP_ERR_POLICY},
    [ERR_HELD] = {NBD_ESHUTDOWN, NBD_REP_ERR_POLICY},
    [ERR_SHUTDOWN] = {NBD_ESHUTDOWN, NBD_REP_ERR_SHUTDOWN},
    [ERR_CANCELED] = {NBD_ESHUTDOWN, NBD_REP_ERR_SHUTDOWN},
    [ERR_INVALID] = {NBD_EINVAL, NBD_REP_ERR_UNKNOWN},
    [ERR_UNSUPPORTED] = {NBD_EIO, NBD_REP_ERR_PLATFORM},
};

enum nbd_error error_to_nbd(enum err err)
{
    return (unsigned)err < COUNT_OF(told) ? told[err].nbd : NBD_EIO;
}

uint32_t error_to_rep(enum err err)
{
    return (unsigned)err < COUNT_OF(told) && err ? told[err].rep : NBD_REP_ERR_PLATFORM;
}
