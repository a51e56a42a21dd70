"""One module for each command: `HELP`, `EXAMPLES`, `add_arguments(parser)` and `run(args)`.

Whatever a command needs is imported inside `run`, so that `--help` answers at once.
"""
