/* Namespaces of other processes: entered by the process in between, so that neither parent nor child need go there. */
#include "spawn.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "kernel.h"
#include "mount.h"
#include "path.h"
#include "wire.h"

/* Enter the namespaces of a process, all at once, or one by one where the kernel cannot. */
static int enter_process(const struct spawn *spawn, struct failure *failure)
{
    static const struct {
        int kind;
        const char *name;
    } kinds[] = {{CLONE_NEWUSER, "user"}, {CLONE_NEWCGROUP, "cgroup"}, {CLONE_NEWIPC, "ipc"}, {CLONE_NEWUTS, "uts"},
                 {CLONE_NEWNET, "net"},   {CLONE_NEWPID, "pid"},       {CLONE_NEWTIME, "time"}, {CLONE_NEWNS, "mnt"}};
    failure->op = spawn->enter_op;
    if (spawn->enter_pidfd >= 0) {
        if (setns(spawn->enter_pidfd, (int)spawn->enter_flags) == 0)
            return 0;
        if (errno != EINVAL)
            return failed(failure, "setns", NULL);
    }
    int files[COUNT(kinds)];
    for (size_t i = 0; i < COUNT(kinds); i++) {
        files[i] = -1;
        if (!(spawn->enter_flags & (uint64_t)kinds[i].kind))
            continue;
        char path[64];
        struct text text = text_in(path, sizeof path);
        text_str(&text, "/proc/");
        text_u64(&text, (uint64_t)spawn->enter_pid);
        text_str(&text, "/ns/");
        text_str(&text, kinds[i].name);
        files[i] = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(failure, files[i], "open", path);
    }
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (files[i] >= 0) {
            CHECK(failure, setns(files[i], kinds[i].kind), "setns", kinds[i].name);
            close(files[i]);
        }
    return 0;
}

/* With what the plan's paths name open, nothing of a later process with a donor's number can be among it, as long as
   the donor itself is still there. */
static int check_donors(const struct spawn *spawn, struct failure *failure)
{
    if (!spawn->donor_count)
        return 0;
    AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(failure, proc, "open", "/proc");
    for (int i = 0; i < spawn->donor_count; i++) {
        failure->op = spawn->donors[i].op;
        REQUIRE(failure, start_ticks(proc, spawn->donors[i].pid) == spawn->donors[i].ticks, ESRCH, "join",
                "a process that has ended");
    }
    return 0;
}

/* Go to a mount namespace, and give the descriptor of a detached copy of what is mounted at a path there. No magic link
   is followed, and whatever its links say, the path stays below that namespace's root. */
static int borrow_here(int namespace, const struct borrowed *borrowed, struct failure *failure)
{
    const char *path = borrowed->path;
    CHECK(failure, setns(namespace, CLONE_NEWNS), "setns", "mnt");
    AUTO_CLOSE int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    CHECK(failure, root, "open", "/");
    AUTO_CLOSE int place = path_open(root, path);
    CHECK(failure, place, "open", path);
    AUTO_CLOSE int tree = clone_mount(place, false);
    CHECK(failure, tree, "open_tree", path);
    /* Whoever lives there may have put another mount over it. */
    struct statfs fs;
    CHECK(failure, fstatfs(tree, &fs), "statfs", path);
    bool wanted = !borrowed->file_system || fs.f_type == (__typeof__(fs.f_type))borrowed->file_system;
    REQUIRE(failure, wanted, ESTALE, "find the mount at", path);
    return keep_fd(&tree);
}

/* The same by a process that shares nothing with us but the table of descriptors: ours stays where it is. */
static int borrow(const struct borrowed *borrowed, int namespace, struct child *child, struct failure *failure)
{
    int pair[2];
    failure->op = borrowed->op;
    CHECK(failure, pipe2(pair, O_CLOEXEC), "pipe2", NULL);
    AUTO_CLOSE int answers = pair[0];
    AUTO_CLOSE int answer = pair[1];
    pid_t pid = (pid_t)syscall(SYS_clone, (unsigned long)(CLONE_FILES | SIGCHLD), NULL, NULL, NULL, 0);
    CHECK(failure, pid, "clone", NULL);
    if (pid == 0) {
        struct message message = {.failure = *failure};
        message.kind = borrow_here(namespace, borrowed, &message.failure);
        /* Not what the ends of the function would close: that would be the caller's. */
        _exit(write(answer, &message, sizeof message) < 0);
    }
    int status;
    RETRY(waitpid(pid, &status, 0));
    close_fd(&answer);
    answer = -1;
    struct message message;
    REQUIRE(failure, RETRY(read(answers, &message, sizeof message)) == (long)sizeof message, EIO, "open_tree",
            borrowed->path);
    if (message.kind < 0) {
        *failure = message.failure;
        return -1;
    }
    child->trees[borrowed->tree] = message.kind;
    return 0;
}

static int open_all(const struct spawn *spawn, int *files, int *mounts, struct failure *failure)
{
    for (int i = 0; i < spawn->join_count; i++) {
        failure->op = spawn->joins[i].op;
        files[i] = open(spawn->joins[i].path, O_RDONLY | O_CLOEXEC);
        CHECK(failure, files[i], "open", spawn->joins[i].path);
    }
    for (int i = 0; i < spawn->borrowed_count; i++) {
        failure->op = spawn->borrowed[i].op;
        mounts[i] = open(spawn->borrowed[i].namespace, O_RDONLY | O_CLOEXEC);
        CHECK(failure, mounts[i], "open", spawn->borrowed[i].namespace);
    }
    return check_donors(spawn, failure);
}

/* A time namespace takes its offsets before anybody lives in it: our child will be the first. */
static int unshare_time(const struct spawn *spawn, struct failure *failure)
{
    failure->op = spawn->time_op;
    CHECK(failure, unshare(CLONE_NEWTIME), "unshare", "time");
    if (*spawn->time_offsets)
        CHECK(failure, write_text(AT_FDCWD, "/proc/self/timens_offsets", spawn->time_offsets), "write",
              "/proc/self/timens_offsets");
    return 0;
}

int join_namespaces(const struct spawn *spawn, struct child *child, struct failure *failure)
{
    int files[MAX_JOINS], mounts[MAX_BORROWED];
    if (open_all(spawn, files, mounts, failure) < 0)
        return -1;
    for (int i = 0; i < spawn->borrowed_count; i++) {
        if (borrow(&spawn->borrowed[i], mounts[i], child, failure) < 0)
            return -1;
        close(mounts[i]);
    }
    for (int i = 0; i < spawn->join_count; i++) {
        const struct join *join = &spawn->joins[i];
        failure->op = join->op;
        CHECK(failure, setns(files[i], join->kind), "setns", join->path);
        close(files[i]);
    }
    if (spawn->enter_flags && enter_process(spawn, failure) < 0)
        return -1;
    return spawn->time_offsets ? unshare_time(spawn, failure) : 0;
}
