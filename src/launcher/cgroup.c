#include "cgroup.h"

#include <dirent.h>
#include <linux/bpf.h>
#include <signal.h>
#include <sys/syscall.h>

#include "kernel.h"

#ifndef BPF_F_ALLOW_MULTI
#define BPF_F_ALLOW_MULTI (1U << 1)
#endif

int cgroup_attach_device_program(const char *directory, const void *instructions, size_t size)
{
    AUTO_CLOSE int group = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (group < 0)
        return -1;
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uintptr_t)instructions;
    attributes.insn_cnt = (uint32_t)(size / sizeof(struct bpf_insn));
    attributes.license = (uintptr_t) "GPL";
    AUTO_CLOSE int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
    if (program < 0)
        return -1;
    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)group;
    attributes.attach_bpf_fd = (uint32_t)program;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    return (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes);
}

bool cgroup_saw_oom(const char *file)
{
    char text[512];
    if (read_text(AT_FDCWD, file, text, sizeof text) < 0)
        return false;
    for (const char *line = text; line && *line; line = (line = strchr(line, '\n')) ? line + 1 : NULL)
        if (strncmp(line, "oom_kill ", 9) == 0)
            return line[9] != '0';
    return false;
}

static bool kill_members(int group)
{
    char text[4096];
    if (read_text(group, "cgroup.procs", text, sizeof text) <= 0)
        return false;
    if (write_text(group, "cgroup.kill", "1") == 0)
        return true;
    /* Pids of this cgroup, read a moment ago. A recycled pid would need the whole pid space to pass in between. */
    for (const char *at = text; *at; at++) {
        pid_t pid = 0;
        for (; *at >= '0' && *at <= '9'; at++)
            pid = pid * 10 + (*at - '0');
        if (!*at)
            break; /* the last, perhaps cut */
        if (pid > 1)
            kill(pid, SIGKILL);
    }
    return true;
}

bool cgroup_kill(const char *directory)
{
    AUTO_CLOSE int group = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return group >= 0 && kill_members(group);
}

struct entry {
    uint64_t inode;
    int64_t next;
    uint16_t size;
    uint8_t type;
    char name[];
};

static int remove_below(int parent, const char *name, int depth);

/* The directories in `group`, deepest first. getdents64 itself, so that no directory stream is allocated. */
static void remove_children(int group, int depth)
{
    _Alignas(struct entry) char buffer[4096];
    long size;
    while ((size = syscall(SYS_getdents64, group, buffer, sizeof buffer)) > 0) {
        for (long at = 0; at < size;) {
            const struct entry *entry = (const struct entry *)(const void *)(buffer + at);
            if (entry->type == DT_DIR && strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
                remove_below(group, entry->name, depth + 1);
            at += entry->size;
        }
    }
}

static int remove_below(int parent, const char *name, int depth)
{
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (depth > 32)
        return -1;
    AUTO_CLOSE int group = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (group < 0)
        return -1;
    remove_children(group, depth);
    kill_members(group);
    return unlinkat(parent, name, AT_REMOVEDIR);
}

void cgroup_remove(const char *directory)
{
    /* A member that was killed leaves its cgroup a moment after it was reaped. */
    for (int tries = 0; tries < 10; tries++) {
        if (rmdir(directory) == 0 || errno == ENOENT)
            return;
        if (errno != EBUSY && errno != ENOTEMPTY)
            return;
        if (!cgroup_kill(directory) && remove_below(AT_FDCWD, directory, 0) == 0)
            return;
        sleep_ms(tries < 5 ? 4 : 36);
    }
}
