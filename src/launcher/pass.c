/* Descriptors that the caller gives to the program, as sd_listen_fds(3) and Podman's --preserve-fds have them. */
#include "base.h"

#include "child.h"

int op_pass_fds(struct child *child, const struct op *op)
{
    int count = (int)op->field[0].number;
    REQUIRE(child->failure, count <= child->passed_left, EBADF, "pass", "descriptors");
    /* What we still need ourselves goes out of the way; what is left of the rest is overwritten. */
    int channel = fcntl(child->channel, F_DUPFD_CLOEXEC, child->passed_from + count);
    CHECK(child->failure, channel, "fcntl", "the channel");
    close(child->channel);
    child->channel = channel;
    /* Targets lie below their sources, so that going up never overwrites one that is still needed. */
    for (int i = 0; i < count; i++)
        CHECK(child->failure, dup2(child->passed_from + i, 3 + i), "dup2", "a descriptor");
    child->passed = count;
    child->tell_pid = op->field[1].number;
    return 0;
}

void fill_listen_pid(char *const *environment)
{
    static const char name[] = "LISTEN_PID=";
    for (; *environment; environment++) {
        char *value = *environment + sizeof name - 1;
        if (strncmp(*environment, name, sizeof name - 1) != 0 || strlen(value) < 20)
            continue;
        struct text text = text_in(value, 21);
        text_u64(&text, (uint64_t)getpid());
    }
}
