/* log.h - one line an event, to standard error: `2026-01-31T12:00:00.123Z WARN store: ...`.
 *
 * The clock is handed in (log_set_clock) so that a simulated run prints simulated time. Safe from any thread.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

void log_set_level(enum log_level);
bool log_level_parse(const char *text, enum log_level *); /* debug info warn error off */
/* Milliseconds since 1970; NULL goes back to the system's clock. */
void log_set_clock(int64_t (*wall_ms)(void *ctx), void *ctx);
/* Where lines go instead of standard error; NULL goes back. */
void log_set_sink(void (*sink)(void *ctx, const char *line), void *ctx);

bool log_on(enum log_level);
/* Control characters in the line are written as \xNN: one event stays one line, whatever a client sent. */
PRINTF(3, 4) void log_line(enum log_level, const char *area, const char *fmt, ...);

#define log_debug(area, ...) (log_on(LOG_DEBUG) ? log_line(LOG_DEBUG, area, __VA_ARGS__) : (void)0)
#define log_info(area, ...)  log_line(LOG_INFO, area, __VA_ARGS__)
#define log_warn(area, ...)  log_line(LOG_WARN, area, __VA_ARGS__)
#define log_error(area, ...) log_line(LOG_ERROR, area, __VA_ARGS__)

#endif
