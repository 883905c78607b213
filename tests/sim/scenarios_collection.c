/* Collection: what nothing refers to goes, and nothing else, whatever happens to whom. */
#include "scenario.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

#define PUT RULE_VERB(OBJSTORE_PUT)
#define GET RULE_VERB(OBJSTORE_GET)

/* One server's export in which a whole object is written, flushed and folded. */
static struct client *with_object(struct script *t, struct model_export **e)
{
    *e = script_export(t, "disk", NULL);
    t->config.checkpoint_interval_ns = 5 * NS_PER_S;
    struct client *a = script_open(t, script_server(t, 0), *e);
    expect(t, script_write(t, a, 0, 65536, VOLUME_FUA) == ERR_OK);
    script_await_checkpoint(t, *e);
    return a;
}

/* Exports removed, servers gone: nothing is left but tombstones. What is still there stays. */
static void garbage_goes(struct script *t)
{
    struct model_export *e, *other = script_export(t, "other", NULL);
    struct client *a = with_object(t, &e);
    struct client *b = script_open(t, a->process, other);
    expect(t, script_write(t, b, 0, 32768, VOLUME_FUA) == ERR_OK);
    struct process *d = a->process;
    expect(t, script_close(t, a) == ERR_OK && script_close(t, b) == ERR_OK);
    size_t before = bucket_count(t->bucket, "blocks/");
    expect(t, script_collect(t, d) == ERR_OK);
    expect(t, bucket_count(t->bucket, "blocks/") == before);
    script_remove(t, d, e);
    expect(t, script_collect(t, d) == ERR_OK);
    expect(t, d->collect.counts.deleted_objects > 0);
    expect(t, bucket_count(t->bucket, "blocks/") > 0 && bucket_count(t->bucket, "blocks/") < before);
    b = script_open(t, d, other);
    expect(t, script_read(t, b, 0, 65536) == ERR_OK);
    expect(t, script_close(t, b) == ERR_OK);
    script_remove(t, d, other);
    expect(t, script_collect(t, d) == ERR_OK);
    script_nothing_left(t);
}

#define S(name)                                                                                              \
    {                                                                                                        \
        "collect", #name, name                                                                               \
    }
const struct scenario scenarios_collection[] = {S(garbage_goes), {0}};
