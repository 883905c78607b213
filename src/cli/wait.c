#include "cli/runtime.h"
#include "loop/uv_loop.h"

void runtime_wait(struct runtime *r)
{
    uv_loop_run(r->loop);
}

void runtime_wake(struct runtime *r)
{
    uv_loop_stop(r->loop);
}
