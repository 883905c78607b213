/* private.h - what the files of src/nbd share. */
#ifndef NBD_PRIVATE_H
#define NBD_PRIVATE_H

#include "nbd/nbd.h"

/* The steps: each consumes from the stream what it can. False: it needs more bytes, or something stands in
 * the way. */
bool handshake_step(struct nbd *);
bool transmission_step(struct nbd *);

/* Options, with all their data at hand. */
void option_meta_context(struct nbd *, const uint8_t *data, uint32_t bytes);
void meta_context_found(struct nbd *, const struct nbd_export *);
void contexts_forget(struct nbd *); /* none is in force any more */
void queries_forget(struct nbd *);
/* Reads a string's length and the string from data; NULL with a text when it is not there or not allowed. */
char *option_string(const uint8_t **data, const uint8_t *end, const char **fault);
void option_reply(struct nbd *, uint32_t rep, const void *data, size_t bytes);
void option_error(struct nbd *, uint32_t rep, const char *text);
/* An option has been answered: on to the next. */
void option_done(struct nbd *);
/* Asks the caller about n->name; the state is NBD_OPTION_ASKED until it answers. */
void option_ask(struct nbd *, void (*ask)(struct nbd *, const char *name));

/* No more input. */
PRINTF(2, 3) void nbd_break(struct nbd *, const char *fmt, ...);
void nbd_stop(struct nbd *);
void handshake_forget(struct nbd *);

/* ------------------------------------------------------------------- input */

static inline uint32_t input_bytes(const struct nbd *n)
{
    return n->end_at - n->start;
}

/* The next bytes: at least `bytes` of them are there, or NULL. */
static inline const uint8_t *input_peek(const struct nbd *n, uint32_t bytes)
{
    if (input_bytes(n) < bytes)
        return NULL;
    return (n->receive ? n->receive : n->stash) + n->start;
}

static inline void input_consume(struct nbd *n, uint32_t bytes)
{
    n->start += bytes;
}

/* Throws away up to n->left bytes; true when all are gone. */
bool input_drain(struct nbd *);

#endif
