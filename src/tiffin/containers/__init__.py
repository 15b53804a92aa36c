"""Use cases on containers: creating, starting, looking at, ending and removing them. `Engine` is their only caller."""
