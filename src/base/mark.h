/* mark.h - named points in the code: rare branches that tests must reach, and moments at which to die on
 * purpose.
 *
 *     mark_hit("checkpoint.swapped");
 *
 * A mark costs one load and one branch not taken. The simulator hooks in to record which were reached and to
 * crash the server that is running right there. Built with -Dfaults=true, the environment variable
 * ASHLAR_CRASH_AT=name[:n] makes the process kill itself (SIGKILL) at the n-th passage of that mark, the
 * first when n is not given.
 *
 * Names are literals, area.what, lower case; the same name may stand in several places.
 */
#ifndef BASE_MARK_H
#define BASE_MARK_H

#include <stddef.h>

/* Called at each mark passed, on the thread that passes it. NULL: nobody. Set before any thread is started.
 */
extern void (*mark_hook)(const char *name);

/* Every mark that is linked into the program stands in this section, once for each place it is written. */
extern const char *const __start_marks[] __attribute__((weak));
extern const char *const __stop_marks[] __attribute__((weak));

#define mark_hit(name)                                                                                       \
    do {                                                                                                     \
        static const char *const mark_here __attribute__((section("marks"), used)) = name;                   \
        if (__builtin_expect(mark_hook != NULL, 0))                                                          \
            mark_hook(mark_here);                                                                            \
    } while (0)

#endif
