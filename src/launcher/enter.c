/* Role exec: a further process in a running container. */
#include "base.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "event.h"
#include "kernel.h"
#include "roles.h"
#include "spawn.h"
#include "wire.h"

struct entry {
    struct plan plan;
    struct spawn spawn;
    struct child child;
    struct failure failure;
    struct events events;
    int channel;
    int proc;
    pid_t pid;
};

/* Hold the container's first process by pidfd, then make sure that it is the one meant and not a later one. */
static int hold_process(struct entry *entry, const struct op *op)
{
    struct spawn *spawn = &entry->spawn;
    entry->failure.op = op->index;
    spawn->enter_op = op->index;
    spawn->enter_pid = (pid_t)op->field[0].number;
    spawn->enter_flags = op->field[2].number;
    spawn->enter_pidfd = sys_pidfd_open(spawn->enter_pid);
    if (spawn->enter_pidfd < 0 && !call_is_missing())
        return failed(&entry->failure, "pidfd_open", NULL);
    REQUIRE(&entry->failure, start_ticks(entry->proc, spawn->enter_pid) == op->field[1].number, ESRCH, "enter",
            "a process that has ended");
    return 0;
}

static int note_plan(struct entry *entry)
{
    struct cursor cursor = plan_begin(&entry->plan);
    struct op op;
    while (plan_next(&cursor, &op)) {
        if (op.code == OP_TTY_SIZE) {
            entry->child.rows = op.field[0].number;
            entry->child.columns = op.field[1].number;
        } else if (op.code == OP_ENTER) {
            if (hold_process(entry, &op) < 0)
                return -1;
        } else if (op.code == OP_EVENTS) {
            entry->events.path = op.field[0].bytes;
            entry->events.actor = op.field[1].bytes;
        } else {
            spawn_note(&entry->spawn, &op);
        }
    }
    entry->failure.op = -1;
    return 0;
}

static int send_console(struct entry *entry, int master)
{
    AUTO_CLOSE int fd = master;
    CHECK(&entry->failure, send_with_fd(STATUS_FD, "T\n", 2, fd), "send", "the terminal");
    return 0;
}

static int await_exec(struct entry *entry, uint64_t *ticks)
{
    struct handshake handshake = {.console = -1};
    int step;
    while ((step = handshake_step(entry->channel, &handshake, &entry->failure)) > 0) {
        if (handshake.console >= 0) {
            int master = handshake.console;
            handshake.console = -1;
            if (send_console(entry, master) < 0)
                return -1;
        }
        if (!handshake.ready)
            continue;
        *ticks = start_ticks(entry->proc, entry->pid);
        CHECK(&entry->failure, handshake_release(entry->channel), "release", "the program");
    }
    if (step < 0)
        return -1;
    if (handshake.ready)
        return 0;
    int status = 0;
    kill(entry->pid, SIGKILL);
    RETRY(waitpid(entry->pid, &status, 0));
    entry->pid = -1;
    describe_death(status, false, &entry->failure);
    return -1;
}

/* Pass signals on until the program has ended; its exit code. */
static int await_end(pid_t pid, const sigset_t *awaited)
{
    for (;;) {
        int status;
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid)
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        siginfo_t info;
        int number = sigwaitinfo(awaited, &info);
        if (number > 0 && number != SIGCHLD)
            kill(pid, number);
    }
}

/* The signals that a user or a manager sends to this process mean the program. */
static void block_signals(sigset_t *awaited)
{
    static const int passed_on[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};
    sigemptyset(awaited);
    for (size_t i = 0; i < COUNT(passed_on); i++)
        sigaddset(awaited, passed_on[i]);
    sigprocmask(SIG_SETMASK, awaited, NULL);
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &action, NULL);
    action.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &action, NULL);
}

static int start(struct entry *entry, uint64_t *ticks)
{
    entry->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(&entry->failure, entry->proc, "open", "/proc");
    if (plan_read(&entry->plan, PLAN_FD, ROLE_EXEC, &entry->failure) < 0)
        return -1;
    close(PLAN_FD);
    if (note_plan(entry) < 0)
        return -1;
    const int ours[] = {STATUS_FD, entry->proc};
    entry->pid = spawn_child(&entry->spawn, &entry->child, &entry->channel, ours, COUNT(ours), &entry->failure);
    if (entry->pid < 0)
        return -1;
    close_fd(&entry->spawn.enter_pidfd);
    for (int i = 0; i < entry->child.passed_left; i++)
        close(entry->child.passed_from + i);
    return await_exec(entry, ticks);
}

/* Give the plan's pages back, but for the few words that are needed at the end. */
static void keep_events(struct entry *entry)
{
    size_t size = event_room(&entry->events);
    char *room = size ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) : MAP_FAILED;
    if (room == MAP_FAILED)
        entry->events.path = NULL;
    else
        event_copy(&entry->events, &room);
    plan_free(&entry->plan);
}

int role_exec(bool detach, int passed)
{
    struct entry entry = {.failure = {.op = -1}, .channel = -1, .proc = -1, .pid = -1};
    entry.spawn.enter_pidfd = -1;
    entry.child.plan = &entry.plan;
    entry.child.role = ROLE_EXEC;
    entry.child.failure = &entry.failure;
    for (int i = 0; i < 3; i++)
        entry.child.stdio[i] = -1;
    entry.child.passed_from = PASSED_FD;
    entry.child.passed_left = passed;
    for (int fd = PASSED_FD; fd < PASSED_FD + passed; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    sigset_t awaited;
    block_signals(&awaited);
    fcntl(STATUS_FD, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_NAME, "tiffin-exec", 0, 0, 0);
    uint64_t ticks = 0;
    if (start(&entry, &ticks) < 0) {
        if (entry.pid > 0) {
            kill(entry.pid, SIGKILL);
            RETRY(waitpid(entry.pid, NULL, 0));
        }
        report_failure(STATUS_FD, &entry.failure);
        return 125;
    }
    report_started(STATUS_FD, entry.pid, ticks);
    /* Detached, the program belongs to the system's reaper from here on. */
    if (detach)
        return 0;
    keep_events(&entry);
    int code = await_end(entry.pid, &awaited);
    char more[32];
    struct text text = text_in(more, sizeof more);
    event_number(&text, "exitCode", (uint64_t)code);
    event_write(&entry.events, -1, "exec_die", more);
    report_exit(STATUS_FD, code);
    return code;
}
