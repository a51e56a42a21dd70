"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can fix: bad input, a missing file, an unreachable network.

    The message is one line that names the file, line or key, what was expected and what to do. The command line
    prints it without a traceback and exits with code 2.
    """
