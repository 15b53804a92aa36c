/* Paths of the container, resolved beneath its root: no symlink, ".." or magic link leads out. */
#ifndef TIFFIN_PATH_H
#define TIFFIN_PATH_H

#include "base.h"

/* An O_PATH descriptor of an existing path, symlinks followed inside the root. -1 and errno. */
int path_open(int root, const char *path);

/* The same for reading, writing or O_PATH as flags say. */
int path_open_as(int root, const char *path, int flags);

enum made { MADE_DIRECTORY, MADE_FILE };

/* As path_open, but makes what is missing: directories (0755) and, at the end, what is asked for. */
int path_make(int root, const char *path, enum made made);

/* An O_PATH descriptor of an existing directory that is reached without any symlink. -1 and errno. */
int path_open_plain(int root, const char *path);

/* An O_PATH descriptor of what a relative path names, when nothing on the way, no symlink either, leads out of the
   directory: EXDEV. Symlinks within are followed. */
int path_open_beneath(int directory, const char *path);

/* The directory (made if missing) that holds the last component, and that component's name. */
int path_parent(int root, const char *path, char name[NAME_MAX + 1]);

/* A file below the caller's own /proc/self, proved to be procfs and not covered by another mount. */
int proc_self_open(const char *name, int flags);

#endif
