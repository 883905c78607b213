/* survey.h - reading a whole export right after it was opened, to see which cut of its history it is. */
#ifndef SIM_SURVEY_H
#define SIM_SURVEY_H

#include "client.h"

/* The client is READING; when all is read and fits it is OPEN. When it was lost meanwhile it is OPEN as well,
 * but its session is not verified and must not be changed. */
void survey_start(struct client *);
void survey_destroy(struct client *);

#endif
