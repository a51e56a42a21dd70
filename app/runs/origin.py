"""The version of the code, to record what made a result."""

import functools
import subprocess
from pathlib import Path

from app import __version__

_REPOSITORY = Path(__file__).resolve().parents[2]


@functools.cache
def commit() -> str:
    """The commit of this checkout, with a plus if the code differs from that commit; the version outside a checkout."""
    found = _git("rev-parse", "--short", "HEAD")
    if not found:
        return __version__
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", "app", "data", "models")
    return found + ("+" if changed else "")


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=_REPOSITORY, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
