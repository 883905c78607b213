#include "objstore/s3/credentials.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "objstore/s3/text.h"

#define FILE_MAX_BYTES (1 << 20)

static const char *environment(const char *name)
{
    const char *v = getenv(name);
    return v && *v ? v : NULL;
}

static char *file_path(const char *variable, const char *in_home)
{
    struct text t = {0};
    const char *named = environment(variable), *home = environment("HOME");
    if (named)
        text_add(&t, named);
    else if (home)
        text_addf(&t, "%s/.aws/%s", home, in_home);
    return t.at;
}

/* Takes in at most FILE_MAX_BYTES. A file that is not there is empty; *found says which. */
static enum err read_whole(const char *path, struct text *to, bool *found, struct complaint *c)
{
    *found = false;
    FILE *f = path ? fopen(path, "re") : NULL;
    if (!f) {
        if (!path || errno == ENOENT || errno == ENOTDIR)
            return ERR_OK;
        return complain(c, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
    }
    char part[4096];
    size_t n;
    while (to->bytes <= FILE_MAX_BYTES && (n = fread(part, 1, sizeof part, f)) > 0)
        text_add_bytes(to, part, n);
    bool failed = ferror(f);
    (void)fclose(f);
    if (failed)
        return complain(c, ERR_INVALID, "cannot read %s", path);
    if (to->bytes > FILE_MAX_BYTES)
        return complain(c, ERR_INVALID, "%s is over 1 MiB: not a file of credentials", path);
    *found = true;
    return ERR_OK;
}

static char *trim(char *s)
{
    s += strspn(s, " \t\r");
    size_t n = strlen(s);
    while (n && strchr(" \t\r", s[n - 1]))
        s[--n] = '\0';
    return s;
}

static bool is_section(char *line, const char *profile, bool *is_ours)
{
    if (*line != '[')
        return false;
    *is_ours = false;
    char *end = strchr(line, ']');
    if (!end)
        return true;
    *end = '\0';
    char *name = trim(line + 1);
    if (strncmp(name, "profile", 7) == 0 && (name[7] == ' ' || name[7] == '\t'))
        name = trim(name + 7);
    *is_ours = strcmp(name, profile) == 0;
    return true;
}

static void set_once(char **field, const char *value)
{
    if (!*field && *value)
        *field = mem_strdup(value);
}

static void take_setting(struct credentials *cr, const char *name, const char *value)
{
    const struct {
        const char *name;
        char **field;
    } settings[] = {
        {"aws_access_key_id", &cr->access_key},    {"aws_secret_access_key", &cr->secret_key},
        {"aws_session_token", &cr->session_token}, {"region", &cr->region},
        {"endpoint_url", &cr->endpoint},           {"ca_bundle", &cr->ca_file},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        if (strcasecmp(settings[i].name, name) == 0)
            set_once(settings[i].field, value);
    }
}

/* Indented lines belong to the setting above them (nested settings), none of which concern us. */
static bool take_profile(char *file, const char *profile, struct credentials *cr)
{
    bool ours = false, seen = false;
    char *next = file;
    while (next) {
        char *line = next;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (strchr(" \t\r#;", *line) || is_section(line, profile, &ours)) {
            seen |= ours;
            continue;
        }
        char *equals = strchr(line, '=');
        if (!ours || !equals)
            continue;
        *equals = '\0';
        take_setting(cr, trim(line), trim(equals + 1));
    }
    return seen;
}

static enum err load_file(char *path, const char *profile, struct credentials *cr, bool *seen,
                          struct complaint *c)
{
    struct text file = {0};
    bool found;
    enum err e = read_whole(path, &file, &found, c);
    if (!e && found && file.at) {
        if (strlen(file.at) != file.bytes)
            e = complain(c, ERR_INVALID, "%s holds a NUL byte: not a file of credentials", path);
        else
            *seen |= take_profile(file.at, profile, cr);
    }
    text_finish(&file);
    return e;
}

static void describe_file(struct credentials *cr, const char *profile, const char *path)
{
    if (!cr->access_key || cr->source)
        return;
    struct text t = {0};
    text_addf(&t, "profile %s in %s", profile, path);
    cr->source = t.at;
}

/* A pair is taken whole from one place: an id from here never goes with a secret from there. */
static void drop_half_pair(struct credentials *cr)
{
    if (cr->access_key && cr->secret_key)
        return;
    mem_free(cr->access_key);
    mem_free(cr->secret_key);
    mem_free(cr->session_token);
    mem_free(cr->source);
    cr->access_key = cr->secret_key = cr->session_token = cr->source = NULL;
}

static void take_environment(struct credentials *cr, bool keys_too)
{
    static const char *const regions[] = {"AWS_REGION", "AWS_DEFAULT_REGION"};
    static const char *const endpoints[] = {"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"};
    const char *id = environment("AWS_ACCESS_KEY_ID"), *secret = environment("AWS_SECRET_ACCESS_KEY");
    if (keys_too && id && secret) {
        const char *token = environment("AWS_SESSION_TOKEN");
        set_once(&cr->access_key, id);
        set_once(&cr->secret_key, secret);
        set_once(&cr->session_token, token ? token : "");
        set_once(&cr->source, "the environment");
    }
    for (size_t i = 0; i < 2; i++) {
        const char *region = environment(regions[i]), *endpoint = environment(endpoints[i]);
        set_once(&cr->region, region ? region : "");
        set_once(&cr->endpoint, endpoint ? endpoint : "");
    }
    const char *ca = environment("AWS_CA_BUNDLE");
    set_once(&cr->ca_file, ca ? ca : "");
}

/* Keys from the environment shut out those of the files, their session token included. */
static enum err take_files(struct credentials *cr, const char *profile, bool *seen, struct complaint *c)
{
    char *paths[2] = {file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
                      file_path("AWS_CONFIG_FILE", "config")};
    enum err e = ERR_OK;
    for (size_t i = 0; i < 2 && !e; i++) {
        struct credentials part = {0};
        e = load_file(paths[i], profile, &part, seen, c);
        describe_file(&part, profile, paths[i] ? paths[i] : "");
        drop_half_pair(&part);
        if (!cr->access_key && part.access_key) {
            set_once(&cr->access_key, part.access_key);
            set_once(&cr->secret_key, part.secret_key);
            set_once(&cr->session_token, part.session_token ? part.session_token : "");
            set_once(&cr->source, part.source);
        }
        set_once(&cr->region, part.region ? part.region : "");
        set_once(&cr->endpoint, part.endpoint ? part.endpoint : "");
        set_once(&cr->ca_file, part.ca_file ? part.ca_file : "");
        credentials_finish(&part);
    }
    mem_free(paths[0]);
    mem_free(paths[1]);
    return e;
}

static bool goes_into_a_header(const char *s)
{
    for (; s && *s; s++) {
        if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7f)
            return false;
    }
    return true;
}

