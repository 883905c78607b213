/* scratch.h - a directory for one test, gone afterwards. */
#ifndef SCRATCH_H
#define SCRATCH_H

#define SCRATCH_MAX 200

/* Below $TMPDIR or /tmp. */
void scratch_make(char path[SCRATCH_MAX]);
void scratch_remove(const char *path); /* with all that is in it; symbolic links are not followed */

#endif
