/* Control groups: joining, reading the end, removing; and the device program of version 2. */
#ifndef TIFFIN_CGROUP_H
#define TIFFIN_CGROUP_H

#include "base.h"

/* Attach instructions as BPF_PROG_TYPE_CGROUP_DEVICE to a version 2 directory. */
int cgroup_attach_device_program(const char *directory, const void *instructions, size_t size);

/* "oom_kill N" in a memory.events or memory.oom_control file: is N above zero? */
bool cgroup_saw_oom(const char *file);

/* Kill every member. Returns whether there was any. */
bool cgroup_kill(const char *directory);

/* Remove the directory and those that the container made below; waits shortly for members to go. */
void cgroup_remove(const char *directory);

#endif
