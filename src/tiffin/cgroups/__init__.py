"""Control groups: limits and accounting of a container, on cgroup v1, hybrid and v2 alike.

`driver.py` is the one interface; `layout.py` finds out what this host has; `v1.py` and `v2.py` do the work. Everything
of Tiffin's lives below one cgroup, `/tiffin` unless the engine is told another, with one child for each container.
"""
