#include "base.h"

#include <signal.h>
#include <sys/wait.h>

#include "child.h"
#include "roles.h"
#include "wire.h"

int handshake_step(int channel, struct handshake *handshake, struct failure *failure)
{
    struct message message;
    int fd;
    ssize_t size = receive_with_fd(channel, &message, sizeof message, &fd);
    if (size < 0 && errno != ECONNRESET)
        return failed(failure, "read", "the child");
    if (size != (ssize_t)sizeof message) {
        close_fd(&fd);
        return 0;
    }
    switch (message.kind) {
    case MESSAGE_ERROR:
        *failure = message.failure;
        failure->text[sizeof failure->text - 1] = 0;
        return -1;
    case MESSAGE_CONSOLE:
        handshake->console = fd;
        return 1;
    default:
        handshake->ready = true;
        handshake->container = message.container;
        return 1;
    }
}

int handshake_release(int channel)
{
    return RETRY(write(channel, "g", 1)) == 1 ? 0 : -1;
}

void describe_death(int status, bool oom, struct failure *failure)
{
    struct text text = text_in(failure->text, sizeof failure->text);
    failure->op = -1;
    failure->err = oom ? ENOMEM : EIO;
    text_str(&text, "the first process ");
    text_str(&text, WIFSIGNALED(status) ? "was killed by signal " : "exited with code ");
    text_u64(&text, (uint64_t)(WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)));
    text_str(&text, " before it could run the program");
    if (oom)
        text_str(&text, ": out of memory");
}
