"""Keeps two processes from writing into one run folder."""

import contextlib
import errno
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from data.errors import UserError

LOCK, SOFT_LOCK = ".lock", ".lock.owner"
# Errors from file systems without flock, for example NFS without its lock daemon.
UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


@contextlib.contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Locks a folder for this process, until the block or the process ends.

    Where the file system has no locks, a file that names the holder serves as the lock. A killed process leaves it
    behind; it is removed if the holder ran on this machine and has ended.

    Args:
        folder: created if missing; removed at the end if empty.

    Raises:
        UserError: another process holds the lock.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = _acquired(folder)
    try:
        yield
    finally:
        # Removed while still held: a process that waits for it notices and creates a new one.
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            folder.rmdir()


def _acquired(folder: Path) -> BaseFileLock:
    path = folder / LOCK
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n", encoding="utf-8")
        return lock
    except Timeout:
        raise UserError(_held(folder, _holder(path))) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    lock = SoftFileLock(folder / SOFT_LOCK, timeout=1)
    try:
        lock.acquire()
        return lock
    except Timeout:
        file = folder / SOFT_LOCK
        raise UserError(
            f"{_held(folder, _soft_holder(file))}. If that process is gone, remove {file}: this file system has no "
            "locks that end with their process"
        ) from None


def _held(folder: Path, holder: str) -> str:
    return f"{folder}: another process{holder} is writing to this folder; wait for it, or choose another one"


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f" (PID {found['pid']} on {found['host']})"
    except (OSError, ValueError, KeyError, TypeError):  # the holder has just started or just ended
        return ""


def _soft_holder(path: Path) -> str:
    """The holder as `SoftFileLock` writes it: the process ID, then the host."""
    with contextlib.suppress(OSError, ValueError):
        pid, host = path.read_text(encoding="utf-8").split()[:2]
        return f" (PID {pid} on {host})"
    return ""
