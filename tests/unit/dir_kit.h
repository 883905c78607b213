/* dir_kit.h - a directory store of one test, and processes that share its directory. */
#ifndef DIR_KIT_H
#define DIR_KIT_H

#include <sys/types.h>

#include "objstore_kit.h"
#include "scratch.h"

struct opened {
    struct conformance c; /* what the calls of objstore_kit.h want */
    struct loop *loop;
    struct objstore *store;
};

/* Ends the process when that fails. */
void opened_init(struct opened *, const char *path);
void opened_finish(struct opened *);

/* Runs in a child; its status is what the function returns. */
pid_t child_start(int (*run)(const char *path, unsigned number, int fd), const char *path, unsigned number,
                  int fd);
/* 0 to 255; 1000 + signal when a signal ended it. */
int child_wait(pid_t);

#define CHILD_SKIPS 77
/* In a child: mounts that only it sees. False where the kernel does not allow it. */
bool private_mounts(void);

#endif
