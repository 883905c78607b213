/* bucket.h - the simulated bucket: objects, the requests on their way to it, and everything that can happen
 * to them.
 *
 * The objects are linearizable and every answer keeps to objstore.h. Between a server and the objects a
 * request takes two trips; on either it may be slow, lost, repeated or stuck (struct faults), or stopped by a
 * rule of a directed test. What a server has sent may be applied long after it died.
 */
#ifndef SIM_BUCKET_H
#define SIM_BUCKET_H

#include "sim.h"

struct object {
    char *key;
    uint8_t *body;
    size_t bytes;
    char etag[48];
    int64_t modified_ms;
};

enum rule_action {
    RULE_HOLD,        /* keep it before the bucket until rule_release */
    RULE_HOLD_ANSWER, /* apply it, keep the answer until rule_release */
    RULE_LOSE_ANSWER, /* apply it; a conditional PUT is answered UNKNOWN, anything else is sent again */
    RULE_REFUSE, /* do not apply it; a conditional PUT is answered UNKNOWN, anything else is sent again */
    RULE_UNAVAILABLE, /* do not apply it; UNAVAILABLE for a conditional PUT, anything else is sent again */
    RULE_NOSPACE,     /* PUT: NOSPACE */
    RULE_DROP,        /* vanishes: neither applied nor ever answered, unless it is canceled */
    RULE_STALL, /* keep it as RULE_HOLD; a conditional PUT is answered UNKNOWN, anything else is sent again */
    RULE_CRASH_BEFORE, /* the sender crashes just before it is applied */
    RULE_CRASH_AFTER,  /* the sender crashes when it was applied and nobody knows */
    RULE_COUNT,        /* nothing, but it is counted */
};

#define RULE_VERB(verb) (1u << (verb))
#define RULE_MUTATIONS  (RULE_VERB(OBJSTORE_PUT) | RULE_VERB(OBJSTORE_DELETE))

struct rule {
    struct link link;          /* in bucket->rules */
    unsigned verbs;            /* RULE_VERB bits */
    char pattern[200];         /* fnmatch; a DELETE matches when one of its keys does */
    const struct server *from; /* NULL: anybody */
    enum rule_action action;
    uint64_t skip, left; /* passes over so many first, then acts so often */
    uint64_t hits;
    struct list held; /* bucket_op.held */
};

struct outage {
    uint64_t until_ns;
    const struct server *from; /* NULL: everybody */
    char prefix[64];
    bool denied; /* credentials are not accepted meanwhile; else nothing is heard at all */
};

struct bucket_op {
    struct link link; /* in its server's requests, or in the bucket's strays */
    struct link held; /* in a rule's held */
    struct bucket *bucket;
    struct server *from;
    struct objstore_req *req; /* NULL: nobody waits for the answer any more */
    uint64_t sent_ns;
    unsigned attempts;
    bool answered; /* it is on its way back */
    struct timer timer, patience;

    enum objstore_verb verb;
    enum objstore_condition condition;
    char *key, *after;
    char etag[OBJSTORE_ETAG_MAX];
    uint8_t *body;
    size_t body_bytes;
    char **keys;
    size_t key_count;
    uint64_t offset;
    size_t length, limit, list_limit;
    bool delimited;

    /* the answer */
    enum err err;
    uint8_t *content;
    size_t content_bytes;
    uint64_t object_bytes;
    int64_t modified_ms, date_ms;
    char **names;
    struct object_size {
        uint64_t bytes;
        int64_t modified_ms;
    } * sizes;
    size_t name_count;
    bool truncated;
};

#define OUTAGES_MAX 8

struct bucket {
    struct sim *sim;
    struct object **objects; /* in the order of their keys */
    size_t count, room;
    uint64_t versions;
    uint64_t mutations;        /* PUTs and DELETEs of living servers that arrived so far */
    struct list rules, strays; /* strays: requests nobody waits for */
    struct outage outages[OUTAGES_MAX];
    uint64_t nospace_until_ns;
    bool nospace_seen; /* somebody was told */
    uint64_t damaged;  /* objects spoiled on purpose */
    uint64_t requests[5];
    /* Crash whoever sent it when the n-th mutation from now (1: the next) arrives, before or after it is
     * applied. */
    uint64_t crash_at_mutation;
    bool crash_after;
};

struct bucket *bucket_create(struct sim *);
void bucket_destroy(struct bucket *);
int64_t bucket_now_ms(const struct bucket *);
/* Ends outages and rules; strays arrive within seconds. */
void bucket_heal(struct bucket *);

void bucket_store_init(struct bucket *, struct server *);
/* The server is gone: its requests lose their sender. */
void bucket_orphan(struct bucket *, struct server *);

/* ----------------------------------------------------------- what is in it, unseen by servers */

struct object *bucket_find(const struct bucket *, const char *key);
/* The i-th object whose key begins with the prefix; NULL when there are fewer. */
struct object *bucket_nth(const struct bucket *, const char *prefix, size_t i);
size_t bucket_count(const struct bucket *, const char *prefix);
struct object *bucket_put(struct bucket *, const char *key, const void *body, size_t bytes);
bool bucket_delete(struct bucket *, const char *key);

/* ------------------------------------------------------------------------- interference */

struct rule *rule_add(struct bucket *, enum rule_action, unsigned verbs, const char *pattern,
                      const struct server *from);
/* The next `times` matching requests only, after `skip` of them. */
struct rule *rule_add_times(struct bucket *, enum rule_action, unsigned verbs, const char *pattern,
                            const struct server *from, uint64_t skip, uint64_t times);
/* Lets go of what it holds, in order; it goes on its way at once. The rule is gone. */
void rule_release(struct bucket *, struct rule *);
/* Lets go of what it holds, and goes on holding. */
void rule_let_through(struct bucket *, struct rule *);
size_t rule_held(const struct rule *);

/* Nothing gets through to those keys from there for so long. */
void bucket_outage(struct bucket *, const struct server *from, const char *prefix, bool denied, uint64_t ns);
void bucket_nospace(struct bucket *, uint64_t ns);

/* ------------------------------------------------------------------- for its other half */

/* bucket_objects.c: what the objects make of a request. Sets err and the answer. */
void bucket_apply(struct bucket *, struct bucket_op *);
bool bucket_op_mutates(const struct bucket_op *);
void bucket_op_free(struct bucket_op *);

#endif
