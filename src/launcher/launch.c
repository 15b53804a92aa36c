/* Role launch: from the plan to a running container with its monitor. */
#include "base.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "kernel.h"
#include "monitor.h"
#include "roles.h"
#include "spawn.h"
#include "wire.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER _IO('T', 0x41)
#endif

struct launch {
    struct plan plan;
    struct spawn spawn;
    struct child child;
    struct failure failure;
    struct monitor *monitor;
    struct field on_exit, again, runtime_delete;
    pid_t helper; /* who has another runtime make the container */
    struct op device;
    int run_dir_op, health_op;
    bool owner;
    int child_ends[3];
    int passed;
    bool passed_stdio;
    int channel;
};

static void note_op(struct launch *launch, const struct op *op)
{
    struct monitor *monitor = launch->monitor;
    const struct field *field = op->field;
    switch (op->code) {
    case OP_RUN_DIR:
        monitor->options.run_dir = field[0].bytes;
        launch->run_dir_op = op->index;
        break;
    case OP_EXIT_FILE:
        monitor->options.exit_file = field[0].bytes;
        break;
    case OP_STDIO:
        monitor->options.tty = field[0].number & STDIO_TTY;
        monitor->options.open_stdin = field[0].number & STDIO_OPEN_STDIN;
        launch->passed_stdio = field[0].number & STDIO_PASSED;
        break;
    case OP_TTY_SIZE:
        launch->child.rows = field[0].number;
        launch->child.columns = field[1].number;
        break;
    case OP_CGROUP_REMOVE:
        monitor->options.remove[monitor->options.remove_count++] = field[0].bytes;
        break;
    case OP_OOM_FILE:
        monitor->options.oom_file = field[0].bytes;
        break;
    case OP_ON_EXIT:
        launch->on_exit = field[0];
        break;
    case OP_HEALTH:
        monitor->options.health = (struct health_options){
            .plan = field[0].bytes, .enter = field[1].number, .interval_ns = field[2].number,
            .timeout_ns = field[3].number, .start_period_ns = field[4].number, .start_interval_ns = field[5].number,
            .retries = field[6].number, .freezer = monitor->options.health.freezer,
            .frozen = monitor->options.health.frozen};
        launch->health_op = op->index;
        break;
    case OP_FREEZER:
        monitor->options.health.freezer = field[0].bytes;
        monitor->options.health.frozen = field[1].bytes;
        break;
    case OP_RESTART:
        monitor->options.directory = field[0].bytes;
        launch->again = field[1];
        break;
    case OP_RUNTIME:
        launch->runtime_delete = field[2];
        break;
    case OP_DEVICE_BPF:
        launch->device = *op;
        break;
    case OP_EVENTS:
        monitor->events.path = field[0].bytes;
        monitor->events.actor = field[1].bytes;
        break;
    case OP_EVENT_LAST:
        monitor->events.last[monitor->events.last_count++] = field[0].bytes;
        break;
    default:
        if (!log_note(&monitor->log, op))
            spawn_note(&launch->spawn, op);
    }
}

static void note_plan(struct launch *launch)
{
    struct cursor cursor = plan_begin(&launch->plan);
    struct op op;
    while (plan_next(&cursor, &op))
        note_op(launch, &op);
    launch->monitor->options.shared_pids = !(launch->spawn.clone_flags & CLONE_NEWPID);
}

static size_t copied_size(const char *string)
{
    return string ? strlen(string) + 1 : 0;
}

static const char *copy(char **room, const char *string)
{
    if (!string)
        return NULL;
    size_t size = copied_size(string);
    char *start = memcpy(*room, string, size);
    *room += size;
    return start;
}

/* Copy an argument list, its array of pointers first; NULL for an empty one. */
static char **copy_list(char **room, const struct field *list)
{
    if (!list->size)
        return NULL;
    char **array = (char **)(void *)*room;
    *room += (list->size + 1) * sizeof(char *);
    char *arguments[MAX_ON_EXIT + 1];
    field_strings(list, arguments);
    for (uint32_t i = 0; i < list->size; i++)
        array[i] = (char *)(uintptr_t)copy(room, arguments[i]);
    /* The next list begins with pointers, too. */
    *room += -(uintptr_t)*room & (sizeof(char *) - 1);
    return array;
}

