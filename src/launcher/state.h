/* The files by which the rest of the world knows about a container. Each is written whole, then renamed. */
#ifndef TIFFIN_STATE_H
#define TIFFIN_STATE_H

#include "base.h"

/* RUN_DIR/status: "running <monitor> <its start> <pid> <its start> <started ns> <boot id>". */
int state_write_running(int run_dir, pid_t pid, uint64_t pid_ticks, uint64_t started_ns);
void state_remove_running(int run_dir);

struct exit_state {
    int code;
    int signal;
    bool oom;
    uint64_t started_ns;
    uint64_t finished_ns;
};

/* Make EXIT_FILE.tmp and give it its block, so that a disk that fills up later cannot lose the exit. */
void state_reserve_exit(const char *path);

/* EXIT_FILE: "exited <code> <signal> <oom> <started ns> <finished ns>". */
int state_write_exit(const char *path, const struct exit_state *state);

/* A file that is written whole and then takes its name: open `name`.tmp, and rename it when all is written. */
int state_open_new(int dir, const char *name);
int state_publish(int dir, const char *name);

/* Listen on RUN_DIR/attach.sock. */
int state_listen(int run_dir);
void state_remove_socket(int run_dir);

#endif
