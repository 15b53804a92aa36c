/* The launcher's own file is out of reach of every container (CVE-2019-5736). */
#ifndef TIFFIN_GUARD_H
#define TIFFIN_GUARD_H

#include "base.h"

/* Returns 0 when this process runs from a file that nobody can write through /proc/PID/exe; otherwise it runs
   itself again from such a one, and returns only on failure. Descriptors without FD_CLOEXEC are kept. */
int guard_self(char **argv, struct failure *failure);

/* argv[0] for running, from such a file, the same file once more. */
char *guard_name(void);

#endif
