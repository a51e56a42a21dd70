"""Where files go, and how they get there whole."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

from data.errors import UserError


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


def read_json(path) -> dict:
    """Reads a file that holds one JSON object.

    Raises:
        UserError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: the file is damaged ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: the file is damaged (no JSON object)")
    return found


def write_json(path, content: dict) -> None:
    """Writes a JSON object, whole or not at all."""
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")
