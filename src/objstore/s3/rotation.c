#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "objstore/s3/store.h"

#define RELOAD_EVERY_NS NS_PER_S

struct s3_reload {
    struct job job;
    struct s3_store *s; /* NULL: the store is gone */
    char *profile;
    struct credentials read;
    struct complaint complaint;
    enum err err;
};

static void read_files(struct job *j)
{
    struct s3_reload *l = CONTAINER_OF(j, struct s3_reload, job);
    l->err = credentials_load(l->profile, &l->read, &l->complaint);
}

static void take_credentials(struct s3_store *s, struct credentials *read)
{
    if (credentials_same(&s->credentials, read))
        return;
    struct credentials old = s->credentials;
    s->credentials = *read;
    *read = old;
    s->credentials_serial++;
    log_info("s3", "%s: new credentials from %s: key id %s", s->name, s->credentials.source,
             s->credentials.access_key);
}

static void files_read(struct job *j)
{
    struct s3_reload *l = CONTAINER_OF(j, struct s3_reload, job);
    struct s3_store *s = l->s;
    if (s) {
        s->reload = NULL;
        if (l->err == ERR_OK)
            take_credentials(s, &l->read);
        else
            log_warn("s3", "%s: the credentials cannot be read anew: %s", s->name, l->complaint.text);
    }
    credentials_finish(&l->read);
    mem_free(l->profile);
    mem_free(l);
}

bool s3_credentials_refused(struct s3_store *s, unsigned serial)
{
    uint64_t now = loop_now_ns(s->base.loop);
    if (serial != s->credentials_serial)
        return true;
    if (s->reload || (s->reloaded_ns && now - s->reloaded_ns < RELOAD_EVERY_NS))
        return false;
    s->reloaded_ns = now;
    struct s3_reload *l = MEM_NEW(struct s3_reload);
    l->s = s;
    l->profile = s->profile ? mem_strdup(s->profile) : NULL;
    l->job.work = read_files;
    l->job.done = files_read;
    s->reload = l;
    job_start(s->base.loop, &l->job);
    return false;
}

void s3_credentials_abandon(struct s3_store *s)
{
    if (s->reload)
        s->reload->s = NULL;
    credentials_finish(&s->credentials);
}

const struct sha256 *s3_signing_key(struct s3_store *s, const char *time)
{
    if (strncmp(s->key_day, time, 8) != 0 || s->key_serial != s->credentials_serial) {
        s->key = signer_key(s->credentials.secret_key, time, s->region, "s3");
        memcpy(s->key_day, time, 8);
        s->key_serial = s->credentials_serial;
    }
    return &s->key;
}
