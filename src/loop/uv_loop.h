/* uv_loop.h - the real loop: libuv, CLOCK_BOOTTIME, the kernel's random bytes. */
#ifndef LOOP_UV_LOOP_H
#define LOOP_UV_LOOP_H

#include "loop/loop.h"

struct loop *uv_loop_create(void);
/* Runs until uv_loop_stop, or until nothing is left that could call back. */
void uv_loop_run(struct loop *);
void uv_loop_stop(struct loop *);
/* Nothing may be active any more but jobs, which are waited for. */
void uv_loop_destroy(struct loop *);

#endif
