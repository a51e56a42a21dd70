"""A folder that appears when it is whole."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from data.errors import UserError


@contextlib.contextmanager
def new_folder(directory):
    """Makes a folder that appears under its name only when it is complete.

    Args:
        directory: where the folder shall stand, missing or empty; missing folders above it are made.

    Yields:
        The path of a folder beside it, to write into. It is renamed at the end of the block; on any error, Ctrl-C
        included, it is removed.

    Raises:
        UserError: something is there already.
    """
    directory = Path(os.path.abspath(directory))
    refuse_existing(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}.", suffix=".partial"))
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o777 & ~umask)
        try:
            partial.rename(directory)
        except OSError:
            # Somebody has filled it in the meantime.
            refuse_existing(directory)
            raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def refuse_existing(directory) -> None:
    """Raises a UserError unless `directory` is missing or an empty folder."""
    directory = Path(directory)
    if directory.is_dir() and not any(directory.iterdir()):
        return
    if directory.is_symlink() or directory.exists():
        raise UserError(f"{directory}: exists already; name a new folder, or remove this one")
