"""Where files go, and how they are written whole or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from data.errors import UserError

LONGEST = 1 << 20  # bytes or characters of a line or segment; a longer one is a sign of another kind of file
_CHUNK = 1 << 16
_JUST_MADE = 5  # seconds in which a partial file may not be locked yet
_LEFT_BEHIND = 24 * 3600  # seconds without a write, for file systems without locks


def cache_folder() -> Path:
    """The folder for files that can be made again: $WEITBLICK_CACHE, or else weitblick in the user's cache folder."""
    if os.environ.get("WEITBLICK_CACHE"):
        return Path(os.environ["WEITBLICK_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "weitblick"


@contextlib.contextmanager
def atomic_write(path: Path | str, mode: str = "wb") -> Iterator[IO]:
    """Opens a file that appears under its name only when it is complete.

    Args:
        path: the file to write; missing folders are made.
        mode: "wb" for bytes, "w" for UTF-8 text with "\\n" line ends.

    Yields:
        An open file object. It is flushed to disk and renamed at the end of the block; on any error, Ctrl-C
        included, it is removed and an earlier file at `path` stays as it was. A symbolic link stays one, and its
        target is written; a device or a pipe is written in place.
    """
    path = Path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    # Opened by its own name: /dev/stdout and /dev/fd/N may lead to a pipe, which has no other.
    if path.exists() and not path.is_file() and not path.is_dir():
        with named_errors(path), open(path, mode, **text) as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    _refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    partial = _partial(path)
    handle = _create(partial, path)
    try:
        with os.fdopen(handle, mode, **text) as file:
            _own(handle)
            yield file
            file.flush()
            os.fsync(handle)
            os.replace(partial, path)
        _sync(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def check_writable(path: Path | str, folder: bool = False) -> None:
    """Raises at once what `atomic_write` would raise at the end of a command, after hours of work.

    Missing folders above `path` are made, as they would be then.

    Args:
        path: what will be written.
        folder: whether it will be a folder, by `new_folder`.

    Raises:
        UserError: the folder exists already.
        OSError: nothing can be written there.
    """
    path = Path(path)
    if folder:
        refuse_existing(path)
    elif path.exists() and not path.is_file() and not path.is_dir():
        return
    path = Path(os.path.realpath(path))
    if not folder:
        _refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    os.close(_create(partial, path))
    os.unlink(partial)


@contextlib.contextmanager
def new_folder(path: Path | str, keep: bool = False, replace: bool = False) -> Iterator[Path]:
    """Makes a folder that appears under its name only when it is complete.

    Args:
        path: the new folder, missing or empty; missing folders above it are made. A symbolic link stays one, and the
            folder appears where it points to.
        keep: a folder that another process has finished in the meantime is kept, and this one dropped; for caches,
            whose names identify their content.
        replace: a folder that is there already makes way for the new one once that is complete, and is removed after
            that; if it cannot be replaced, it stays.

    Yields:
        The path of a folder next to it, to write into. It is renamed at the end of the block; on any error, Ctrl-C
        included, it is removed.

    Raises:
        UserError: something is there already, unless `keep` or `replace`.
    """
    path = Path(os.path.realpath(path))
    if not keep and not replace:
        refuse_existing(path)
    with scratch_folder(path) as partial:
        yield partial
        for file in partial.rglob("*"):
            _sync(file)
        aside = _set_aside(path) if replace else None
        try:
            os.rename(partial, path)
        except OSError:
            if aside:
                os.rename(aside, path)
                raise
            if not keep or not path.is_dir():
                refuse_existing(path)  # it was filled in the meantime
                raise
        _sync(path.parent)
        if aside:
            shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def scratch_folder(path: Path | str) -> Iterator[Path]:
    """Makes a folder next to `path`, for what will become `path`; removes it at the end of the block.

    Such folders that killed programs left behind are removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    partial = _partial(path)
    partial.mkdir()
    handle = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _own(handle)
        yield partial
    finally:
        os.close(handle)
        shutil.rmtree(partial, ignore_errors=True)


def refuse_existing(path: Path | str) -> None:
    """Raises a UserError unless `path` is missing or an empty folder."""
    path = Path(path)
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.is_symlink() or path.exists():
        raise UserError(f"{path}: exists already; name a new folder, or remove this one")


def remove_folder(path: Path | str) -> None:
    """Removes a folder, if it is there; it is renamed first, so that no other process opens it half removed."""
    if aside := _set_aside(Path(path)):
        shutil.rmtree(aside, ignore_errors=True)


def _set_aside(path: Path) -> Path | None:
    """Renames a folder, if it is there, to a name that `sweep` removes; returns that."""
    aside = _partial(path)
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return None
    return aside


def sweep(folder: Path | str, name: str | None = None) -> None:
    """Removes unfinished files and folders that killed programs left in a folder, but not those of running ones.

    Args:
        folder: where to look.
        name: the file or folder that they were to become; None for any.
    """
    ours = re.compile(rf"\.{'.+' if name is None else re.escape(name)}\.[a-z0-9_]{{8}}\.partial")
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            if entry.name.endswith(".partial") and ours.fullmatch(entry.name) and _is_abandoned(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True) if entry.is_dir() else os.unlink(entry.path)


@contextlib.contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Adds the file's name to an error of the system that has none, such as that of a full device."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.filename is None and error.errno:
            raise type(error)(error.errno, error.strerror, str(path)) from error
        raise


def _partial(path: Path) -> Path:
    """A new name next to `path` for an unfinished file or folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _create(partial: Path, path: Path) -> int:
    """Creates the file that will become `path`; an error names `path`, as the user did."""
    try:
        return os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))


def _own(handle: int) -> None:
    """Marks an open file or folder as being written; the mark ends with the process, however it ends."""
    with contextlib.suppress(OSError):  # some network file systems have no locks
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_abandoned(partial: Path) -> bool:
    """Whether no process writes it: nobody holds its lock or, if there are no locks, nobody wrote to it for a day."""
    try:
        idle = time.time() - max(path.stat().st_mtime for path in [partial, *partial.rglob("*")])
        if idle < _JUST_MADE:
            return False
        handle = os.open(partial, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return idle > _LEFT_BEHIND
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    """Flushes a folder's entries, or a file, to disk; not every file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def limited_lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The lines of a binary file without the "\\n" that alone ends a line.

    Args:
        file: anything that has `read`; it may be compressed, and of any size.
        name: what messages call it.

    Raises:
        UserError: a line is longer than `LONGEST` bytes, which would fill the memory.
    """
    number, rest = 0, b""
    while chunk := file.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            if len(line) > LONGEST:
                raise _long_line(name, number)
            yield line
        if len(rest) > LONGEST:
            raise _long_line(name, number + 1)
    if rest:
        yield rest


def _long_line(name, number: int) -> UserError:
    return UserError(f"{name}, line {number:,}: longer than {LONGEST:,} bytes; expected one segment on each line")


def refuse_long(text: str, place: str) -> str:
    """Returns a segment unless it is too long.

    Raises:
        UserError: it has more than `LONGEST` characters; the message begins with `place`.
    """
    if len(text) > LONGEST:
        raise UserError(f"{place}: a segment of {len(text):,} characters; at most {LONGEST:,} are read")
    return text


def checksum(path: Path | str, size: int = 16) -> str:
    """The blake2b hash of a file's content, `size` bytes as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=size)).hexdigest()


def checksum_of(content: str | dict | list) -> str:
    """The same hash of text, or of plain JSON values."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Reads a TOML file that people write.

    Args:
        path: the file.
        what: what error messages call it, such as "preset".

    Raises:
        UserError: the file cannot be read, or is not UTF-8 or not TOML.
    """
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: the {what} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the {what} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: the {what} is not TOML: {error}") from error


def read_json(path: Path | str) -> dict:
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


def write_json(path: Path | str, content: dict) -> None:
    """Writes a JSON object, whole or not at all."""
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=1, ensure_ascii=False)
        file.write("\n")


def write_between(path: Path | str, begin: str, end: str, text: str) -> None:
    """Replaces the text between two markers in a page.

    Args:
        path: the page.
        begin, end: the markers, each on a line of its own; they stay.
        text: the new text, which gets an empty line before and after it.

    Raises:
        UserError: the page cannot be read, or lacks a marker.
    """
    try:
        page = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise UserError(f'{path}: expected the lines "{begin}" and "{end}", between which the tables go')
    with atomic_write(path, "w") as file:
        file.write(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def write_manifest(path: Path | str, content: dict) -> None:
    """Writes a JSON object with the checksums of all files in its folder, and its own; see `read_manifest`."""
    path = Path(path)
    content = {**content, "files": {file.name: checksum(file) for file in sorted(path.parent.iterdir())}}
    write_json(path, {**content, "checksum": checksum_of(content)})


def read_manifest(path: Path | str) -> dict:
    """Reads what `write_manifest` wrote.

    Raises:
        UserError: it cannot be read, or it or a file in its folder is not as it was written; the message names the
            file.
    """
    path, content = Path(path), read_json(path)
    if content.pop("checksum", None) != checksum_of(content) or not isinstance(content.get("files"), dict):
        raise UserError(f"{path}: the file is damaged")
    for name, expected in content["files"].items():
        try:
            found = checksum(path.parent / name)
        except OSError as error:
            raise UserError(f"{path.parent / name}: cannot be read ({error.strerror})") from error
        if found != expected:
            raise UserError(f"{path.parent / name}: the file is damaged")
    return content