static size_t list_size(const struct field *list)
{
    char *arguments[MAX_ON_EXIT + 1] = {NULL};
    if (list->size)
        field_strings(list, arguments);
    size_t size = (list->size + 2) * sizeof(char *);
    for (char **argument = arguments; *argument; argument++)
        size += copied_size(*argument);
    return size;
}

/* Copy what the monitor keeps to pages of its own and give the plan's back: a seccomp program alone is 4 pages. */
static int keep_options(struct launch *launch)
{
    struct options *options = &launch->monitor->options;
    const char **strings[] = {&options->exit_file,   &options->oom_file,
                              &options->directory,   &options->health.plan,    &options->health.freezer,
                              &options->health.frozen};
    size_t size = list_size(&launch->on_exit) + list_size(&launch->again) + list_size(&launch->runtime_delete) +
                  event_room(&launch->monitor->events) + log_kept_size(&launch->monitor->log);
    for (size_t i = 0; i < COUNT(strings); i++)
        size += copied_size(*strings[i]);
    for (int i = 0; i < options->remove_count; i++)
        size += copied_size(options->remove[i]);
    char *room = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return failed(&launch->failure, "mmap", NULL);
    options->on_exit = copy_list(&room, &launch->on_exit);
    options->again = copy_list(&room, &launch->again);
    options->runtime_delete = copy_list(&room, &launch->runtime_delete);
    options->run_dir = NULL;
    for (size_t i = 0; i < COUNT(strings); i++)
        *strings[i] = copy(&room, *strings[i]);
    for (int i = 0; i < options->remove_count; i++)
        options->remove[i] = copy(&room, options->remove[i]);
    event_copy(&launch->monitor->events, &room);
    log_keep(&launch->monitor->log, room);
    plan_free(&launch->plan);
    return 0;
}

/* Away from the engine's session, directory, terminal and signals. */
static int detach(struct launch *launch)
{
    CHECK(&launch->failure, setsid(), "setsid", NULL);
    CHECK(&launch->failure, chdir("/"), "chdir", "/");
    AUTO_CLOSE int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    CHECK(&launch->failure, null, "open", "/dev/null");
    for (int fd = 0; fd < 3; fd++)
        CHECK(&launch->failure, dup2(null, fd), "dup2", "/dev/null");
    struct sigaction action = {.sa_handler = SIG_IGN};
    for (int number = 1; number < NSIG; number++)
        if (number != SIGCHLD && number != SIGSEGV && number != SIGBUS && number != SIGABRT && number != SIGILL &&
            number != SIGFPE)
            sigaction(number, &action, NULL);
    action.sa_handler = SIG_DFL;
    sigaction(SIGCHLD, &action, NULL);
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_SETMASK, &ended, NULL);
    launch->monitor->signals = signalfd(-1, &ended, SFD_CLOEXEC | SFD_NONBLOCK);
    CHECK(&launch->failure, launch->monitor->signals, "signalfd", NULL);
    prctl(PR_SET_NAME, "tiffin-monitor", 0, 0, 0);
    return 0;
}

/* A pipe for each stream; a terminal's comes from the child instead. Ours are non-blocking, the container's not. */
static int make_pipes(struct launch *launch)
{
    struct monitor *monitor = launch->monitor;
    launch->child.passed_from = PASSED_FD + (launch->passed_stdio ? 3 : 0);
    launch->child.passed_left = launch->passed - (launch->passed_stdio ? 3 : 0);
    REQUIRE(&launch->failure, launch->child.passed_left >= 0, EBADF, "pass", "stdio");
    if (monitor->options.tty)
        return 0;
    for (int i = 0; i < 3 && launch->passed_stdio; i++)
        launch->child_ends[i] = PASSED_FD + i;
    for (int i = 0; i < 3 && !launch->passed_stdio; i++) {
        int ends[2];
        if (i == 0 && !monitor->options.open_stdin)
            continue;
        CHECK(&launch->failure, pipe2(ends, O_CLOEXEC), "pipe2", NULL);
        int ours = i == 0 ? ends[1] : ends[0];
        launch->child_ends[i] = i == 0 ? ends[0] : ends[1];
        CHECK(&launch->failure, fcntl(ours, F_SETFL, O_NONBLOCK), "fcntl", NULL);
        if (i == 0)
            monitor->stdin_fd = ours;
        else
            monitor->streams[i - 1].fd = ours;
    }
    return 0;
}

