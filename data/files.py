"""Where files go, and how they get there whole."""

import contextlib
import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """The folder for what can be made again: $WEITBLICK_CACHE, else weitblick in the user's cache folder."""
    if os.environ.get("WEITBLICK_CACHE"):
        return Path(os.environ["WEITBLICK_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "weitblick"


@contextlib.contextmanager
def atomic_write(path, mode: str = "wb"):
    """Opens a file that appears under its name only when it is complete.

    Args:
        path: where the file shall stand; missing folders are made.
        mode: "wb" for bytes, "w" for UTF-8 text with "\\n" line ends.

    Yields:
        An open file object. It is flushed to disk and renamed at the end of the block; on any error, Ctrl-C
        included, it is removed and what stood at `path` before stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    try:
        with os.fdopen(handle, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
