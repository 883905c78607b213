/* One command given over the control socket.
 *
 *   an export that is open, or being opened: the job is one of its users while it changes the volume
 *   one that is being closed: the job waits for that
 *   one that is not open here: as the command itself would do it
 */
#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/control_private.h"

enum verb { SNAPSHOT, REMOVE_SNAPSHOT, FORK, RESIZE, ROLLBACK, REMOVE, VERBS };

static const struct {
    const char *name;
    void (*at_rest)(struct export_op *);
    bool needs_snapshot, live;
    enum volume_change_verb change; /* live */
} verbs[VERBS] = {
    [SNAPSHOT] = {"snapshot", export_snapshot, true, true, VOLUME_SNAPSHOT},
    [REMOVE_SNAPSHOT] = {"remove-snapshot", export_remove_snapshot, true, true, VOLUME_REMOVE_SNAPSHOT},
    [FORK] = {"fork", export_fork, false, true, VOLUME_CHECKPOINT},
    [RESIZE] = {"resize", export_resize, false, true, VOLUME_RESIZE},
    [ROLLBACK] = {"rollback", export_rollback, true, false, VOLUME_CHECKPOINT},
    [REMOVE] = {"remove", export_remove, false, false, VOLUME_CHECKPOINT},
};

struct control_job {
    struct control *control;
    struct server *server;
    struct control_peer *peer; /* NULL: gone */
    enum verb verb;
    char name[EXPORT_NAME_MAX + 1], snapshot[EXPORT_NAME_MAX + 1], child[EXPORT_NAME_MAX + 1];
    struct export_user user;
    struct volume_change change;
    struct exports_waiter waiter;
    struct export_op op;
    struct task refused;
    enum err err;
    struct complaint complaint;
};

static void finish(struct control_job *j, enum err err, const char *text)
{
    struct control *c = j->control;
    struct control_peer *p = j->peer;
    const char *verb = verbs[j->verb].name;
    if (err)
        log_warn("control", "%s %s: %s", verb, j->name, text);
    else
        log_info("control", "%s %s: done", verb, j->name);
    json_t *answer = err ? control_refusal(err, text) : json_pack("{s:b}", "ok", 1);
    if (!err && j->op.saved[0])
        json_object_set_new(answer, "saved", json_string(j->op.saved));
    exports_leave(&j->user);
    mem_free(j);
    if (p)
        control_answer(p, answer);
    else
        json_decref(answer);
    control_job_over(c);
}

static void op_done(struct export_op *op)
{
    struct control_job *j = CONTAINER_OF(op, struct control_job, op);
    struct complaint said = op->complaint;
    finish(j, op->err, said.text[0] ? said.text : err_text(op->err));
}

static void start_op(struct control_job *j)
{
    j->op.engine = j->server->config.engine;
    j->op.name = j->name;
    j->op.snapshot = j->snapshot[0] ? j->snapshot : NULL;
    j->op.child = j->child;
    j->op.done = op_done;
    verbs[j->verb].at_rest(&j->op);
}

static void idle(struct exports_waiter *w)
{
    start_op(CONTAINER_OF(w, struct control_job, waiter));
}

/* ------------------------------------------------------------------- through the volume */

static void changed(struct volume_change *change)
{
    struct control_job *j = CONTAINER_OF(change, struct control_job, change);
    struct complaint said = change->complaint;
    if (!change->err && j->verb == FORK) {
        j->op.as_checkpointed = true;
        start_op(j);
    } else {
        finish(j, change->err, said.text[0] ? said.text : err_text(change->err));
    }
}

static void joined(struct export_user *u, enum err err, const struct complaint *why)
{
    struct control_job *j = CONTAINER_OF(u, struct control_job, user);
    if (err) {
        struct complaint said = *why;
        finish(j, err, said.text[0] ? said.text : err_text(err));
        return;
    }
    j->change = (struct volume_change){.volume = u->export->volume,
                                       .verb = verbs[j->verb].change,
                                       .name = j->snapshot[0] ? j->snapshot : NULL,
                                       .size = j->op.size,
                                       .done = changed};
    volume_change(&j->change);
}

/* The change is answered soon, and then it leaves. */
static void lost(struct export_user *u)
{
    (void)u;
}

/* --------------------------------------------------------------------------- starting */

static void refuse_now(struct task *t)
{
    struct control_job *j = CONTAINER_OF(t, struct control_job, refused);
    struct complaint said = j->complaint;
    finish(j, j->err, said.text);
}

static void begin(struct control_job *j)
{
    struct exports *x = &j->server->exports;
    size_t users = exports_users(x, j->name);
    bool snapshot_fork = j->verb == FORK && j->snapshot[0];
    if (snapshot_fork) {
        start_op(j);
    } else if (users && verbs[j->verb].live) {
        j->user = (struct export_user){.joined = joined, .lost = lost};
        exports_join(x, j->name, &j->user);
    } else if (users) {
        j->err = complain(&j->complaint, ERR_HELD,
                          "export %s is in use: %zu client%s connected; it can be done when %s gone", j->name,
                          users, users == 1 ? " is" : "s are", users == 1 ? "it has" : "they have");
        j->refused.run = refuse_now;
        loop_post(j->server->loop, &j->refused);
    } else {
        j->waiter.idle = idle;
        exports_when_idle(x, j->name, &j->waiter);
    }
}

static bool take_text(json_t *request, const char *member, char out[EXPORT_NAME_MAX + 1])
{
    const char *text = json_string_value(json_object_get(request, member));
    if (!text || !text[0] || strlen(text) > EXPORT_NAME_MAX)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static enum err understand(struct control_job *j, json_t *request)
{
    const char *verb = json_string_value(json_object_get(request, "request"));
    while (j->verb < VERBS && (!verb || strcmp(verbs[j->verb].name, verb) != 0))
        j->verb++;
    if (j->verb == VERBS) {
        j->verb = SNAPSHOT;
        return complain(&j->complaint, ERR_INVALID, "there is no such request");
    }
    json_t *size = json_object_get(request, "size");
    bool snapshot = take_text(request, "snapshot", j->snapshot);
    bool right = take_text(request, "export", j->name) && (snapshot || !verbs[j->verb].needs_snapshot) &&
                 (j->verb != FORK || take_text(request, "child", j->child)) &&
                 (j->verb != RESIZE || (json_is_integer(size) && json_integer_value(size) > 0));
    if (!right)
        return complain(&j->complaint, ERR_INVALID, "%s: a name or the size is missing, or not possible",
                        verb);
    if (j->verb == RESIZE)
        j->op.size = (uint64_t)json_integer_value(size);
    j->op.shrink = json_is_true(json_object_get(request, "shrink"));
    j->op.discard = json_is_true(json_object_get(request, "discard"));
    return export_name_check(j->name, &j->complaint);
}

struct control_job *control_job_start(struct control_peer *p, json_t *request)
{
    struct control_job *j = MEM_NEW(struct control_job);
    j->peer = p;
    j->control = p->control;
    j->server = control_server(p->control);
    j->err = understand(j, request);
    if (!j->err) {
        begin(j);
    } else {
        j->refused.run = refuse_now;
        loop_post(j->server->loop, &j->refused);
    }
    return j;
}

void control_job_forget(struct control_job *j)
{
    j->peer = NULL;
}