static int start_child(struct launch *launch)
{
    struct monitor *monitor = launch->monitor;
    if (launch->device.code) {
        const struct field *field = launch->device.field;
        launch->failure.op = launch->device.index;
        CHECK(&launch->failure, cgroup_attach_device_program(field[0].bytes, field[1].bytes, field[1].size), "bpf",
              field[0].bytes);
    }
    launch->failure.op = -1;
    if (make_pipes(launch) < 0)
        return -1;
    memcpy(launch->child.stdio, launch->child_ends, sizeof launch->child_ends);
    const int ours[] = {STATUS_FD,
                        launch->owner ? OWNER_IN_FD : -1,
                        launch->owner ? OWNER_OUT_FD : -1,
                        monitor->streams[0].fd,
                        monitor->streams[1].fd,
                        monitor->stdin_fd,
                        monitor->signals};
    monitor->child = spawn_child(&launch->spawn, &launch->child, &launch->channel, ours, COUNT(ours), &launch->failure);
    for (int i = 0; i < 3; i++)
        close_fd(&launch->child_ends[i]);
    /* They are the container's alone: who waits for their end waits for its end, not for ours. */
    for (int i = 0; i < launch->child.passed_left; i++)
        close(launch->child.passed_from + i);
    return monitor->child > 0 ? 0 : -1;
}

/* While the child mounts, on the other processor: everything that others will look for. */
static int prepare_monitor(struct launch *launch)
{
    struct monitor *monitor = launch->monitor;
    const char *run_dir = monitor->options.run_dir;
    launch->failure.op = launch->run_dir_op;
    monitor->run_dir = open(run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(&launch->failure, monitor->run_dir, "open", run_dir);
    monitor->listener = state_listen(monitor->run_dir);
    CHECK(&launch->failure, monitor->listener, "listen", run_dir);
    if (log_open(&monitor->log, &launch->failure) < 0)
        return -1;
    if (!launch->owner)
        return 0;
    monitor->clients = client_new(OWNER_IN_FD, OWNER_OUT_FD, true);
    REQUIRE(&launch->failure, monitor->clients, ENOMEM, "mmap", "the owner's buffer");
    monitor->client_count = 1;
    return 0;
}

static int take_console(struct launch *launch, int master)
{
    struct monitor *monitor = launch->monitor;
    CHECK(&launch->failure, fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK), "fcntl", "the terminal");
    monitor->streams[0].fd = monitor->stdin_fd = master;
    /* Without this one, reading would fail while the program has its terminal closed. */
    monitor->slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return 0;
}

static int await_exec(struct launch *launch, uint64_t *ticks)
{
    struct monitor *monitor = launch->monitor;
    struct handshake handshake = {.console = -1};
    int step;
    while ((step = handshake_step(launch->channel, &handshake, &launch->failure)) > 0) {
        if (handshake.console >= 0 && monitor->stdin_fd < 0 && take_console(launch, handshake.console) < 0)
            return -1;
        if (!handshake.ready)
            continue;
        if (handshake.container) {
            launch->helper = monitor->child;
            monitor->child = handshake.container;
        }
        AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        *ticks = proc < 0 ? 0 : start_ticks(proc, monitor->child);
        monitor->started_ns = clock_ns(CLOCK_REALTIME);
        monitor->began_ns = clock_ns(CLOCK_MONOTONIC);
        launch->failure.op = launch->run_dir_op;
        if (monitor->options.health.plan) {
            launch->failure.op = launch->health_op;
            monitor->health = health_begin(&monitor->options.health, monitor->run_dir, monitor->child, *ticks);
            REQUIRE(&launch->failure, monitor->health, errno, "prepare", "the health check");
            launch->failure.op = launch->run_dir_op;
        }
        CHECK(&launch->failure, state_write_running(monitor->run_dir, monitor->child, *ticks, monitor->started_ns),
              "write", "the status file");
        CHECK(&launch->failure, handshake_release(launch->channel), "release", "the program");
    }
    if (step < 0)
        return -1;
    if (handshake.ready) {
        if (launch->helper)
            RETRY(waitpid(launch->helper, NULL, 0));
        return 0;
    }
    int status = 0;
    kill(monitor->child, SIGKILL);
    RETRY(waitpid(monitor->child, &status, 0));
    monitor->child = -1;
    const char *oom_file = monitor->options.oom_file;
    describe_death(status, oom_file && cgroup_saw_oom(oom_file), &launch->failure);
    return -1;
}

