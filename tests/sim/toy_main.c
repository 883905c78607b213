/* Shows that the models find what they are there to find: each mistake planted in the toy fails within some
 * seeds, and without any all of them pass. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coverage.h"
#include "run.h"
#include "seeds.h"
#include "toy.h"

#define SEEDS 20

int main(int argc, char **argv)
{
    unsigned failed = 0;
    coverage_init();
    run_small = true;
    if (argc == 3) { /* toy BUG SEED: one run, with its trace */
        for (int b = 0; b < TOY_BUGS; b++)
            if (strcmp(argv[1], toy_bug_names[b]) == 0)
                toy_bug = (enum toy_bug)b;
        run_seed(strtoull(argv[2], NULL, 10), true);
        return 0;
    }
    for (int b = 0; b < TOY_BUGS; b++) {
        toy_bug = (enum toy_bug)b;
        struct seeds s = {.start = 1, .count = SEEDS, .jobs = 1, .seconds = 20, .quiet = b != TOY_NO_BUG};
        uint64_t found = seeds_run(&s);
        bool right = b == TOY_NO_BUG ? found == 0 : found > 0;
        printf("%-24s %3llu of %d seeds fail%s\n", toy_bug_names[b], (unsigned long long)found, SEEDS,
               right ? "" : "   <- WRONG");
        failed += !right;
    }
    printf("%u passed, %u failed\n", TOY_BUGS - failed, failed);
    return failed != 0;
}
