"""Use cases on volumes: making, listing, removing them, and giving them to containers."""
