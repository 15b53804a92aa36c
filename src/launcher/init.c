/* The optional process 1: reaps whatever is orphaned in the container and passes signals on to the one child. */
#include "base.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "child.h"
#include "kernel.h"

/* Raised by faults and by terminal job control of init itself, so never meant for the program. */
static const int own_signals[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGABRT, SIGTRAP, SIGSYS, SIGTTIN, SIGTTOU};

static int exit_code(int status)
{
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Reap all that has ended; the program's exit code once it is among them, else -1. */
static int reap(pid_t program)
{
    int code = -1;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        if (pid == program)
            code = exit_code(status);
    return code;
}

static _Noreturn void be_init(pid_t program, const sigset_t *awaited)
{
    for (;;) {
        siginfo_t info;
        int number = sigwaitinfo(awaited, &info);
        if (number < 0)
            continue;
        if (number != SIGCHLD) {
            kill(program, number);
            continue;
        }
        int code = reap(program);
        if (code >= 0)
            _exit(code);
    }
}

/* The program leads its own process group, in the foreground: a Ctrl-C reaches it once, from the terminal only. */
static void take_foreground(void)
{
    pid_t self = getpid();
    setpgid(0, 0);
    if (!isatty(0))
        return;
    sigset_t stop, old;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTTOU);
    sigprocmask(SIG_BLOCK, &stop, &old);
    ioctl(0, TIOCSPGRP, &self);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

int op_init(struct child *child, const struct op *op)
{
    (void)op;
    sigset_t awaited, none;
    sigfillset(&awaited);
    for (size_t i = 0; i < COUNT(own_signals); i++)
        sigdelset(&awaited, own_signals[i]);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &awaited, NULL);
    /* Without a pid namespace of our own, orphans come to us only on request, and nobody ends the program with us. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    pid_t program = fork();
    CHECK(child->failure, program, "fork", NULL);
    if (program == 0) {
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        take_foreground();
        return 0;
    }
    /* Only stdio is left, and no more rights than the program has: being looked at from inside is harmless now. */
    if (sys_close_range(3, ~0u, 0) < 0)
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    prctl(PR_SET_NAME, "tiffin-init", 0, 0, 0);
    be_init(program, &awaited);
}
