"""One module for each contestant; each runs as a process of its own, in the environment that has its packages."""
