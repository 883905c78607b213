#include "cli/option.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/suggest.h"
#include "loop/loop.h"

const char *option_variable(const char *name, char out[OPTION_VARIABLE_MAX])
{
    size_t n = (size_t)snprintf(out, OPTION_VARIABLE_MAX, "ASHLAR_%s", name);
    for (char *c = out; c < out + MIN(n, (size_t)OPTION_VARIABLE_MAX - 1); c++) {
        if (*c == '-')
            *c = '_';
        else if (*c >= 'a' && *c <= 'z')
            *c = (char)(*c - 'a' + 'A');
    }
    return out;
}

bool option_looks_like(const char *arg)
{
    return arg[0] == '-' && arg[1] != '\0';
}

/* ------------------------------------------------------------------- values */

static void *place(const struct option_table *t, const struct option_spec *s)
{
    return (char *)t->values + s->at;
}

static enum err set_switch(bool *v, const char *shown, const char *text, struct complaint *c)
{
    static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no", "off"};
    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *v = strcmp(text, yes[i]) == 0;
            return ERR_OK;
        }
    }
    return complain(c, ERR_INVALID,
                    "%s is \"%s\", but it is switched by 1, true, yes or on and by 0, false, no or off",
                    shown, text);
}

static enum err add_item(struct option_list *l, const char *shown, const char *text, struct complaint *c)
{
    if (l->count == OPTION_LIST_MAX)
        return complain(c, ERR_INVALID, "%s was given more than %d times", shown, OPTION_LIST_MAX);
    if (!*text)
        return complain(c, ERR_INVALID, "%s has an empty value", shown);
    l->items[l->count++] = text;
    return ERR_OK;
}

static void bound_text(const struct option_spec *s, uint64_t v, char out[SIZE_TEXT_MAX])
{
    if (s->kind == OPTION_SIZE)
        size_format(v, out);
    else if (s->kind == OPTION_DURATION && v % NS_PER_S == 0)
        snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 "s", v / NS_PER_S);
    else if (s->kind == OPTION_DURATION)
        snprintf(out, SIZE_TEXT_MAX, "%" PRIu64 "ms", v / NS_PER_MS);
    else
        snprintf(out, SIZE_TEXT_MAX, "%" PRIu64, v);
}

static enum err check_bounds(const struct option_spec *s, uint64_t v, const char *shown, const char *text,
                             struct complaint *c)
{
    char min[SIZE_TEXT_MAX], max[SIZE_TEXT_MAX];
    bound_text(s, s->min, min);
    bound_text(s, s->max, max);
    if (v < s->min)
        return complain(c, ERR_INVALID, "%s is \"%s\", but the least is %s", shown, text, min);
    if (s->max && v > s->max)
        return complain(c, ERR_INVALID, "%s is \"%s\", but the most is %s", shown, text, max);
    return ERR_OK;
}

static bool number_parse(const char *text, uint64_t *v)
{
    char *end;
    if (*text < '0' || *text > '9' || strlen(text) > 18)
        return false;
    *v = strtoull(text, &end, 10);
    return *end == '\0';
}

static enum err set_quantity(const struct option_spec *s, uint64_t *to, const char *shown, const char *text,
                             struct complaint *c)
{
    uint64_t v;
    if (s->kind == OPTION_SIZE && !size_parse(text, &v))
        return complain(c, ERR_INVALID,
                        "%s is \"%s\", which is no size; write it as 4096, 128K, 1.5GiB or 10T", shown, text);
    if (s->kind == OPTION_DURATION && !duration_parse(text, &v))
        return complain(c, ERR_INVALID, "%s is \"%s\", which is no duration; write it as 250ms, 5s, 2m or 1h",
                        shown, text);
    if (s->kind == OPTION_NUMBER && !number_parse(text, &v))
        return complain(c, ERR_INVALID, "%s is \"%s\", which is no number", shown, text);
    enum err e = check_bounds(s, v, shown, text, c);
    if (!e)
        *to = v;
    return e;
}

/* `shown` is what the value is called in a complaint: --cache-size, or ASHLAR_CACHE_SIZE. */
static enum err set_value(const struct option_table *t, const struct option_spec *s, const char *shown,
                          const char *text, struct complaint *c)
{
    enum log_level level;
    switch (s->kind) {
    case OPTION_SWITCH:
        return set_switch(place(t, s), shown, text, c);
    case OPTION_TEXT:
        *(const char **)place(t, s) = text;
        return ERR_OK;
    case OPTION_LIST:
        return add_item(place(t, s), shown, text, c);
    case OPTION_LEVEL:
        if (!log_level_parse(text, &level))
            return complain(c, ERR_INVALID, "%s is \"%s\"; the levels are debug, info, warn, error and off",
                            shown, text);
        *(int *)place(t, s) = (int)level;
        return ERR_OK;
    case OPTION_SIZE:
    case OPTION_DURATION:
    case OPTION_NUMBER:
        break;
    }
    return set_quantity(s, place(t, s), shown, text, c);
}

