#include "health.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "guard.h"
#include "roles.h"
#include "state.h"
#include "wire.h"

static const char file_name[] = "health";

/* Docker's: how many results are kept, and how many bytes of each one's output. */
enum { MAX_RESULTS = 5, MAX_OUTPUT = 4096 };

/* How long what was killed may take to be gone. */
enum { PATIENCE_NS = 1000000000 };

/* How a check ended: its program ran, ran and wrote more than is kept, took too long, or could not be run. */
enum how { RAN, CUT, TIMEOUT, FAILED };
static const char *const hows[] = {"ran", "cut", "timeout", "failed"};

struct result {
    uint64_t start_ns, end_ns; /* since the epoch */
    int code;                  /* of the program, or -1 */
    int reason;                /* errno of FAILED */
    enum how how;
    size_t size;
    char output[MAX_OUTPUT];
};

struct health {
    const struct health_options *options;
    int run_dir;
    pid_t pid; /* the container's first process */
    enum { STARTING, HEALTHY, UNHEALTHY } status;
    bool changed;
    uint64_t streak;
    uint64_t began_ns, due_ns, deadline_ns; /* CLOCK_MONOTONIC; the deadline is that of a check under way */
    pid_t role;                             /* the launcher that carries a check out, or 0 */
    pid_t program;                          /* what it runs, once it said so */
    uint64_t program_ticks;
    bool recorded;                          /* the result is known already; the role has only to be gone */
    int output, said;                       /* ends of pipes, -1 between checks */
    size_t line_used;
    char line[400];
    int first, count;                       /* of the results, a ring */
    struct result results[MAX_RESULTS + 1]; /* the one more is that of the check under way */
};

static uint64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static struct result *nth(struct health *health, int index)
{
    return &health->results[(health->first + index) % (MAX_RESULTS + 1)];
}

static struct result *current(struct health *health)
{
    return nth(health, health->count);
}

static void put(struct text *text, uint64_t number)
{
    text_u64(text, number);
    text_char(text, ' ');
}

/* "health STATUS STREAK COUNT", then for each result "START END CODE HOW ERRNO SIZE", SIZE bytes, and a line end.
   See state/health.py. */
static int write_file(struct health *health, int directory)
{
    static const char *const names[] = {"starting ", "healthy ", "unhealthy "};
    AUTO_CLOSE int fd = state_open_new(directory, file_name);
    if (fd < 0)
        return -1;
    char line[160];
    struct text text = text_in(line, sizeof line);
    text_str(&text, "health ");
    text_str(&text, names[health->status]);
    put(&text, health->streak);
    text_u64(&text, (uint64_t)health->count);
    text_char(&text, '\n');
    if (write_all(fd, line, (size_t)(text.at - line)) < 0)
        return -1;
    for (int i = 0; i < health->count; i++) {
        const struct result *result = nth(health, i);
        text = text_in(line, sizeof line);
        put(&text, result->start_ns);
        put(&text, result->end_ns);
        if (result->code < 0)
            text_str(&text, "-1 ");
        else
            put(&text, (uint64_t)result->code);
        text_str(&text, hows[result->how]);
        text_char(&text, ' ');
        put(&text, (uint64_t)result->reason);
        text_u64(&text, result->size);
        text_char(&text, '\n');
        if (write_all(fd, line, (size_t)(text.at - line)) < 0 || write_all(fd, result->output, result->size) < 0 ||
            write_all(fd, "\n", 1) < 0)
            return -1;
    }
    return state_publish(directory, file_name);
}

/* Docker's: a first success is looked for more often while the container starts. */
static uint64_t interval(const struct health *health, uint64_t now)
{
    bool starting = health->status == STARTING && now - health->began_ns < health->options->start_period_ns;
    return starting ? health->options->start_interval_ns : health->options->interval_ns;
}

static void put64(unsigned char *at, uint64_t number)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(number >> (8 * i));
}

