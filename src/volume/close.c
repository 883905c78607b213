/* Clean close: the last checkpoint leaves a manifest that is marked closed; or, when the export was lost or
 * the close is abandoned, only an end to everything that is under way. */
#include <assert.h>

#include "base/log.h"
#include "base/mem.h"
#include "volume/upload.h"
#include "volume/volume_state.h"

static void done(struct task *t)
{
    struct volume_close *close = CONTAINER_OF(t, struct volume_close, task);
    close->done(close);
}

static void finish(struct volume *v, enum err err)
{
    struct volume_close *close = v->close;
    struct loop *loop = v->engine->loop;
    if (!err)
        log_info("export", "%s: closed, %llu checkpoints, %llu log records", v->name,
                 (unsigned long long)v->checkpoints, (unsigned long long)v->records_written);
    volume_free(v);
    close->err = err;
    close->volume = NULL;
    close->task = (struct task){.run = done};
    loop_post(loop, &close->task);
}

static void stop_everything(struct volume *v)
{
    log_stop(v, ERR_CANCELED);
    checkpoint_stop(v);
    changes_refuse(v, &v->changes, ERR_CANCELED);
    retake_stop(v);
    LIST_EACH(&v->write_backs, k)
    upload_cancel(CONTAINER_OF(k, struct upload, link));
}

void close_poke(struct volume *v)
{
    if (!v->close)
        return;
    if (!v->lost && !v->abandoned && !v->closed) {
        if (!v->checkpoint && !v->retake)
            checkpoint_want(v);
        return;
    }
    if (!v->closed)
        stop_everything(v);
    if (v->checkpoint || v->retake || v->swapping || !log_stopped(v) || !list_empty(&v->write_backs) ||
        !list_empty(&v->answers) || !readahead_stopped(v))
        return;
    finish(v, v->closed ? ERR_OK : v->lost ? ERR_FENCED : ERR_CANCELED);
}

void volume_close(struct volume_close *close)
{
    struct volume *v = close->volume;
    assert(!v->closing && !v->opening);
    v->closing = true;
    v->close = close;
    readahead_stop(v);
    loop_post(v->engine->loop, &v->pump);
}

void volume_close_abandon(struct volume_close *close)
{
    struct volume *v = close->volume;
    if (!v)
        return;
    v->abandoned = true;
    loop_post(v->engine->loop, &v->pump);
}