/* Clean up first, then tell: the engine finds nothing left. */
static _Noreturn void give_up(struct launch *launch)
{
    struct monitor *monitor = launch->monitor;
    if (monitor->child > 0) {
        kill(monitor->child, SIGKILL);
        RETRY(waitpid(monitor->child, NULL, 0));
    }
    if (launch->helper) {
        kill(launch->helper, SIGKILL);
        RETRY(waitpid(launch->helper, NULL, 0));
    }
    if (launch->runtime_delete.size) {
        char *words[MAX_RUNTIME_WORDS + 1];
        field_strings(&launch->runtime_delete, words);
        monitor_delete_foreign(words);
    }
    monitor_abandon(monitor);
    if (report_failure(STATUS_FD, &launch->failure) < 0 && launch->on_exit.size) {
        /* The engine is gone, so nobody else will tidy up. */
        char *arguments[MAX_ON_EXIT + 1];
        field_strings(&launch->on_exit, arguments);
        monitor_run_on_exit(arguments);
    }
    _exit(1);
}

static _Noreturn void launch_container(int passed)
{
    static struct monitor monitor = {
        .run_dir = -1, .listener = -1, .signals = -1, .slave = -1, .stdin_fd = -1, .child = -1, .log = {.fd = -1},
        .streams = {{.fd = -1, .kind = STREAM_STDOUT}, {.fd = -1, .kind = STREAM_STDERR}}};
    struct launch launch = {.monitor = &monitor, .failure = {.op = -1}, .child_ends = {-1, -1, -1}, .channel = -1};
    launch.spawn.enter_pidfd = -1;
    launch.passed = passed;
    launch.child.plan = &launch.plan;
    launch.child.role = ROLE_LAUNCH;
    launch.child.failure = &launch.failure;
    uint64_t ticks = 0;
    /* Before anything else is opened, which could get these numbers. */
    launch.owner =
        fcntl(OWNER_IN_FD, F_SETFD, FD_CLOEXEC) == 0 && fcntl(OWNER_OUT_FD, F_SETFD, FD_CLOEXEC) == 0;
    fcntl(STATUS_FD, F_SETFD, FD_CLOEXEC);
    for (int fd = PASSED_FD; fd < PASSED_FD + passed; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (detach(&launch) < 0 || plan_read(&launch.plan, PLAN_FD, ROLE_LAUNCH, &launch.failure) < 0)
        give_up(&launch);
    close(PLAN_FD);
    note_plan(&launch);
    /* What another runtime makes is an orphan when that has done its work: ours. */
    if (launch.runtime_delete.size)
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (start_child(&launch) < 0 || prepare_monitor(&launch) < 0 || await_exec(&launch, &ticks) < 0)
        give_up(&launch);
    close(launch.channel);
    event_write(&monitor.events, monitor.run_dir, "start", "");
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
    report_started(STATUS_FD, monitor.child, ticks);
    close(STATUS_FD);
    state_reserve_exit(monitor.options.exit_file);
    if (keep_options(&launch) < 0)
        _exit(1);
    monitor_run(&monitor);
}

int role_launch(int passed)
{
    pid_t pid = fork();
    if (pid == 0)
        launch_container(passed);
    return report_fork(STATUS_FD, pid);
}
