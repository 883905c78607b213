/* err.h - what went wrong, named by what the caller does about it.
 *
 * Errors are values of one closed enum. They are logged once, where they arise, with what is known there;
 * what travels upward is only the value and, for a person at a prompt, one sentence (struct complaint).
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

/* clang-format off */
/*        name         meaning, for logs                        what a caller does */
#define ERR_LIST(X)                                                                                         \
    X(OK,          "done")                               /* goes on */                                      \
    X(NOTFOUND,    "not found")                          /* nothing is stored under that name */            \
    X(CONFLICT,    "condition refused")                  /* somebody else was first: read what is there */  \
    X(UNKNOWN,     "outcome unknown")                    /* it may have been applied: read back, compare */ \
    X(NOSPACE,     "no space left in the store")         /* keep what is dirty, tell the client; later */   \
    X(CORRUPT,     "content does not match its checksum") /* these bytes are lost; go on with the others */ \
    X(UNAVAILABLE, "store unavailable")                  /* may pass: wait or, at start, give up */         \
    X(DENIED,      "access denied by the store")         /* may pass (credentials); at start, give up */    \
    X(FENCED,      "taken over by another server")       /* acknowledge nothing more */                     \
    X(HELD,        "held by another server")             /* come back later, or ask the holder */           \
    X(SHUTDOWN,    "shutting down")                      /* no new work */                                  \
    X(CANCELED,    "canceled")                           /* the caller asked for it */                      \
    X(INVALID,     "invalid")                            /* the input is at fault; say how */               \
    X(UNSUPPORTED, "unsupported")                        /* a format or store this program cannot work with */

enum err {
#define X(name, text) ERR_##name,
    ERR_LIST(X)
#undef X
    ERR_COUNT
};
/* clang-format on */

#define MUST_CHECK         __attribute__((warn_unused_result))
#define PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))

/* Never NULL, also for values out of range. */
const char *err_text(enum err);

/* "NOTFOUND"; likewise. */
const char *err_name(enum err);

/* One sentence for a person: what is wrong and what to do about it. Empty when there is none. */
struct complaint {
    char text[512];
};

/* Formats the sentence, cut to fit; complaint may be NULL. Returns err, so that callers can `return
 * complain(...)`. */
PRINTF(3, 4) enum err complain(struct complaint *, enum err, const char *fmt, ...);

#endif
