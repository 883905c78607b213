#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "volume/engine.h"

#include "unit.h"

static pid_t child_start(struct process_id *id)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct host host;
        host_init(&host);
        if (write(ends[1], &host.self, sizeof host.self) != sizeof host.self)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], id, sizeof *id), sizeof *id);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

static void a_process_knows_itself(void **state)
{
    (void)state;
    struct host host;
    host_init(&host);
    assert_int_equal(strlen(host.self.boot_id), 36);
    assert_true(host.self.pid == getpid() && host.self.pid_ns > 0 && host.self.start_time > 0);
    assert_true(host.self.host[0]);
    char line[1024] = {0};
    FILE *f = fopen("/proc/self/stat", "r");
    assert_non_null(fgets(line, sizeof line, f));
    fclose(f);
    char *field = strrchr(line, ')') + 1; /* behind the second */
    for (int i = 3; i < 22; i++)
        field = strchr(field + 1, ' ');
    assert_int_equal(host.self.start_time, strtoull(field, NULL, 10));
    assert_false(host.is_gone(&host, &host.self));
}

static void the_dead_are_known_and_nobody_else(void **state)
{
    (void)state;
    struct host host;
    struct process_id child, other;
    host_init(&host);
    pid_t pid = child_start(&child);
    assert_int_equal(child.pid, pid);
    assert_false(host.is_gone(&host, &child));
    other = child;
    other.start_time--;
    assert_true(host.is_gone(&host, &other)); /* the number was given away again */

    kill(pid, SIGKILL);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_true(host.is_gone(&host, &child)); /* ended, not yet waited for */
    waitpid(pid, NULL, 0);
    assert_true(host.is_gone(&host, &child));

    other = child;
    other.boot_id[0] = other.boot_id[0] == 'a' ? 'b' : 'a';
    assert_false(host.is_gone(&host, &other)); /* another boot, perhaps another machine of the same name */
    other = child;
    other.pid_ns++;
    assert_false(host.is_gone(&host, &other));
    other = child;
    other.pid = 0;
    assert_false(host.is_gone(&host, &other));
    other.pid = -1;
    assert_false(host.is_gone(&host, &other));
    other.pid = INT64_C(1) << 32 | child.pid;
    assert_false(host.is_gone(&host, &other));
}

static void who_does_not_know_itself_declares_nobody_gone(void **state)
{
    (void)state;
    struct host host;
    struct process_id child;
    host_init(&host);
    pid_t pid = child_start(&child);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    host.self.boot_id[0] = child.boot_id[0] = 0;
    assert_false(host.is_gone(&host, &child));
    host_init(&host);
    child = host.self;
    child.pid = pid;
    assert_true(host.is_gone(&host, &child));
    host.self.pid_ns = child.pid_ns = 0;
    assert_false(host.is_gone(&host, &child));
}

RUN_TESTS(cmocka_unit_test(a_process_knows_itself), cmocka_unit_test(the_dead_are_known_and_nobody_else),
          cmocka_unit_test(who_does_not_know_itself_declares_nobody_gone))
