/* s3_load: requests at an S3 store, many at once, and what became of them. For the tests of the store and for
 * measuring it.
 *
 *   s3_load OPTIONS put N BYTES PARALLEL      creates load/0 ... load/N-1, unconditionally
 *   s3_load OPTIONS create N BYTES PARALLEL   the same with If-None-Match
 *   s3_load OPTIONS get N BYTES PARALLEL      reads them back by range and checks every byte
 *   s3_load OPTIONS head N 0 PARALLEL
 *   s3_load OPTIONS count N 0 PARALLEL        N increments of one counter by compare-and-swap
 *   s3_load OPTIONS delete N 0 PARALLEL
 *
 * OPTIONS: bucket=B prefix=P endpoint=URL ca=FILE region=R profile=P path_style=0|1 off=1 patience_ms=N
 * seconds=N background=1 same=1 unchecked=1
 *
 * With seconds=N it starts again from 0 until that time is over; with same=1 all bodies are one, with
 * unchecked=1 what is read is not compared. Prints one line of JSON; status 0 when every answer was OK
 * (count: or CONFLICT, UNKNOWN), else 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "base/prng.h"
#include "loop/uv_loop.h"
#include "objstore/s3/s3.h"

#define PARALLEL_MAX 512
#define TOOK_MAX     1000000

static struct loop *loop;
static struct objstore *store;
static const char *verb;
static struct s3_config config = {.bucket = "disks", .prefix = "load", .path_style = -1};
static uint64_t total, object_bytes, patience_ns, seconds;
static bool background, same, unchecked;
static uint64_t begun_ns, issued, answered, damaged, counted;
static uint64_t errors[ERR_COUNT];
static uint32_t *took_us;
static struct complaint complaint;
static unsigned parallel, running;

struct slot {
    struct objstore_req req;
    char key[64];
    const char *keys[1];
    uint64_t index, started_ns;
    uint8_t *body;
    struct iovec pieces[3];
    char number[64];
    bool writing, checked;
    uint64_t value;
};

static void fill(uint8_t *to, uint64_t index)
{
    struct prng p;
    prng_seed(&p, same ? 1 : index + 1);
    prng_fill(&p, to, object_bytes);
}

static void next(struct slot *);

static void check_content(struct slot *s)
{
    if (!same || !s->checked)
        fill(s->body, s->index);
    s->checked = true;
    if (s->req.content->bytes != object_bytes || memcmp(s->req.content->data, s->body, object_bytes) != 0)
        damaged++;
}

/* One increment: read, swap in one more, again until it is ours. */
static bool count_step(struct slot *s)
{
    struct objstore_req *q = &s->req;
    if (s->writing && q->err == ERR_OK) {
        counted++;
        return false;
    }
    if (!s->writing && q->err == ERR_OK) {
        char text[64] = "";
        unsigned long long value;
        memcpy(text, q->content->data, MIN(q->content->bytes, sizeof text - 1));
        value = strtoull(text, NULL, 10) + 1;
        buf_unref(q->content);
        q->content = NULL;
        s->value = value;
        uint64_t nonce;
        loop_random(loop, &nonce, sizeof nonce);
        int n = snprintf(s->number, sizeof s->number, "%llu %016llx", value, (unsigned long long)nonce);
        s->pieces[0] = (struct iovec){s->number, (size_t)n};
        q->verb = OBJSTORE_PUT;
        q->condition = OBJSTORE_MATCH;
        q->body = s->pieces;
        q->body_count = 1;
        s->writing = true;
        objstore_submit(store, q);
        return true;
    }
    if (!s->writing || (q->err != ERR_CONFLICT && q->err != ERR_UNKNOWN))
        return false;
    errors[q->err]++;
    s->writing = false;
    q->verb = OBJSTORE_GET;
    q->limit = 64;
    q->length = 0;
    objstore_submit(store, q);
    return true;
}

static void done(struct objstore_req *q)
{
    struct slot *s = CONTAINER_OF(q, struct slot, req);
    if (strcmp(verb, "count") == 0 && count_step(s))
        return;
    if (answered < TOOK_MAX)
        took_us[answered] = (uint32_t)((loop_fresh_ns(loop) - s->started_ns) / 1000);
    answered++;
    errors[q->err]++;
    if (q->complaint.text[0])
        complaint = q->complaint;
    if (q->content && !unchecked)
        check_content(s);
    buf_unref(q->content);
    running--;
    next(s);
}

static void set_body(struct slot *s)
{
    size_t third = object_bytes / 3;
    if (!same || !s->pieces[0].iov_base)
        fill(s->body, s->index);
    s->pieces[0] = (struct iovec){s->body, third};
    s->pieces[1] = (struct iovec){s->body + third, third};
    s->pieces[2] = (struct iovec){s->body + 2 * third, object_bytes - 2 * third};
    s->req.body = s->pieces;
    s->req.body_count = 3;
}

