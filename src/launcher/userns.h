/* User namespaces: made by whoever may write their maps, entered by the process in between. */
#ifndef TIFFIN_USERNS_H
#define TIFFIN_USERNS_H

#include "spawn.h"

/* Make a user namespace with these maps, as /proc/PID/uid_map has them; a descriptor of it. */
int userns_make(const char *uid_map, const char *gid_map, struct failure *failure);

/* The descriptor of the plan's user namespace, to child->userns. Nothing without one. */
int userns_open(const struct spawn *spawn, struct child *child);

/* With the host's rights, in a mount namespace of our own: what the plan has before CLONE. Then enter. */
int userns_prepare(const struct spawn *spawn, struct child *child);

/* The child, first of all: become the namespace's root, who has the ids 0 there. */
int userns_become_root(void);

/* The child: have the root that was prepared in its own mount namespace. */
int userns_attach_root(struct child *child);

#endif
