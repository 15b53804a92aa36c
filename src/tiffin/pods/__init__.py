"""Pods: making them, and what is done to all containers of one."""
