#include "restart.h"

#include <sys/prctl.h>

#include "monitor.h"
#include "wire.h"

/* Docker's: doubled each time, forgotten after a run of ten seconds. */
enum { FIRST_DELAY_MS = 100, LONGEST_DELAY_MS = 60000 };
static const uint64_t long_run_ns = 10000000000u;

/* Two numbers, or zeros where there is no such file. */
static void read_counts(int directory, struct restart *restart)
{
    char text[64];
    uint64_t *numbers[] = {&restart->count, &restart->delay_ms};
    *restart = (struct restart){0};
    if (read_text(directory, "restarts", text, sizeof text) < 0)
        return;
    const char *at = text;
    for (size_t i = 0; i < COUNT(numbers); i++, at += *at == ' ')
        for (; *at >= '0' && *at <= '9'; at++)
            *numbers[i] = *numbers[i] * 10 + (uint64_t)(*at - '0');
}

static int write_counts(int directory, const struct restart *restart)
{
    char line[64];
    struct text text = text_in(line, sizeof line);
    text_u64(&text, restart->count);
    text_char(&text, ' ');
    text_u64(&text, restart->delay_ms);
    text_char(&text, '\n');
    AUTO_CLOSE int fd = state_open_new(directory, "restarts");
    if (fd < 0 || write_all(fd, line, (size_t)(text.at - line)) < 0)
        return -1;
    return state_publish(directory, "restarts");
}

static bool applies(const char *policy, const struct exit_state *state, uint64_t count)
{
    if (strncmp(policy, "always ", 7) == 0 || strncmp(policy, "unless-stopped ", 15) == 0)
        return true;
    if (strncmp(policy, "on-failure ", 11) != 0 || state->code == 0)
        return false;
    uint64_t most = 0;
    for (const char *at = policy + 11; *at >= '0' && *at <= '9'; at++)
        most = most * 10 + (uint64_t)(*at - '0');
    return most == 0 || count < most;
}

bool restart_decide(const char *directory, const struct exit_state *state, uint64_t ran_ns, struct restart *restart)
{
    char policy[64];
    AUTO_CLOSE int dir = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || read_text(dir, "restart", policy, sizeof policy) < 0)
        return false;
    read_counts(dir, restart);
    if (!applies(policy, state, restart->count) || faccessat(dir, "stopped", F_OK, 0) == 0)
        return false;
    if (ran_ns >= long_run_ns)
        restart->delay_ms = 0;
    restart->delay_ms = restart->delay_ms ? restart->delay_ms * 2 : FIRST_DELAY_MS;
    if (restart->delay_ms > LONGEST_DELAY_MS)
        restart->delay_ms = LONGEST_DELAY_MS;
    restart->count++;
    /* Without a record of it a loop would know no bounds. */
    return write_counts(dir, restart) == 0;
}

int restart_write(int run_dir, const struct exit_state *state, const struct restart *restart)
{
    char boot[64], line[320];
    AUTO_CLOSE int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (proc < 0 || read_text(proc, "sys/kernel/random/boot_id", boot, sizeof boot) < 0)
        return -1;
    boot[strcspn(boot, "\n")] = 0;
    uint64_t next_ns = clock_ns(CLOCK_REALTIME) + restart->delay_ms * 1000000u;
    const uint64_t numbers[] = {next_ns,          (uint64_t)state->code, state->oom,
                                state->started_ns, state->finished_ns,    restart->count};
    struct text text = text_in(line, sizeof line);
    text_str(&text, "restarting ");
    text_u64(&text, (uint64_t)getpid());
    text_char(&text, ' ');
    text_u64(&text, start_ticks(proc, getpid()));
    text_char(&text, ' ');
    text_str(&text, boot);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        text_char(&text, ' ');
        text_u64(&text, numbers[i]);
    }
    text_char(&text, '\n');
    AUTO_CLOSE int fd = state_open_new(run_dir, "status");
    if (fd < 0 || write_all(fd, line, (size_t)(text.at - line)) < 0)
        return -1;
    return state_publish(run_dir, "status");
}

_Noreturn void restart_wait(const struct restart *restart, char **arguments)
{
    prctl(PR_SET_NAME, "tiffin-waiting", 0, 0, 0);
    struct timespec left = {(time_t)(restart->delay_ms / 1000), (long)(restart->delay_ms % 1000) * 1000000};
    release_program();
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        continue;
    monitor_run_on_exit(arguments);
}