/* -------------------------------------------------------------- environment */

static enum err take_list(const struct option_table *t, const struct option_spec *s, const char *shown,
                          const char *text, struct complaint *c)
{
    struct option_list *l = place(t, s);
    enum err e = ERR_OK;
    l->owned = mem_strdup(text);
    for (char *save = NULL, *item = strtok_r(l->owned, ",", &save); item && !e;
         item = strtok_r(NULL, ",", &save))
        e = set_value(t, s, shown, item, c);
    return e;
}

enum err options_begin(const struct option_table *t, struct complaint *c)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option_spec *s = &t->specs[i];
        char variable[OPTION_VARIABLE_MAX];
        const char *text = getenv(option_variable(s->name, variable));
        enum err e = ERR_OK;
        if (text && *text)
            e = s->kind == OPTION_LIST ? take_list(t, s, variable, text, c)
                                       : set_value(t, s, variable, text, c);
        else if (s->fallback)
            e = set_value(t, s, s->name, s->fallback, c);
        if (e)
            return e;
    }
    return ERR_OK;
}

void options_end(const struct option_table *t)
{
    for (size_t i = 0; i < t->count; i++) {
        struct option_list *l = place(t, &t->specs[i]);
        if (t->specs[i].kind == OPTION_LIST)
            mem_free(l->owned);
    }
}

/* ------------------------------------------------------------- command line */

static bool same_name(const char *name, const char *arg, size_t arg_bytes)
{
    return strlen(name) == arg_bytes && memcmp(name, arg, arg_bytes) == 0;
}

static enum err unknown(const struct option_table *tables, size_t count, const char *arg, size_t bytes,
                        struct complaint *c)
{
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)MIN(bytes, sizeof typed - 1), arg);
    struct suggestion s = {.typed = typed};
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < tables[i].count; j++)
            suggest(&s, tables[i].specs[j].name);
    if (s.best)
        return complain(c, ERR_INVALID, "there is no option --%s; did you mean --%s?", typed, s.best);
    return complain(c, ERR_INVALID, "there is no option --%s; --help lists them", typed);
}

static enum err take(const struct option_table *t, const struct option_spec *s, const char *equals,
                     const char *next, bool *took_next, struct complaint *c)
{
    char shown[OPTION_VARIABLE_MAX];
    snprintf(shown, sizeof shown, "--%s", s->name);
    if (s->kind == OPTION_SWITCH) {
        if (equals)
            return complain(c, ERR_INVALID, "%s is a switch and takes no value", shown);
        *(bool *)place(t, s) = true;
        return ERR_OK;
    }
    const char *text = equals ? equals + 1 : next;
    if (!text)
        return complain(c, ERR_INVALID, "%s wants a value: %s %s", shown, shown, s->value);
    *took_next = !equals;
    struct option_list *l = s->kind == OPTION_LIST ? place(t, s) : NULL;
    if (l && !l->typed)
        *l = (struct option_list){.typed = true, .owned = l->owned};
    return set_value(t, s, shown, text, c);
}

enum err options_take(const struct option_table *tables, size_t count, const char *arg, const char *next,
                      bool *took_next, struct complaint *c)
{
    *took_next = false;
    if (strcmp(arg, "-h") == 0)
        arg = "--help";
    for (size_t i = 0; i < count && arg[1] && !arg[2]; i++)
        for (size_t j = 0; j < tables[i].count; j++)
            if (tables[i].specs[j].letter == arg[1])
                return take(&tables[i], &tables[i].specs[j], NULL, NULL, took_next, c);
    if (arg[1] != '-')
        return complain(c, ERR_INVALID,
                        "there is no option %s; options begin with two dashes, and --help lists them", arg);
    const char *name = arg + 2, *equals = strchr(name, '=');
    size_t bytes = equals ? (size_t)(equals - name) : strlen(name);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < tables[i].count; j++)
            if (same_name(tables[i].specs[j].name, name, bytes))
                return take(&tables[i], &tables[i].specs[j], equals, next, took_next, c);
    return unknown(tables, count, name, bytes, c);
}

/* --------------------------------------------------------------------- help */

void options_print(const struct option_table *t, FILE *f)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct option_spec *s = &t->specs[i];
        char head[64];
        snprintf(head, sizeof head, "--%s%s%s", s->name, s->value ? " " : "", s->value ? s->value : "");
        if (s->letter)
            snprintf(head, sizeof head, "-%c, --%s", s->letter, s->name);
        fprintf(f, "  %-26s %s", head, s->help);
        if (s->fallback)
            fprintf(f, " [%s]", s->fallback);
        fputc('\n', f);
    }
}
