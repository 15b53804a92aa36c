/* Bytes and descriptors between our own processes and to the engine. */
#ifndef TIFFIN_WIRE_H
#define TIFFIN_WIRE_H

#include "base.h"

/* Send bytes together with one descriptor over a unix socket. */
int send_with_fd(int socket, const void *bytes, size_t size, int fd);

/* Receive; *fd is the descriptor that came along, or -1. */
ssize_t receive_with_fd(int socket, void *bytes, size_t size, int *fd);

/* "E <op> <errno> <text>\n" to the engine; -1 when nobody reads. */
int report_failure(int fd, const struct failure *failure);

/* What fork(2) has given to a process that is not needed any more: its exit code, after reporting a failure. */
int report_fork(int fd, pid_t pid);

/* "S <pid> <start ticks>\n". */
int report_started(int fd, pid_t pid, uint64_t start_ticks);

/* "X <code>\n". */
int report_exit(int fd, int code);

/* Field 22 of /proc/PID/stat below the procfs directory `proc`; 0 when there is no such process. */
uint64_t start_ticks(int proc, pid_t pid);

#endif