static int name_process(const struct health_options *options, pid_t pid, uint64_t ticks)
{
    unsigned char bytes[16];
    put64(bytes, (uint64_t)pid);
    put64(bytes + 8, ticks);
    AUTO_CLOSE int fd = open(options->plan, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    return RETRY(pwrite(fd, bytes, sizeof bytes, (off_t)options->enter)) == (long)sizeof bytes ? 0 : -1;
}

struct health *health_begin(const struct health_options *options, int run_dir, pid_t pid, uint64_t pid_ticks)
{
    if (name_process(options, pid, pid_ticks) < 0)
        return NULL;
    struct health *health =
        mmap(NULL, sizeof *health, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (health == MAP_FAILED)
        return NULL;
    health->options = options;
    health->run_dir = run_dir;
    health->pid = pid;
    health->output = health->said = -1;
    health->began_ns = now_ns();
    health->due_ns = health->began_ns + interval(health, health->began_ns);
    return write_file(health, run_dir) < 0 ? NULL : health;
}

static bool paused(const struct health *health)
{
    char text[32];
    const struct health_options *options = health->options;
    if (!options->freezer || read_text(AT_FDCWD, options->freezer, text, sizeof text) < 0)
        return false;
    return strncmp(text, options->frozen, strlen(options->frozen)) == 0;
}

/* The process that becomes the role: nothing of the monitor's but what it is given reaches it. */
static _Noreturn void become_role(int plan, int output, int said)
{
    char exec[] = "exec";
    char *arguments[] = {guard_name(), exec, NULL};
    char *environment[] = {NULL};
    /* The checks end with the monitor, as the container does. */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    /* Out of the way first: what is moved must not lie where something else is going to. */
    plan = fcntl(plan, F_DUPFD_CLOEXEC, 10);
    output = fcntl(output, F_DUPFD_CLOEXEC, 10);
    said = fcntl(said, F_DUPFD_CLOEXEC, 10);
    if (dup2(output, 1) == 1 && dup2(output, 2) == 2 && dup2(plan, PLAN_FD) == PLAN_FD &&
        dup2(said, STATUS_FD) == STATUS_FD)
        execve("/proc/self/exe", arguments, environment);
    _exit(125);
}

static pid_t spawn_role(struct health *health)
{
    AUTO_CLOSE int plan = open(health->options->plan, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (plan < 0)
        return -1;
    int output[2], said[2];
    if (pipe2(output, O_CLOEXEC) < 0)
        return -1;
    AUTO_CLOSE int output_end = output[1];
    AUTO_CLOSE int output_ours = output[0];
    if (pipe2(said, O_CLOEXEC) < 0)
        return -1;
    AUTO_CLOSE int said_end = said[1];
    AUTO_CLOSE int said_ours = said[0];
    /* Ours are non-blocking: a reader that waited for a check would keep the container's output waiting. */
    if (fcntl(output_ours, F_SETFL, O_NONBLOCK) < 0 || fcntl(said_ours, F_SETFL, O_NONBLOCK) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0)
        become_role(plan, output_end, said_end);
    if (pid > 0) {
        health->output = keep_fd(&output_ours);
        health->said = keep_fd(&said_ours);
    }
    return pid;
}

/* Whether the container's first process is on its way out: it has given up its memory, and takes the others along. */
static bool ending(const struct health *health)
{
    char path[40], target[8];
    struct text text = text_in(path, sizeof path);
    text_str(&text, "/proc/");
    text_u64(&text, (uint64_t)health->pid);
    text_str(&text, "/exe");
    return readlink(path, target, sizeof target) < 0 && (errno == ENOENT || errno == ESRCH);
}

static void record(struct health *health, enum how how, int code)
{
    int before = (int)health->status;
    /* A check that the container's end has ended says nothing. */
    if (code != 0 && ending(health)) {
        health->recorded = true;
        return;
    }
    struct result *result = current(health);
    result->end_ns = clock_ns(CLOCK_REALTIME);
    result->how = how;
    result->code = code;
    health->recorded = true;
    if (health->count < MAX_RESULTS)
        health->count++;
    else
        health->first = (health->first + 1) % (MAX_RESULTS + 1);
    if (code == 0) {
        health->streak = 0;
        health->status = HEALTHY;
    } else if (health->status != STARTING || now_ns() - health->began_ns >= health->options->start_period_ns) {
        if (++health->streak >= health->options->retries)
            health->status = UNHEALTHY;
    }
    health->changed = health->changed || (int)health->status != before;
    /* On a full disk the file stays as it was; the next result tries again. */
    (void)!write_file(health, health->run_dir);
}

static void fail(struct health *health, int reason, const char *text)
{
    struct result *result = current(health);
    result->reason = reason;
    result->size = strnlen(text, sizeof result->output);
    memcpy(result->output, text, result->size);
    record(health, FAILED, -1);
}

static void start_check(struct health *health, uint64_t now)
{
    if (paused(health)) {
        health->due_ns = now + interval(health, now);
        return;
    }
    struct result *result = current(health);
    result->start_ns = clock_ns(CLOCK_REALTIME);
    result->size = 0;
    result->reason = 0;
    result->how = RAN;
    health->recorded = false;
    health->program = 0;
    health->line_used = 0;
    health->deadline_ns = now + health->options->timeout_ns;
    health->role = spawn_role(health);
    if (health->role < 0) {
        health->role = 0;
        fail(health, errno, "start the check");
        health->due_ns = now_ns() + interval(health, now);
    }
}

static void read_output(struct health *health)
{
    struct result *result = current(health);
    char rest[512];
    for (;;) {
        size_t room = health->recorded ? 0 : sizeof result->output - result->size;
        ssize_t n = RETRY(read(health->output, room ? result->output + result->size : rest, room ? room : sizeof rest));
        if (n <= 0) {
            /* Its end; what has begun something in the background that holds it open does not keep us waiting. */
            if (n == 0 || errno != EAGAIN) {
                close_fd(&health->output);
                health->output = -1;
            }
            return;
        }
        if (room)
            result->size += (size_t)n;
        else if (!health->recorded)
            result->how = CUT;
        if ((size_t)n < (room ? room : sizeof rest))
            return;
    }
}

static uint64_t number_at(const char **at)
{
    uint64_t number = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++)
        number = number * 10 + (uint64_t)(**at - '0');
    if (**at == ' ')
        (*at)++;
    return number;
}

/* A line of the role's: see wire.h. */
static void take_line(struct health *health, const char *line)
{
    const char *at = line + 2;
    switch (line[0]) {
    case 'S':
        health->program = (pid_t)number_at(&at);
        health->program_ticks = number_at(&at);
        break;
    case 'X':
        if (health->output >= 0)
            read_output(health);
        if (!health->recorded)
            record(health, current(health)->how, (int)number_at(&at));
        break;
    case 'E':
        at += strcspn(at, " ");
        at += *at == ' ';
        if (!health->recorded) {
            int reason = (int)number_at(&at);
            fail(health, reason, at);
        }
        break;
    default:
        break;
    }
}

/* False when the role is gone. */
static bool read_said(struct health *health)
{
    for (;;) {
        ssize_t n = RETRY(read(health->said, health->line + health->line_used,
                               sizeof health->line - 1 - health->line_used));
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n <= 0)
            return false;
        health->line_used += (size_t)n;
        char *newline;
        while ((newline = memchr(health->line, '\n', health->line_used))) {
            *newline = 0;
            take_line(health, health->line);
            health->line_used -= (size_t)(newline + 1 - health->line);
            memmove(health->line, newline + 1, health->line_used);
        }
        if (health->line_used == sizeof health->line - 1)
            return false;
    }
}

/* Kill the program with all that is left in its process group, which it leads. The role reaps it and ends: an orphan
   would wait for the host's first process, and the container's end would wait with it. A role that has no program yet,
   or does not get rid of it, is killed itself. */
static void kill_check(const struct health *health, bool insist)
{
    AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool known = health->program > 0 && proc >= 0 && start_ticks(proc, health->program) == health->program_ticks;
    if (known)
        kill(-health->program, SIGKILL);
    if (insist || !known)
        kill(health->role, SIGKILL);
}

static void role_gone(struct health *health)
{
    RETRY(waitpid(health->role, NULL, 0));
    health->role = 0;
    close_fd(&health->output);
    close_fd(&health->said);
    health->output = health->said = -1;
    if (!health->recorded)
        fail(health, EIO, "the launcher of the check was killed");
    uint64_t now = now_ns();
    health->due_ns = now + interval(health, now);
}

int health_wait(const struct health *health, struct pollfd *polls)
{
    polls[0] = (struct pollfd){health ? health->output : -1, POLLIN, 0};
    polls[1] = (struct pollfd){health ? health->said : -1, POLLIN, 0};
    if (!health)
        return -1;
    uint64_t now = now_ns(), then = health->role ? health->deadline_ns : health->due_ns;
    uint64_t left = then > now ? (then - now + 999999) / 1000000 : 0;
    return left > INT_MAX ? INT_MAX : (int)left;
}

static void turn(struct health *health, const struct pollfd *polls)
{
    uint64_t now = now_ns();
    if (!health->role) {
        if (now >= health->due_ns)
            start_check(health, now);
        return;
    }
    if (polls[0].fd >= 0 && polls[0].fd == health->output && polls[0].revents)
        read_output(health);
    if (polls[1].fd >= 0 && polls[1].revents && !read_said(health)) {
        role_gone(health);
        return;
    }
    if (now < health->deadline_ns)
        return;
    kill_check(health, health->recorded);
    health->deadline_ns = now + PATIENCE_NS;
    /* What was frozen in the middle of a check has not failed. */
    if (!health->recorded && !paused(health))
        record(health, TIMEOUT, -1);
    health->recorded = true;
}

const char *health_turn(struct health *health, const struct pollfd *polls)
{
    static const char *const told[] = {NULL, "health_status: healthy", "health_status: unhealthy"};
    turn(health, polls);
    if (!health->changed)
        return NULL;
    health->changed = false;
    return told[health->status];
}

void health_end(struct health *health, const char *directory)
{
    if (health->role)
        kill_check(health, true);
    for (int tries = 0; health->role && tries < 20 && waitpid(health->role, NULL, WNOHANG) == 0; tries++)
        sleep_ms(1);
    AUTO_CLOSE int kept = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (kept >= 0)
        (void)!write_file(health, kept);
}
