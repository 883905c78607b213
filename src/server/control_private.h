/* control_private.h - a connection of the control socket (control.c) and the command it has given
 * (control_job.c). */
#ifndef SERVER_CONTROL_PRIVATE_H
#define SERVER_CONTROL_PRIVATE_H

#include <jansson.h>

#include "server/control.h"
#include "server/private.h"

struct control_job;

struct control_peer {
    struct control *control;
    struct link link;
    int fd;
    struct watch watch;
    struct timer timer; /* silence */
    char line[CONTROL_LINE_MAX];
    size_t received;
    char answer[CONTROL_LINE_MAX];
    size_t answer_bytes, sent;
    struct control_job *job; /* NULL: none is under way */
    bool eof;
};

/* Begins what a request asks for; the answer comes from the loop, as control_answer, unless the peer has
 * gone by then (job->peer NULL). */
struct control_job *control_job_start(struct control_peer *, json_t *request);
void control_job_forget(struct control_job *); /* its peer is gone */

void control_answer(struct control_peer *, json_t *); /* the job is over; lets go of the object */
struct server *control_server(const struct control *);
void control_job_over(struct control *); /* one less is under way */
json_t *control_refusal(enum err, const char *text);

#endif
