#include "cli/suggest.h"

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

enum { NAME_MAX_COMPARED = 40 };

/* Levenshtein's distance, a swap of neighbours counting once. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    if (n > NAME_MAX_COMPARED || m > NAME_MAX_COMPARED)
        return NAME_MAX_COMPARED;
    size_t rows[NAME_MAX_COMPARED + 1][NAME_MAX_COMPARED + 1];
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        rows[i][0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t replaced = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            size_t best = MIN(replaced, MIN(rows[i - 1][j], rows[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, rows[i - 2][j - 2] + 1);
            rows[i][j] = best;
        }
    }
    return rows[n][m];
}

void suggest(struct suggestion *s, const char *name)
{
    size_t typed = strlen(s->typed);
    bool begins = typed >= 3 && strncmp(name, s->typed, typed) == 0;
    size_t d = begins ? 1 : distance(s->typed, name);
    if (d > 1 + typed / 4 || (s->best && d >= s->distance))
        return;
    s->best = name;
    s->distance = d;
}
