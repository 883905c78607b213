/* client.h - a client of one export on one server: its requests, each checked against the model when
 * answered. */
#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include "model.h"

struct process;

enum client_state {
    CLIENT_OPENING,
    CLIENT_READING, /* open; the whole export is being read, to verify it */
    CLIENT_OPEN,
    CLIENT_CLOSING,
    CLIENT_ENDED, /* closed, refused or dead; the volume is gone */
};

struct client {
    struct link link; /* in process->clients */
    struct process *process;
    struct model_export *export;
    struct session *session;
    struct volume *volume;
    struct volume_open open;
    struct volume_close close;
    enum client_state state;
    enum err err; /* of the open, then of the close */
    bool died;    /* its server did */
    bool lost;    /* the volume said so */
    bool abandoned;
    uint64_t open_number;
    bool rivals;
    struct list ops;
    size_t in_flight;
    struct survey *survey; /* while READING */
    struct copying *copying;
};

enum op_stage { OP_ADMISSION, OP_SUBMITTED, OP_DONE, OP_GONE /* its server died */ };

struct client_op {
    struct volume_req req;
    struct link link;
    struct client *client;
    enum op_stage stage;
    enum err err;
    bool kept; /* the caller frees it with op_free; else it is freed when done */
    bool in_model;
    bool after_loss; /* submitted when the volume was lost already */
    size_t model_at;
    size_t change, covers;
    uint8_t *data;                    /* WRITE, until the model has it */
    uint8_t *expected, *allocated;    /* READ, STATUS: the model when it was submitted */
    void (*done)(struct client_op *); /* may be NULL; segments are still there */
    void *ctx;
};

/* A request; `data` (WRITE: malloc, taken over; NULL: a fresh stamp). Returns it when it is to be kept, else
 * NULL. Where a whole range is not on one island, it must be in none (READ, STATUS) or is a TRIM or ZERO. */
struct client_op *client_submit(struct client *, enum volume_verb, unsigned flags, uint64_t offset,
                                uint64_t bytes, uint8_t *data, bool keep);
/* The same, not kept, and `done` is told. */
void client_submit_then(struct client *, enum volume_verb, uint64_t offset, uint64_t bytes,
                        void (*done)(struct client_op *), void *ctx);
void op_free(struct client_op *);
/* The server died: forgets what was under way. */
void client_forget_ops(struct client *);
/* READ that only memory answers: false when it does not. */
bool client_read_now(struct client *, uint64_t offset, uint64_t bytes);

/* What a READ answered, copied together; zeros for kinds that are zeros. */
void read_copy(const struct volume_req *, uint8_t *to);

#endif
