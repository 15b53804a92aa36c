"""What the tests stand on: images made here, a terminal to type into, and the search for what was left behind."""