enum err credentials_load(const char *profile, struct credentials *out, struct complaint *c)
{
    struct credentials cr = {0};
    const char *named = profile ? profile : environment("AWS_PROFILE");
    bool seen = false;
    take_environment(&cr, profile == NULL);
    enum err e = take_files(&cr, named ? named : "default", &seen, c);
    if (!e && named && !seen && !cr.access_key)
        e = complain(c, ERR_INVALID,
                     "profile '%s' is neither in the AWS credentials file nor in the config file", named);
    if (!e && !cr.access_key)
        e = complain(c, ERR_DENIED,
                     "no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into "
                     "~/.aws/credentials%s%s",
                     named ? ", profile " : "", named ? named : "");
    if (!e && !(goes_into_a_header(cr.access_key) && goes_into_a_header(cr.session_token) &&
                goes_into_a_header(cr.region)))
        e = complain(c, ERR_INVALID,
                     "the S3 key id, session token or region from %s holds blanks or other odd bytes",
                     cr.source);
    if (e) {
        credentials_finish(&cr);
        return e;
    }
    *out = cr;
    return ERR_OK;
}

void credentials_finish(struct credentials *cr)
{
    mem_free(cr->access_key);
    mem_free(cr->secret_key);
    mem_free(cr->session_token);
    mem_free(cr->region);
    mem_free(cr->endpoint);
    mem_free(cr->ca_file);
    mem_free(cr->source);
    memset(cr, 0, sizeof *cr);
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool credentials_same(const struct credentials *a, const struct credentials *b)
{
    return same_text(a->access_key, b->access_key) && same_text(a->secret_key, b->secret_key) &&
           same_text(a->session_token, b->session_token);
}
