/* The end of a container: its last output, its exit, its traces. */
#include "base.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "kernel.h"
#include "monitor.h"
#include "restart.h"

extern char **environ;

enum { DRAIN_IDLE_MS = 100, DRAIN_TOTAL_MS = 2000, STALLED_MS = 2000 };

static uint64_t now_ms(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

/* Read what is still in the pipes. They end with the last process; one that lives on elsewhere and holds them open
   gets a moment of silence, or a limit, to be done. */
static void drain(struct monitor *monitor)
{
    uint64_t deadline = now_ms() + DRAIN_TOTAL_MS;
    close_fd(&monitor->slave);
    for (;;) {
        struct pollfd polls[2];
        bool open = false;
        for (int i = 0; i < 2; i++) {
            polls[i] = (struct pollfd){monitor->streams[i].fd, POLLIN, 0};
            open = open || monitor->streams[i].fd >= 0;
        }
        if (!open || now_ms() >= deadline)
            return;
        int ready = poll(polls, 2, DRAIN_IDLE_MS);
        if (ready == 0)
            return;
        for (int i = 0; i < 2; i++)
            if (polls[i].revents && !monitor_copy_output(monitor, &monitor->streams[i]))
                monitor_close_stream(monitor, &monitor->streams[i]);
    }
}

static void remove_cgroups(struct monitor *monitor)
{
    for (int i = 0; i < monitor->options.remove_count; i++)
        cgroup_remove(monitor->options.remove[i]);
}

/* Without a pid namespace of its own the container's other processes are still there. */
static void kill_leftovers(struct monitor *monitor)
{
    if (!monitor->options.shared_pids)
        return;
    for (int tries = 0; tries < 20; tries++) {
        bool any = false;
        for (int i = 0; i < monitor->options.remove_count; i++)
            any = cgroup_kill(monitor->options.remove[i]) || any;
        if (!any)
            return;
        sleep_ms(5);
    }
}

static size_t exit_text(int code, char *buffer, size_t size)
{
    struct text text = text_in(buffer, size);
    text_u64(&text, (uint64_t)code);
    return (size_t)(text.at - buffer);
}

/* Wait for one client to take what is left. False when it is gone, or too slow. The owner is waited for as long as it
   is there: its user may be looking at a pager. Others get a moment. What it still sends is thrown away, or it might
   wait for us to read before it reads. */
static bool settle(struct monitor *monitor, struct client *client, uint64_t deadline)
{
    while (client_pending(client)) {
        uint64_t now = now_ms();
        if (!client->owner && now >= deadline)
            return false;
        struct pollfd polls[2] = {{client->out, POLLOUT, 0}, {client->in, POLLIN, 0}};
        if (poll(polls, 2, client->owner ? -1 : (int)(deadline - now)) < 0)
            continue;
        if (polls[1].revents && !monitor_serve_client(monitor, client))
            return false;
        if (polls[0].revents && client_flush(client) < 0)
            return false;
    }
    return true;
}

/* The owner's last word: true when it cleans up. Its input is of no use to anybody any more. */
static bool owner_claims(struct monitor *monitor, struct client *owner)
{
    while (!owner->claimed) {
        struct pollfd entry = {owner->in, POLLIN, 0};
        if (poll(&entry, 1, -1) > 0 && !monitor_serve_client(monitor, owner))
            return false;
    }
    return true;
}

static bool tell_clients(struct monitor *monitor, int code)
{
    char text[16];
    size_t size = exit_text(code, text, sizeof text);
    uint64_t deadline = now_ms() + STALLED_MS;
    for (struct client *client = monitor->clients, *next; client; client = next) {
        next = client->next;
        if (client_send(client, FRAME_EXIT, text, size) < 0)
            monitor_drop_client(monitor, client);
    }
    struct client *owner = NULL;
    for (struct client *client = monitor->clients; client; client = client->next) {
        if (client->owner)
            owner = client;
        else
            settle(monitor, client, deadline);
    }
    while (monitor->clients && (monitor->clients != owner || monitor->clients->next))
        monitor_drop_client(monitor, monitor->clients == owner ? owner->next : monitor->clients);
    if (!owner)
        return false;
    return settle(monitor, owner, 0) && owner_claims(monitor, owner);
}

_Noreturn void monitor_run_on_exit(char **arguments)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (sys_close_range(3, ~0u, 0) < 0)
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
    execve(arguments[0], arguments, environ);
    _exit(127);
}

/* Before the exit is recorded: whoever waits for that may write what comes after. */
static void tell_end(struct monitor *monitor, const struct exit_state *state)
{
    char more[96];
    struct text text = text_in(more, sizeof more);
    event_number(&text, "execDuration", (state->finished_ns - state->started_ns) / 1000000000u);
    event_number(&text, "exitCode", (uint64_t)state->code);
    if (state->oom)
        event_write(&monitor->events, monitor->run_dir, "oom", "");
    event_write(&monitor->events, monitor->run_dir, "die", more);
    event_write_last(&monitor->events);
}

void monitor_delete_foreign(char **arguments)
{
    pid_t pid = fork();
    if (pid == 0)
        monitor_run_on_exit(arguments);
    if (pid > 0)
        RETRY(waitpid(pid, NULL, 0));
}

_Noreturn void monitor_finish(struct monitor *monitor, int status)
{
    struct exit_state state = {.started_ns = monitor->started_ns, .finished_ns = clock_ns(CLOCK_REALTIME)};
    state.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    state.code = state.signal ? 128 + state.signal : WEXITSTATUS(status);
    kill_leftovers(monitor);
    drain(monitor);
    for (int i = 0; i < 2; i++)
        if (monitor->streams[i].fd >= 0)
            monitor_close_stream(monitor, &monitor->streams[i]);
    close_fd(&monitor->stdin_fd);
    monitor->stdin_fd = -1;
    state.oom = monitor->options.oom_file && cgroup_saw_oom(monitor->options.oom_file);
    if (monitor->health)
        health_end(monitor->health, monitor->options.directory);
    if (monitor->options.runtime_delete)
        monitor_delete_foreign(monitor->options.runtime_delete);
    remove_cgroups(monitor);
    tell_end(monitor, &state);
    /* Said before the exit is: nobody may find it ended, do nothing about it, and see it start again. */
    struct restart restart;
    uint64_t ran_ns = clock_ns(CLOCK_MONOTONIC) - monitor->began_ns;
    bool again = monitor->options.directory && restart_decide(monitor->options.directory, &state, ran_ns, &restart) &&
                 restart_write(monitor->run_dir, &state, &restart) == 0;
    /* Only now is the container over for others: nothing that a new start would make is still there. The status
       file goes last; without a recorded exit it stays, and tells of a monitor that is gone. */
    bool recorded = state_write_exit(monitor->options.exit_file, &state) == 0;
    monitor_accept_all(monitor);
    close_fd(&monitor->listener);
    state_remove_socket(monitor->run_dir);
    if (recorded && !again)
        state_remove_running(monitor->run_dir);
    bool claimed = tell_clients(monitor, state.code) || monitor->claimed;
    if (again)
        restart_wait(&restart, monitor->options.again);
    if (!claimed && monitor->options.on_exit)
        monitor_run_on_exit(monitor->options.on_exit);
    /* Nobody waits for it but a service manager, for whom it stands for the container. */
    _exit(state.code);
}

void monitor_abandon(struct monitor *monitor)
{
    kill_leftovers(monitor);
    remove_cgroups(monitor);
    if (monitor->run_dir >= 0) {
        state_remove_socket(monitor->run_dir);
        state_remove_running(monitor->run_dir);
    }
}
