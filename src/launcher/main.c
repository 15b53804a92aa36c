/* tiffin-launch: carries out a plan. See runtime/ops.py for what a plan is. */
#include "base.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/prctl.h>

#include "guard.h"
#include "kernel.h"
#include "ops.h"
#include "roles.h"
#include "wire.h"

#ifndef TIFFIN_VERSION
#define TIFFIN_VERSION "unknown"
#endif

static const char usage[] = "usage: tiffin-launch launch [fds] | exec [-d] [fds] | wait | hold | userns UID_MAP GID_MAP | --version\n"
                            "A plan is read from descriptor 3, the outcome written to descriptor 4.\n";

/* Whatever the caller left open beyond the descriptors that a role knows must not reach a container. */
static void close_from(unsigned first)
{
    if (sys_close_range(first, ~0u, 0) == 0)
        return;
    DIR *fds = opendir("/proc/self/fd");
    if (!fds)
        return;
    int highest = -1;
    for (const struct dirent *entry; (entry = readdir(fds));) {
        int fd = atoi(entry->d_name);
        if (fd > highest)
            highest = fd;
    }
    closedir(fds);
    for (int fd = (int)first; fd <= highest; fd++)
        close(fd);
}

/* How many descriptors the caller passes; -1 for what is no number. */
static int count_of(const char *word)
{
    int count = 0;
    for (; *word >= '0' && *word <= '9' && count <= MAX_PASSED; word++)
        count = count * 10 + (*word - '0');
    return *word || count > MAX_PASSED ? -1 : count;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return write_all(1, "tiffin-launch " TIFFIN_VERSION "\n", sizeof "tiffin-launch " TIFFIN_VERSION) < 0;
    if (argc == 2 && strcmp(argv[1], "hold") == 0) {
        close_from(STATUS_FD);
        return role_hold();
    }
    bool wait = argc == 2 && strcmp(argv[1], "wait") == 0;
    bool userns = argc == 4 && strcmp(argv[1], "userns") == 0;
    bool launch = argc >= 2 && strcmp(argv[1], "launch") == 0;
    bool exec = argc >= 2 && strcmp(argv[1], "exec") == 0;
    bool detach = exec && argc >= 3 && strcmp(argv[2], "-d") == 0;
    int words = 2 + detach;
    int passed = (launch || exec) && argc == words + 1 ? count_of(argv[words]) : 0;
    if (!wait && !userns && ((!launch && !exec) || argc > words + 1 || passed < 0)) {
        write_all(2, usage, sizeof usage - 1);
        return 2;
    }
    if (fcntl(PLAN_FD, F_GETFD) < 0 || fcntl(STATUS_FD, F_GETFD) < 0) {
        /* What we open would get their numbers. */
        write_all(2, usage, sizeof usage - 1);
        return 2;
    }
    close_from((unsigned)(PASSED_FD + passed));
    for (int fd = OWNER_IN_FD; exec && fd < PASSED_FD; fd++)
        close(fd);
    for (int fd = PASSED_FD; fd < PASSED_FD + passed; fd++)
        if (fcntl(fd, F_GETFD) < 0) {
            write_all(2, usage, sizeof usage - 1);
            return 2;
        }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    struct failure failure = {.op = -1};
    if (guard_self(argv, &failure) < 0) {
        report_failure(STATUS_FD, &failure);
        return 125;
    }
    if (wait)
        return role_wait();
    if (userns)
        return role_userns(argv[2], argv[3]);
    return launch ? role_launch(passed) : role_exec(detach, passed);
}
