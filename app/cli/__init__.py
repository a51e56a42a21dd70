"""One module for each command: `HELP`, `EXAMPLES`, `add_arguments(parser)` and `run(args)`.

Commands import what they need inside `run`, so that `--help` answers at once.
"""
