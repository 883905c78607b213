/* script.h - the world driven line by line: each call returns when what it asks for has happened.
 *
 * Everything checks itself against the model as in a random run; calls that must not fail end the test when
 * they do.
 */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "bucket.h"
#include "collecting.h"
#include "process.h"
#include "volume/format/manifest.h"
#include "volume/format/record.h"

#define SCRIPT_PROCESSES_MAX 60
#define SCRIPT_EXPORTS_MAX   10000

struct script {
    struct sim *sim;
    struct bucket *bucket;
    struct engine_config config; /* of servers started from now on; long intervals, a lease of 30 s */
    struct process *processes[SCRIPT_PROCESSES_MAX];
    size_t process_count;
    struct model_export *exports[SCRIPT_EXPORTS_MAX];
    size_t export_count;
};

/* A kind world unless the faults say otherwise. */
void script_init(struct script *, uint64_t seed, const struct faults *);
/* Heals the world, opens every export on a fresh server and checks it, closes all. */
void script_finish(struct script *);

#define expect(t, cond) sim_expect((t)->sim, cond)

/* 64 blocks of 4 KiB, 4 to an object, unless other parameters are given. */
struct model_export *script_export(struct script *, const char *name, const struct export_params *);

/* ------------------------------------------------------------------- servers */

/* Started on that machine and joined. */
struct process *script_server(struct script *, unsigned machine);
/* The same without waiting, and waiting for it. */
struct process *script_server_begin(struct script *, unsigned machine);
void script_joined(struct script *, struct process *);
void script_stop(struct script *, struct process *); /* closes what it has open */
void script_sleep(struct process *);                 /* until script_wake */
void script_wake(struct process *);

/* Opened and surveyed; waits for as long as it is HELD. */
struct client *script_open(struct script *, struct process *, struct model_export *);
/* Once; NULL when it was refused: *err says why. */
struct client *script_try_open(struct script *, struct process *, struct model_export *, enum err *err);
/* Until the attempt ended or was verified; false: it takes longer than that. */
bool script_opened(struct script *, struct client *, uint64_t ns);
enum err script_close(struct script *, struct client *);

/* ------------------------------------------------------------------ requests */

enum err script_write(struct script *, struct client *, uint64_t offset, uint64_t bytes, unsigned flags);
enum err script_trim(struct script *, struct client *, uint64_t offset, uint64_t bytes, unsigned flags);
enum err script_read(struct script *, struct client *, uint64_t offset, uint64_t bytes);
enum err script_flush(struct script *, struct client *);
/* Begun, not waited for; ended by script_wait. */
struct client_op *script_begin(struct client *, enum volume_verb, uint64_t offset, uint64_t bytes,
                               unsigned flags);
enum err script_wait(struct script *, struct client_op *); /* frees it. CANCELED when its server died */
/* False when it is not answered within that time. */
bool script_answered_within(struct script *, struct client_op *, uint64_t ns);

void script_run(struct script *, double seconds);
/* Until so many requests are held by the rule; ends the test after a minute. */
void script_await_held(struct script *, struct rule *, size_t n);
void script_await_hits(struct script *, struct rule *, uint64_t n);
/* A checkpoint: waits until the manifest's root or position has changed. The configuration must make it
 * happen. */
void script_await_checkpoint(struct script *, struct model_export *);

/* -------------------------------------------------------------------- collecting */

/* A collector there, until it has come to rest; servers that beat have a minute to acknowledge. */
enum err script_collect(struct script *, struct process *);
/* Waits for one that process_collect began. */
enum err script_collected(struct script *, struct process *);
void script_remove(struct script *, struct process *, struct model_export *);
void script_nothing_left(struct script *);

/* ---------------------------------------------------------- what the bucket says */

/* Parsed; ends the test when there is none. manifest_finish it with script_forget. */
void script_manifest(struct script *, const struct model_export *, struct manifest *);
void script_forget(struct manifest *);
/* The key of a slot in the present owner's folder. */
void script_slot_key(struct script *, const struct model_export *, uint64_t slot, struct key *);
/* How many slots of the present owner's folder exist. */
size_t script_slots(struct script *, const struct model_export *);
/* A seal of that slot in the present owner's folder, as a server unknown to everybody might have sent long
 * ago. */
void script_put_seal(struct script *, const struct model_export *, uint64_t slot);
bool script_is_seal(const struct object *);

#endif
