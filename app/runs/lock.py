"""Keeps two trainings out of one folder."""

import contextlib
import fcntl
import os
from pathlib import Path

from data.errors import UserError


@contextlib.contextmanager
def locked(folder):
    """Holds a folder for this process; the system lets go of it when the process ends, however it ends.

    Args:
        folder: made if it is not there.

    Raises:
        UserError: another process holds it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{folder}: another process is training in this folder; wait for it, or choose another with --run"
            ) from None
        except OSError:
            pass  # Some network file systems have no locks for folders.
        yield
    finally:
        os.close(handle)
