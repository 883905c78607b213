#include "cli/runtime.h"
#include "cli/command.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "loop/uv_loop.h"
#include "objstore/store_url.h"

struct waiting_step {
    struct engine_step step;
    struct runtime *runtime;
};

static void step_done(struct engine_step *s)
{
    runtime_wake(CONTAINER_OF(s, struct waiting_step, step)->runtime);
}

static void run_step(struct runtime *r, void (*start)(struct engine *, struct engine_step *),
                     struct waiting_step *w)
{
    *w = (struct waiting_step){.step = {.done = step_done}, .runtime = r};
    start(r->engine, &w->step);
    runtime_wait(r);
}

static void caught(struct runtime *r)
{
    r->interrupts++;
    if (!r->interrupted) {
        fail("interrupted");
        _exit(STATUS_FAILED);
    }
    r->interrupted(r, r->interrupts);
}

static void sigint_caught(struct signal_watch *w, int signum)
{
    (void)signum;
    caught(CONTAINER_OF(w, struct runtime, sigint));
}

static void sigterm_caught(struct signal_watch *w, int signum)
{
    (void)signum;
    caught(CONTAINER_OF(w, struct runtime, sigterm));
}

static void watch_signals(struct runtime *r)
{
    r->sigint.caught = sigint_caught;
    r->sigterm.caught = sigterm_caught;
    signal_watch_start(r->loop, &r->sigint, SIGINT);
    signal_watch_start(r->loop, &r->sigterm, SIGTERM);
}

static void free_all(struct runtime *r)
{
    engine_destroy(r->engine);
    objstore_destroy(r->store);
    signal_watch_stop(&r->sigint);
    signal_watch_stop(&r->sigterm);
    uv_loop_destroy(r->loop);
}

int runtime_open(struct runtime *r, const char *url, enum runtime_use use, struct engine_config *config)
{
    struct engine_config defaults;
    if (!config) {
        engine_config_defaults(&defaults);
        config = &defaults;
    }
    memset(r, 0, sizeof *r);
    r->loop = uv_loop_create();
    watch_signals(r);
    struct complaint c = {.text = ""};
    enum err e = objstore_open(r->loop, url, &r->store, &c);
    if (e) {
        free_all(r);
        return fail_with(e, &c);
    }
    host_init(&r->host);
    config->host = &r->host;
    config->patience_ns = RUNTIME_PATIENCE_NS;
    r->engine = engine_create(r->loop, r->store, config);
    struct waiting_step w;
    run_step(r, use == RUNTIME_WRITE ? engine_join : engine_look, &w);
    if (w.step.err) {
        int status = fail("%s: %s", objstore_name(r->store),
                          w.step.complaint.text[0] ? w.step.complaint.text : err_text(w.step.err));
        free_all(r);
        return status;
    }
    r->joined = use == RUNTIME_WRITE;
    return STATUS_DONE;
}

int runtime_close(struct runtime *r, int status)
{
    if (r->joined) {
        struct waiting_step w;
        r->interrupted = NULL;
        run_step(r, engine_leave, &w);
        if (w.step.err && status == STATUS_DONE)
            status = fail("%s: leaving failed: %s", objstore_name(r->store),
                          w.step.complaint.text[0] ? w.step.complaint.text : err_text(w.step.err));
    }
    free_all(r);
    return status;
}
