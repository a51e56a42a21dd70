"""One module for each contestant; each runs as a separate process, in the environment that has its packages."""
