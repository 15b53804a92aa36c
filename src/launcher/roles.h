/* What argv[1] may ask for. */
#ifndef TIFFIN_ROLES_H
#define TIFFIN_ROLES_H

#include "base.h"

/* Descriptors that the engine passes. */
enum { PLAN_FD = 3, STATUS_FD = 4, OWNER_IN_FD = 5, OWNER_OUT_FD = 6, PASSED_FD = 7 };

/* `passed` descriptors from PASSED_FD on are the container's. Start a container and stay as its monitor; the calling process returns at once. */
int role_launch(int passed);

/* Start a process in a running container and wait for it; with `detach`, do not wait. */
int role_exec(bool detach, int passed);

/* Hold the terminal whose master is PLAN_FD until its other side is closed. */
int role_hold(void);

/* Wait until it is time to start a container again whose last launch failed; the calling process returns at once. */
int role_wait(void);

/* Send the engine a descriptor of a new user namespace with these maps. */
int role_userns(const char *uid_map, const char *gid_map);

/* Wait for what the child says before its program runs. */
struct handshake {
    bool ready; /* it did everything but exec */
    pid_t container; /* the process to watch, where it is not the child itself */
    int console; /* the terminal's master, or -1 */
};

/* One message. 1: go on, 0: the channel ended, -1: the child failed, see failure. */
int handshake_step(int channel, struct handshake *handshake, struct failure *failure);

/* Let the program run. */
int handshake_release(int channel);

/* The child died without a word. */
void describe_death(int status, bool oom, struct failure *failure);

#endif
