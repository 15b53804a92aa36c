/* Health checks: further processes in the container, run by the monitor when they are due. */
#ifndef TIFFIN_HEALTH_H
#define TIFFIN_HEALTH_H

#include "base.h"

struct pollfd;

/* What the plan says of them. */
struct health_options {
    const char *plan; /* a file with a plan for role exec; NULL: no checks */
    uint64_t enter;   /* where in it the process to enter is named: pid and start time, 8 bytes each */
    uint64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
    uint64_t retries;
    const char *freezer; /* a file that begins with `frozen` while the container is paused, or NULL */
    const char *frozen;
};

enum { HEALTH_POLLS = 2 };

struct health;

/* Name the container's first process in the plan and write RUN_DIR/health for the first time. NULL: see errno. */
struct health *health_begin(const struct health_options *options, int run_dir, pid_t pid, uint64_t pid_ticks);

/* What to wait for, and for how long at most: milliseconds, -1 for ever. */
int health_wait(const struct health *health, struct pollfd *polls);

/* After waiting: read what came, start a check that is due, end one that takes too long. The new status as the events
   name it when it has changed, else NULL. */
const char *health_turn(struct health *health, const struct pollfd *polls);

/* The container has ended. What is known of its last health is written to `directory`, where it is kept. */
void health_end(struct health *health, const char *directory);

#endif
