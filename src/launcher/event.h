/* Events: lines that are appended to the engine's file of them, as state/events.py does it. */
#ifndef TIFFIN_EVENT_H
#define TIFFIN_EVENT_H

#include "plan.h"

struct events {
    const char *path;  /* NULL: none are written */
    const char *actor; /* ready-made JSON: the members "ID" and "Attributes", up to the last attribute */
    int last_count;
    const char *last[MAX_LAST_EVENTS]; /* whole lines but for the end of "Attributes" and the time */
};

/* Append an event of the container: `action`, and further attributes as JSON members, each after a comma ("" for none).
   `run_dir` is looked into for `actor`, which stands in for the plan's after a rename; -1 for no directory. What
   cannot be written is lost, errno too is left alone. */
void event_write(const struct events *events, int run_dir, const char *action, const char *more);

/* Copying the strings out of a plan: how much room they need, and the copy, which `events` then points to. */
size_t event_room(const struct events *events);
void event_copy(struct events *events, char **room);

/* Append the events that come after the container's end. */
void event_write_last(const struct events *events);

/* The attribute `"key":"number"` after a comma. */
void event_number(struct text *text, const char *key, uint64_t number);

#endif
