/* The monitor: the one process that stays beside a container. */
#ifndef TIFFIN_MONITOR_H
#define TIFFIN_MONITOR_H

#include "client.h"
#include "event.h"
#include "health.h"
#include "log.h"
#include "plan.h"
#include "state.h"

/* What the monitor needs from the plan, copied out of it so that the plan's pages can go. */
struct options {
    const char *run_dir;
    const char *exit_file;
    const char *oom_file;
    const char *remove[MAX_REMOVE];
    int remove_count;
    char **on_exit; /* NULL: nothing to run */
    char **runtime_delete; /* NULL: the container is our own */
    bool tty;
    bool open_stdin;
    const char *directory; /* the container's, where its restart policy is; NULL: never started again */
    char **again;          /* what starts it again */
    struct health_options health;
    bool shared_pids; /* members of the cgroup may outlive the first process */
};

/* A stream of the container's output with the unfinished line at its end. */
struct stream {
    int fd;
    int kind;
    size_t used;
    char line[CHUNK];
};

struct monitor {
    struct options options;
    struct log log;
    struct events events;
    int run_dir;
    int listener;
    int signals; /* signalfd for SIGCHLD */
    pid_t child;
    uint64_t started_ns;
    uint64_t began_ns; /* the same moment by CLOCK_MONOTONIC */
    struct health *health; /* NULL without checks */
    struct stream streams[2];
    int slave; /* kept open so that the terminal does not hang up while the container has it closed */
    int stdin_fd;
    bool stdin_closing;
    size_t stdin_start, stdin_end;
    char stdin_pending[CHUNK];
    struct client *clients;
    int client_count;
    bool claimed; /* the owner said that it cleans up, and left */
};

/* Serve until the container has ended and all is recorded; then exec ON_EXIT or exit. */
_Noreturn void monitor_run(struct monitor *monitor);

/* The steps of the end, in finish.c. */
_Noreturn void monitor_finish(struct monitor *monitor, int status);

/* Read from a stream once, to the clients and the log. False at its end. */
bool monitor_copy_output(struct monitor *monitor, struct stream *stream);

void monitor_close_stream(struct monitor *monitor, struct stream *stream);
void monitor_drop_client(struct monitor *monitor, struct client *client);

/* Take in the clients that wait to be let in. */
void monitor_accept_all(struct monitor *monitor);

_Noreturn void monitor_run_on_exit(char **arguments);

/* Read what a client sent. False when it is gone. */
bool monitor_serve_client(struct monitor *monitor, struct client *client);

/* Give back the program's text: what is needed again comes back from the page cache, by itself. */
void release_program(void);

/* Have another runtime forget its container, and kill what is left of it. */
void monitor_delete_foreign(char **arguments);

/* Undo what a launch that failed has made. */
void monitor_abandon(struct monitor *monitor);

#endif
