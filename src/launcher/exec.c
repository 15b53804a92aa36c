/* The last step: find the program and become it. */
#include "base.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "child.h"
#include "kernel.h"

static const char default_path[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

static const char *find_path(char *const *environment)
{
    for (; *environment; environment++)
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    return default_path;
}

/* Whether the search goes on after what became of one file: errno says. */
typedef bool attempt(const char *file, char *const *arguments, char *const *environment);

/* Try each directory of PATH, as execvp does: a file that may not be executed is remembered while others are tried.
   Returns 0 as soon as an attempt ends the search with errno 0, else -1. */
static int search_path(const char *name, char *const *arguments, char *const *environment, attempt *try)
{
    bool refused = false;
    const char *path = find_path(environment);
    for (;;) {
        size_t size = strcspn(path, ":");
        char file[PATH_MAX];
        struct text text = text_in(file, sizeof file);
        for (size_t i = 0; i < size; i++)
            text_char(&text, path[i]);
        if (size)
            text_char(&text, '/');
        text_str(&text, name);
        if (text.at < text.end) {
            if (!try(file, arguments, environment))
                return errno ? -1 : 0;
            refused = refused || errno == EACCES;
        }
        if (!path[size])
            break;
        path += size + 1;
    }
    errno = refused ? EACCES : ENOENT;
    return -1;
}

static bool try_exec(const char *file, char *const *arguments, char *const *environment)
{
    execve(file, arguments, environment);
    return errno == EACCES || errno == ENOENT || errno == ENOTDIR;
}

static bool executable(const char *file)
{
    struct stat stat_;
    if (stat(file, &stat_) < 0)
        return false;
    errno = EACCES;
    return S_ISREG(stat_.st_mode) && access(file, X_OK) == 0;
}

/* Nothing but 0-2 and what was passed may reach the program. All our descriptors are close-on-exec; this covers any
   that are not ours. */
static void close_on_exec_from(int first)
{
    if (sys_close_range((unsigned)first, ~0u, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    for (int fd = first; fd < 1024 + MAX_PASSED; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* The same without running anything. */
static bool try_find(const char *file, char *const *arguments, char *const *environment)
{
    (void)arguments;
    (void)environment;
    if (!executable(file))
        return true;
    errno = 0;
    return false;
}

int op_find_exec(struct child *child, const struct op *op)
{
    const char *name = op->field[0].bytes;
    char **environment = string_array(child, &op->field[1]);
    if (!environment)
        return -1;
    if (*name == 0)
        errno = ENOENT;
    if (*name && (strchr(name, '/') ? executable(name) : search_path(name, NULL, environment, try_find) == 0))
        return 0;
    return failed(child->failure, "exec", name);
}

char **string_array(struct child *child, const struct field *list)
{
    size_t size = ((size_t)list->size + 1) * sizeof(char *);
    char **array = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (array == MAP_FAILED) {
        failed(child->failure, "mmap", NULL);
        return NULL;
    }
    field_strings(list, array);
    return array;
}

int op_exec(struct child *child, const struct op *op)
{
    const char *name = op->field[0].bytes;
    char **arguments = string_array(child, &op->field[1]);
    char **environment = string_array(child, &op->field[2]);
    if (!arguments || !environment)
        return -1;
    if (!child->umask_set)
        umask(022);
    /* Not before the privileges are gone: in a running container anything may lie at /dev/null. */
    if (child->role == ROLE_EXEC && own_null_device(child) < 0)
        return -1;
    close_on_exec_from(3 + child->passed);
    if (child->tell_pid)
        fill_listen_pid(environment);
    if (!child->released && child_handshake(child) < 0)
        return -1;
    if (strchr(name, '/'))
        execve(name, arguments, environment);
    else if (*name)
        search_path(name, arguments, environment, try_exec);
    else
        errno = ENOENT;
    int reason = errno;
    /* "No such file" about a file that is there means what its first line or its ELF header names. */
    bool interpreter = reason == ENOENT && strchr(name, '/') && access(name, F_OK) == 0;
    errno = reason;
    return failed(child->failure, interpreter ? "interpreter" : "exec", interpreter ? NULL : name);
}
