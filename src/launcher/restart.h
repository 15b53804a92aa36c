/* Starting an ended container again, as its restart policy says: whether, and when. */
#ifndef TIFFIN_RESTART_H
#define TIFFIN_RESTART_H

#include "state.h"

struct restart {
    uint64_t count;    /* how often in a row, this one included */
    uint64_t delay_ms;
};

/* Decide by the files in the container's directory: `restart` is the policy ("always 0", "on-failure 3"), `stopped`
   is there when the user stopped it, `restarts` holds count and delay so far and is written here. `ran_ns` is how long
   the container ran. */
bool restart_decide(const char *directory, const struct exit_state *state, uint64_t ran_ns, struct restart *restart);

/* RUN_DIR/status: "restarting <this process> <its start> <boot id> <next start ns> <code> <oom> <started ns>
   <finished ns> <count>". */
int restart_write(int run_dir, const struct exit_state *state, const struct restart *restart);

/* Wait, then become `arguments`. Whoever wants the container not to start again kills this process. */
_Noreturn void restart_wait(const struct restart *restart, char **arguments);

#endif
