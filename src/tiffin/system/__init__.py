"""Use cases on the engine itself: what it is, what it holds, what is wrong with it, what can go."""