static void next(struct slot *s)
{
    uint64_t now = loop_fresh_ns(loop);
    if (issued == total || (seconds && now - begun_ns > seconds * NS_PER_S)) {
        if (running == 0)
            uv_loop_stop(loop);
        return;
    }
    struct objstore_req *q = &s->req;
    memset(q, 0, sizeof *q);
    s->index = seconds ? issued % 100 : issued;
    issued++;
    s->started_ns = now;
    snprintf(s->key, sizeof s->key, "load/%llu", (unsigned long long)s->index);
    s->keys[0] = s->key;
    s->writing = false;
    q->key = s->key;
    q->done = done;
    q->patience_ns = patience_ns;
    q->priority = background ? OBJSTORE_BACKGROUND : OBJSTORE_DEMAND;
    if (strcmp(verb, "put") == 0 || strcmp(verb, "create") == 0) {
        q->verb = OBJSTORE_PUT;
        q->condition = *verb == 'c' ? OBJSTORE_CREATE : OBJSTORE_ANY;
        set_body(s);
    } else if (strcmp(verb, "get") == 0) {
        q->verb = OBJSTORE_GET;
        q->length = object_bytes;
    } else if (strcmp(verb, "head") == 0) {
        q->verb = OBJSTORE_HEAD;
    } else if (strcmp(verb, "count") == 0) {
        q->verb = OBJSTORE_GET;
        q->limit = 64;
        q->key = "counter";
    } else {
        q->verb = OBJSTORE_DELETE;
        q->keys = s->keys;
        q->key_count = 1;
    }
    running++;
    objstore_submit(store, q);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void report(void)
{
    struct rusage u;
    size_t n = MIN(answered, TOOK_MAX);
    double wall = (double)(loop_fresh_ns(loop) - begun_ns) / 1e9;
    const struct objstore_counters *c = &store->counters;
    getrusage(RUSAGE_SELF, &u);
    qsort(took_us, n, sizeof *took_us, by_size);
    printf(
        "{\"answered\": %llu, \"wall_s\": %.3f, \"per_s\": %.1f, \"mb_per_s\": %.1f, \"cpu_us_each\": %.1f, ",
        (unsigned long long)answered, wall, (double)answered / wall,
        (double)answered * (double)object_bytes / wall / 1e6,
        (seconds_of(u.ru_utime) + seconds_of(u.ru_stime)) * 1e6 / (double)MAX(answered, 1));
    if (n) {
        size_t half = n / 2, slowest_percent = n - 1 - n / 100;
        printf("\"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f, ", took_us[half] / 1e3,
               took_us[slowest_percent] / 1e3, took_us[n - 1] / 1e3);
    }
    uint64_t requests = 0;
    for (size_t i = 0; i < COUNT_OF(c->requests); i++)
        requests += c->requests[i];
    for (unsigned e = 0; e < ERR_COUNT; e++) {
        if (errors[e])
            printf("\"%s\": %llu, ", err_text(e), (unsigned long long)errors[e]);
    }
    printf(
        "\"damaged\": %llu, \"counted\": %llu, \"requests\": %llu, \"retries\": %llu, \"throttled\": %llu, "
        "\"complaint\": \"%s\", \"rss_kib\": %ld}\n",
        (unsigned long long)damaged, (unsigned long long)counted, (unsigned long long)requests,
        (unsigned long long)c->retries, (unsigned long long)c->throttled, complaint.text, u.ru_maxrss);
}

static const char *value_of(const char *argument, const char *name)
{
    size_t n = strlen(name);
    return strncmp(argument, name, n) == 0 && argument[n] == '=' ? argument + n + 1 : NULL;
}

static void take_option(const char *a)
{
    const char *v;
    if ((v = value_of(a, "bucket")))
        config.bucket = v;
    else if ((v = value_of(a, "prefix")))
        config.prefix = v;
    else if ((v = value_of(a, "endpoint")))
        config.endpoint = v;
    else if ((v = value_of(a, "ca")))
        config.ca_file = v;
    else if ((v = value_of(a, "region")))
        config.region = v;
    else if ((v = value_of(a, "profile")))
        config.profile = v;
    else if ((v = value_of(a, "path_style")))
        config.path_style = *v == '1';
    else if ((v = value_of(a, "off")))
        config.conditional_writes_off = *v == '1';
    else if ((v = value_of(a, "patience_ms")))
        patience_ns = strtoull(v, NULL, 10) * NS_PER_MS;
    else if ((v = value_of(a, "seconds")))
        seconds = strtoull(v, NULL, 10);
    else if ((v = value_of(a, "same")))
        same = *v == '1';
    else if ((v = value_of(a, "unchecked")))
        unchecked = *v == '1';
    else if ((v = value_of(a, "background")))
        background = *v == '1';
}

int main(int argc, char **argv)
{
    int i = 1;
    for (; i < argc && strchr(argv[i], '='); i++)
        take_option(argv[i]);
    if (argc - i != 4) {
        fprintf(stderr, "usage: s3_load [NAME=VALUE]... VERB N BYTES PARALLEL\n");
        return 2;
    }
    verb = argv[i];
    total = strtoull(argv[i + 1], NULL, 10);
    object_bytes = strtoull(argv[i + 2], NULL, 10);
    parallel = (unsigned)strtoul(argv[i + 3], NULL, 10);
    if (seconds)
        total = UINT64_MAX;
    if (parallel < 1 || parallel > PARALLEL_MAX)
        return 2;
    loop = uv_loop_create();
    if (s3_store_create(loop, &config, &store, &complaint)) {
        fprintf(stderr, "%s\n", complaint.text);
        return 1;
    }
    took_us = MEM_ARRAY(uint32_t, TOOK_MAX);
    struct slot *slots = MEM_ARRAY(struct slot, parallel);
    begun_ns = loop_fresh_ns(loop);
    for (unsigned k = 0; k < parallel; k++) {
        slots[k].body = mem_alloc(object_bytes + 1);
        next(&slots[k]);
    }
    if (running)
        uv_loop_run(loop);
    report();
    bool ok = errors[ERR_OK] == answered && damaged == 0;
    objstore_destroy(store);
    uv_loop_destroy(loop);
    for (unsigned k = 0; k < parallel; k++)
        mem_free(slots[k].body);
    mem_free(slots);
    mem_free(took_us);
    return ok ? 0 : 1;
}
