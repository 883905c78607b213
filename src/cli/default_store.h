/* default_store.h - the store when none is named: $XDG_DATA_HOME/ashlar, or ~/.local/share/ashlar (XDG Base
 * Directory Specification 0.8). */
#ifndef CLI_DEFAULT_STORE_H
#define CLI_DEFAULT_STORE_H

#include "base/err.h"

/* NULL when the environment does not say where; freed with mem_free. */
char *default_store_url(void);
/* Makes its folders as well (mode 0700), as that specification wants. */
MUST_CHECK enum err default_store_make(char **url, struct complaint *);

#endif
