/* Role create: a container as an OCI runtime makes it. Everything is set up but the program, which waits for `start`;
   nobody stays with it, the caller's reaper becomes its parent. */
#include "base.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "given.h"
#include "kernel.h"
#include "roles.h"
#include "spawn.h"
#include "wire.h"

struct creation {
    struct plan plan;
    struct spawn spawn;
    struct child child;
    struct failure failure;
    struct op maps;
    struct given_trees given;
    int channel;
    int proc;
    pid_t pid;
};

/* Both ends at once: opening does not wait for the other side, and the program sees no end of file before `start`. */
static int open_fifos(struct creation *creation, const struct op *op)
{
    creation->failure.op = op->index;
    creation->child.start = open(op->field[0].bytes, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    CHECK(&creation->failure, creation->child.start, "open", op->field[0].bytes);
    creation->child.result = open(op->field[1].bytes, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    CHECK(&creation->failure, creation->child.result, "open", op->field[1].bytes);
    return 0;
}

static int note_plan(struct creation *creation)
{
    struct cursor cursor = plan_begin(&creation->plan);
    struct op op;
    while (plan_next(&cursor, &op)) {
        const struct field *field = op.field;
        switch (op.code) {
        case OP_TTY_SIZE:
            creation->child.rows = field[0].number;
            creation->child.columns = field[1].number;
            break;
        case OP_WAIT_START:
            if (open_fifos(creation, &op) < 0)
                return -1;
            break;
        case OP_DEVICE_BPF:
            creation->failure.op = op.index;
            CHECK(&creation->failure, cgroup_attach_device_program(field[0].bytes, field[1].bytes, field[1].size),
                  "bpf", field[0].bytes);
            break;
        case OP_ID_MAPS:
            creation->maps = op;
            break;
        default:
            spawn_note(&creation->spawn, &op);
        }
    }
    creation->failure.op = -1;
    return 0;
}

static int write_process_file(struct creation *creation, const char *name, const struct field *value)
{
    if (!value->size)
        return 0;
    char path[64];
    struct text text = text_in(path, sizeof path);
    text_u64(&text, (uint64_t)creation->pid);
    text_char(&text, '/');
    text_str(&text, name);
    AUTO_CLOSE int fd = openat(creation->proc, path, O_WRONLY | O_CLOEXEC);
    CHECK(&creation->failure, fd, "open", name);
    CHECK(&creation->failure, RETRY(write(fd, value->bytes, value->size)), "write", name);
    return 0;
}

/* The child is in a user namespace that maps nobody yet. Only from outside may several ids be mapped. */
static int write_maps(struct creation *creation)
{
    creation->failure.op = creation->maps.index;
    if (write_process_file(creation, "uid_map", &creation->maps.field[0]) < 0 ||
        write_process_file(creation, "gid_map", &creation->maps.field[1]) < 0 ||
        write_process_file(creation, "oom_score_adj", &creation->maps.field[2]) < 0)
        return -1;
    creation->failure.op = -1;
    return 0;
}

/* The engine runs its hooks, then says so with one byte. An end instead means that one failed, or that it is gone. */
static int await_hooks(struct creation *creation)
{
    char line[32], done;
    struct text text = text_in(line, sizeof line);
    text_str(&text, "H ");
    text_u64(&text, (uint64_t)creation->pid);
    text_char(&text, '\n');
    CHECK(&creation->failure, write_all(STATUS_FD, line, (size_t)(text.at - line)), "write", "the engine");
    REQUIRE(&creation->failure, RETRY(read(HOOKS_DONE_FD, &done, 1)) == 1, ECANCELED, "hooks", NULL);
    return 0;
}

static int answer(struct creation *creation, struct handshake *handshake)
{
    if (handshake->console >= 0) {
        AUTO_CLOSE int master = handshake->console;
        handshake->console = -1;
        CHECK(&creation->failure, send_with_fd(STATUS_FD, "T\n", 2, master), "send", "the terminal");
    }
    if (!handshake->asked)
        return 0;
    int result = handshake->asked == MESSAGE_MAPS ? write_maps(creation) : await_hooks(creation);
    handshake->asked = 0;
    if (result < 0)
        return -1;
    CHECK(&creation->failure, handshake_release(creation->channel), "release", "the child");
    return 0;
}

static int await_ready(struct creation *creation)
{
    struct handshake handshake = {.console = -1};
    int step;
    while ((step = handshake_step(creation->channel, &handshake, &creation->failure)) > 0) {
        if (answer(creation, &handshake) < 0)
            return -1;
        if (!handshake.ready)
            continue;
        /* Whoever waits for this line may look at once for a process that is ready to be started: it is. */
        CHECK(&creation->failure, report_started(STATUS_FD, creation->pid, start_ticks(creation->proc, creation->pid)),
              "write", "the engine");
        CHECK(&creation->failure, handshake_release(creation->channel), "release", "the child");
        return 0;
    }
    if (step < 0)
        return -1;
    int status = 0;
    kill(creation->pid, SIGKILL);
    RETRY(waitpid(creation->pid, &status, 0));
    creation->pid = -1;
    describe_death(status, false, &creation->failure);
    return -1;
}

static int create(struct creation *creation)
{
    creation->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(&creation->failure, creation->proc, "open", "/proc");
    if (plan_read(&creation->plan, PLAN_FD, ROLE_CREATE, &creation->failure) < 0)
        return -1;
    close(PLAN_FD);
    if (note_plan(creation) < 0)
        return -1;
    if (given_take(&creation->given, &creation->plan, creation->maps.code, &creation->failure) < 0)
        return -1;
    creation->child.given = &creation->given;
    const int ours[] = {STATUS_FD, HOOKS_DONE_FD, creation->proc};
    creation->pid =
        spawn_child(&creation->spawn, &creation->child, &creation->channel, ours, COUNT(ours), &creation->failure);
    return creation->pid < 0 ? -1 : await_ready(creation);
}

int role_create(int passed)
{
    struct creation creation = {.failure = {.op = -1}, .channel = -1, .proc = -1, .pid = -1};
    creation.spawn.enter_pidfd = -1;
    creation.child.plan = &creation.plan;
    creation.child.role = ROLE_CREATE;
    creation.child.failure = &creation.failure;
    creation.child.start = creation.child.result = -1;
    creation.child.states[0] = CREATING_STATE_FD;
    creation.child.states[1] = CREATED_STATE_FD;
    for (int i = 0; i < 3; i++)
        creation.child.stdio[i] = -1;
    creation.child.passed_from = CREATE_PASSED_FD;
    creation.child.passed_left = passed;
    for (int fd = STATUS_FD; fd < CREATE_PASSED_FD + passed; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    struct sigaction action = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &action, NULL);
    prctl(PR_SET_NAME, "tiffin-create", 0, 0, 0);
    if (create(&creation) == 0)
        return 0;
    if (creation.pid > 0) {
        kill(creation.pid, SIGKILL);
        RETRY(waitpid(creation.pid, NULL, 0));
    }
    report_failure(STATUS_FD, &creation.failure);
    return 125;
}
