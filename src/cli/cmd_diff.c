#include <inttypes.h>
#include <jansson.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/comparison.h"
#include "cli/export_run.h"
#include "cli/show.h"

struct diff_options {
    bool json;
};

/* clang-format off */
static const struct option_spec specs[] = {
    {.name = "json", .kind = OPTION_SWITCH, .at = offsetof(struct diff_options, json),
     .help = "as JSON, offsets and lengths in bytes"},
};
/* clang-format on */

static const char *const kinds[] = {[DIFFERENCE_CONTENT] = "content",
                                    [DIFFERENCE_ALLOCATION] = "allocation",
                                    [DIFFERENCE_UNREADABLE] = "unreadable"};

struct telling {
    bool json, any;
    uint64_t ranges, bytes[COUNT_OF(kinds)];
};

static bool tell(void *ctx, const struct difference *x)
{
    struct telling *t = ctx;
    if (t->json)
        printf("%s\n    {\"start\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"kind\": \"%s\"}",
               t->any ? "," : "", x->start, x->bytes, kinds[x->kind]);
    else
        printf("%20" PRIu64 "  %16" PRIu64 "  %s\n", x->start, x->bytes, kinds[x->kind]);
    t->any = true;
    t->ranges++;
    t->bytes[x->kind] += x->bytes;
    return !ferror(stdout);
}

static void json_side(const char *key, const struct pinned *p)
{
    json_t *o = json_pack("{so sI sb}", "name", show_json_text(p->name), "size", (json_int_t)p->size,
                          "as_of_last_checkpoint", (int)p->behind);
    printf("  \"%s\": ", key);
    json_dumpf(o, stdout, 0);
    printf(",\n");
    json_decref(o);
}

static void begin(const struct comparison *c, bool json)
{
    if (json) {
        printf("{\n");
        json_side("a", &c->sides[0]);
        json_side("b", &c->sides[1]);
        printf("  \"ranges\": [");
        return;
    }
    for (int i = 0; i < 2; i++)
        if (c->sides[i].behind)
            fprintf(stderr, "ashlar: %s is open: this is what it held at its last checkpoint\n",
                    c->sides[i].name);
    printf("%20s  %16s  %s\n", "OFFSET", "BYTES", "DIFFERS IN");
}

static void end(const struct telling *t)
{
    char content[SIZE_TEXT_MAX], allocation[SIZE_TEXT_MAX];
    if (t->json)
        printf("%s],\n  \"content_bytes\": %" PRIu64 ",\n  \"allocation_bytes\": %" PRIu64
               ",\n  \"unreadable_bytes\": %" PRIu64 "\n}\n",
               t->any ? "\n  " : "", t->bytes[DIFFERENCE_CONTENT], t->bytes[DIFFERENCE_ALLOCATION],
               t->bytes[DIFFERENCE_UNREADABLE]);
    else
        printf("%" PRIu64 " range%s: %s differ in content, %s only in allocation\n", t->ranges,
               t->ranges == 1 ? "" : "s", size_format(t->bytes[DIFFERENCE_CONTENT], content),
               size_format(t->bytes[DIFFERENCE_ALLOCATION], allocation));
}

static int run_in(struct runtime *r, const struct invocation *v)
{
    const struct diff_options *o = v->options;
    struct comparison *c = MEM_NEW(struct comparison);
    struct complaint why = {.text = ""};
    struct telling t = {.json = o->json};
    enum err err = comparison_open(c, r, v->arguments, &why);
    if (err) {
        mem_free(c);
        return err == ERR_CANCELED ? fail("interrupted") : fail_with(err, &why);
    }
    begin(c, o->json);
    err = comparison_run(c, 0, tell, &t);
    int status = STATUS_DONE;
    if (err == ERR_CANCELED)
        status = fail("interrupted");
    else if (err)
        status = fail("diff: this process was declared dead by another server; try again");
    else
        end(&t);
    if (!status && t.bytes[DIFFERENCE_UNREADABLE])
        status = fail("diff: pages of the map cannot be read; the log above says which");
    if (fflush(stdout) || ferror(stdout))
        status = fail("diff: standard output cannot be written");
    comparison_close(c);
    mem_free(c);
    return status;
}

static int run(const struct invocation *v)
{
    int status = volume_name_status(v->arguments[0]);
    if (!status)
        status = volume_name_status(v->arguments[1]);
    if (status)
        return status;
    struct runtime r;
    status = runtime_open(&r, v->store, RUNTIME_WRITE, NULL);
    return status ? status : runtime_close(&r, run_in(&r, v));
}

const struct command diff_command = {
    .name = "diff",
    .arguments = {"A", "B"},
    .summary = "show where two disks or snapshots differ",
    .details =
        "Lists the ranges in which A and B differ, each a NAME or a NAME@SNAPSHOT, at the cost of what\n"
        "differs: what both share is not read. An export that is open is taken as it was at its last\n"
        "checkpoint. Data is compared by the hashes of what is stored: a range may be listed that was\n"
        "written again with the same bytes, and none is missed. `allocation` reads as zeros on both\n"
        "sides, but is a hole on one of them only.\n",
    .specs = specs,
    .spec_count = COUNT_OF(specs),
    .options_bytes = sizeof(struct diff_options),
    .log_level = LOG_WARN,
    .run = run,
};
