/* objstore_conformance URL [PREFIX/]: tries every rule of objstore.h against the store, in TAP. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "loop/uv_loop.h"
#include "objstore/store_url.h"
#include "objstore_conformance.h"

static unsigned rules;

static void report(struct conformance *c, const char *rule, const char *failure)
{
    (void)c;
    printf("%s %u - %s\n", failure ? "not ok" : "ok", ++rules, rule);
    if (failure)
        printf("# %s\n", failure);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct complaint why = {""};
    struct objstore *store;
    char prefix[80];
    if (argc < 2 || argc > 3 || (argc == 3 && strlen(argv[2]) >= sizeof prefix)) {
        fprintf(stderr, "usage: %s URL [PREFIX/]\n", argv[0]);
        return 2;
    }
    struct loop *l = uv_loop_create();
    uint64_t nonce;
    loop_random(l, &nonce, sizeof nonce);
    snprintf(prefix, sizeof prefix, "conformance-%016" PRIx64 "/", nonce);
    if (argc == 3)
        memcpy(prefix, argv[2], strlen(argv[2]) + 1);
    if (objstore_open(l, argv[1], &store, &why)) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    struct conformance c = {.loop = l, .store = store, .prefix = prefix, .report = report};
    unsigned failed = conformance_run(&c);
    printf("1..%u\n", rules);
    printf("# %" PRIu64 " GET, %" PRIu64 " PUT, %" PRIu64 " HEAD, %" PRIu64 " DELETE, %" PRIu64
           " LIST, %" PRIu64 " retries\n",
           store->counters.requests[OBJSTORE_GET], store->counters.requests[OBJSTORE_PUT],
           store->counters.requests[OBJSTORE_HEAD], store->counters.requests[OBJSTORE_DELETE],
           store->counters.requests[OBJSTORE_LIST], store->counters.retries);
    objstore_destroy(store);
    uv_loop_destroy(l);
    return failed != 0;
}
