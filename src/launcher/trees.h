/* What mount.c and trees.c know together about places for mounts. */
#ifndef TIFFIN_TREES_H
#define TIFFIN_TREES_H

#include "child.h"
#include "path.h"

/* Where something may be mounted, made if missing: never the root itself, nor what programs and we rely on in /proc.
   `source` is what comes there (O_PATH, or -1), `type` a file system's ("" for a bind). */
int mount_point(struct child *child, const char *path, enum made made, int source, const char *type);

/* Whether two descriptors are of one file. */
bool same_file(int one, int other);

#endif
