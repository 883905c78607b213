/* engine.h - what the exports of one server share: its identity and heartbeat, the store, the cache of
 * pieces and pages, the index for deduplication, the memory budgets.
 *
 * A *server* (DESIGN: words) is one engine between engine_join and engine_leave: any process that writes
 * objects. One loop thread owns an engine and all its volumes; nothing here is thread-safe.
 *
 * Order of life: engine_create, engine_join, volumes opened and closed, engine_leave, engine_destroy. A
 * process that only reads manifests (ls, info) needs no join.
 */
#ifndef VOLUME_ENGINE_H
#define VOLUME_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "loop/loop.h"
#include "objstore/objstore.h"

/* Who a process is, to everybody who reads its heartbeat. */
struct process_id {
    char host[65];    /* for people */
    char boot_id[37]; /* of the kernel it runs on */
    uint64_t pid_ns;  /* the inode of its pid namespace */
    int64_t pid;
    uint64_t start_time; /* as the kernel counts, /proc/PID/stat field 22 */
};

struct host {
    struct process_id self;
    /* True only when the process ran on this very machine and pid namespace and is certainly gone. */
    bool (*is_gone)(const struct host *, const struct process_id *);
};

/* Fills in who this process is (reads /proc), and an is_gone that looks there. */
void host_init(struct host *);

/* Bounds of one export's log. The defaults are the product's; the simulator sets small ones, so that every
 * bound is met. */
struct engine_limits {
    size_t record_bytes;           /* of an encoded record; at most RECORD_BYTES_MAX */
    size_t inline_batch_bytes;     /* a batch's data beyond this goes into objects first */
    uint64_t checkpoint_log_bytes; /* a checkpoint is due */
    uint64_t checkpoint_log_records;
    uint64_t log_bytes_max; /* from here on flushes wait for the checkpoint */
    uint64_t log_records_max;
    size_t segments_max; /* with so many a checkpoint comes first; at most 64 */
};

#define CONTROL_PATH_MAX 108 /* what a unix socket's address holds */

struct engine_config {
    const struct host *host;
    const char *addresses;      /* where its clients connect, for people; copied */
    const char *control;        /* path of its control socket, for the heartbeat; copied. NULL: none */
    size_t cache_bytes;         /* pieces and pages */
    size_t write_buffer_bytes;  /* dirty and frozen data, payloads being received */
    size_t inline_bytes;        /* logged data not yet folded into the map */
    size_t dedup_bytes;         /* the index of stored blocks */
    uint64_t flush_interval_ns; /* dirty data is written back at least this often */
    uint64_t checkpoint_interval_ns;
    uint64_t lease_ttl_ns;
    struct engine_limits limits;
    uint64_t patience_ns; /* how long joining and opening wait for the store; 0: for ever */
};

/* 256 MiB cache, 64 MiB write buffer, 64 MiB inline, 8 MiB index, 5 s flush, 60 s checkpoint, 30 s lease;
 * records of 1 MiB with 768 KiB inline; checkpoints at 64 MiB or 4,096 records, flushes wait at 256 MiB or
 * 16,384; 64 segments. */
void engine_config_defaults(struct engine_config *);

#define HOLDER_TEXT_MAX 384 /* "host, pid 17, 127.0.0.1:10809, last heard of 4 s ago", as long as it can be */

struct engine;

/* Neither loop nor store nor host may go before the engine. */
struct engine *engine_create(struct loop *, struct objstore *, const struct engine_config *);
/* Once they are known better than by the configuration; the next heartbeat carries them. */
void engine_set_addresses(struct engine *, const char *);
/* Not joined, or left; no volume open. Harmless on NULL. */
void engine_destroy(struct engine *);

struct engine_step {
    void (*done)(struct engine_step *);
    enum err err;
    struct complaint complaint;
    void *impl;
};

/* Checks the bucket's format, probes the store's conditional writes, creates the format in an empty bucket,
 * writes this server's heartbeat. After OK volumes may be opened for writing. UNSUPPORTED for a format of
 * another version and for a store that ignores conditions, INVALID for a bucket that holds objects but no
 * format: nothing is changed. */
void engine_join(struct engine *, struct engine_step *);
/* Checks the format only; creates nothing. An empty bucket is OK. For ls and info. */
void engine_look(struct engine *, struct engine_step *);
/* Removes the heartbeat. All volumes are closed. */
void engine_leave(struct engine *, struct engine_step *);

/* 32 hex digits, known from engine_create on; a new one when the server was declared dead. */
const char *engine_server_id(const struct engine *);

struct engine_stats {
    size_t cache_used, write_buffer_used, inline_used, dedup_entries;
    uint64_t cache_hits, cache_misses, cache_evictions;
    uint64_t dedup_hits, blocks_stored, block_bytes_stored;
    bool lease_held;
};
void engine_stats(const struct engine *, struct engine_stats *);

#endif
