/* Role wait: a launch that was to start a container again has failed, and is to be tried once more, later. */
#include "base.h"

#include <signal.h>

#include "monitor.h"
#include "restart.h"
#include "roles.h"
#include "wire.h"

static int begin(struct plan *plan, struct restart *restart, struct field *again, struct failure *failure)
{
    CHECK(failure, setsid(), "setsid", NULL);
    CHECK(failure, chdir("/"), "chdir", "/");
    if (plan_read(plan, PLAN_FD, ROLE_WAIT, failure) < 0)
        return -1;
    close(PLAN_FD);
    const char *run_dir = NULL, *directory = NULL;
    uint64_t now = clock_ns(CLOCK_REALTIME);
    struct exit_state state = {.code = 125, .started_ns = now, .finished_ns = now};
    struct cursor cursor = plan_begin(plan);
    struct op op;
    while (plan_next(&cursor, &op)) {
        if (op.code == OP_RUN_DIR) {
            run_dir = op.field[0].bytes;
        } else if (op.code == OP_RESTART) {
            directory = op.field[0].bytes;
            *again = op.field[1];
        } else {
            state.code = (int)op.field[0].number;
        }
    }
    REQUIRE(failure, restart_decide(directory, &state, 0, restart), ECANCELED, "restart", "the container");
    AUTO_CLOSE int run = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(failure, run, "open", run_dir);
    CHECK(failure, restart_write(run, &state, restart), "write", "the status file");
    return 0;
}

static _Noreturn void wait_and_try(void)
{
    struct plan plan;
    struct restart restart;
    struct field again = {0};
    struct failure failure = {.op = -1};
    fcntl(STATUS_FD, F_SETFD, FD_CLOEXEC);
    for (int number = 1; number < NSIG; number++)
        if (number != SIGCHLD)
            signal(number, SIG_IGN);
    if (begin(&plan, &restart, &again, &failure) < 0) {
        report_failure(STATUS_FD, &failure);
        _exit(1);
    }
    report_started(STATUS_FD, getpid(), 0);
    close(STATUS_FD);
    char *arguments[MAX_ON_EXIT + 1];
    field_strings(&again, arguments);
    restart_wait(&restart, arguments);
}

int role_wait(void)
{
    pid_t pid = fork();
    if (pid == 0)
        wait_and_try();
    return report_fork(STATUS_FD, pid);
}
