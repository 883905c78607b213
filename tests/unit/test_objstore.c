/* The rules of objstore.h, on the stores that need nothing but this machine. */
#include <stdio.h>

#include "loop/uv_loop.h"
#include "objstore/dir.h"
#include "objstore/mem.h"
#include "objstore_conformance.h"
#include "scratch.h"
#include "unit.h"

static void report(struct conformance *c, const char *rule, const char *failure)
{
    (void)c;
    if (failure)
        fprintf(stderr, "# %s: %s\n", rule, failure);
}

static void conforms(struct loop *l, struct objstore *store, const char *prefix)
{
    struct conformance c = {.loop = l, .store = store, .prefix = prefix, .report = report};
    assert_int_equal(conformance_run(&c), 0);
    assert_true(store->counters.requests[OBJSTORE_PUT] > 1000);
    assert_true(store->counters.requests[OBJSTORE_LIST] > 100);
    assert_true(store->counters.bytes_out > ((uint64_t)4 << 20) &&
                store->counters.bytes_in > ((uint64_t)4 << 20));
}

static void mem_conforms(void **state)
{
    (void)state;
    struct loop *l = uv_loop_create();
    struct objstore *store = mem_store_create(l);
    conforms(l, store, "");
    conforms(l, store, "some/prefix/");
    objstore_destroy(store);
    uv_loop_destroy(l);
}

static void dir_conforms(void **state)
{
    (void)state;
    char path[SCRATCH_MAX];
    struct objstore *store;
    struct complaint why;
    scratch_make(path);
    struct loop *l = uv_loop_create();
    assert_int_equal(dir_store_create(l, path, &store, &why), ERR_OK);
    conforms(l, store, "");
    objstore_destroy(store);
    uv_loop_destroy(l);
    scratch_remove(path);
}

RUN_TESTS(cmocka_unit_test(mem_conforms), cmocka_unit_test(dir_conforms))
