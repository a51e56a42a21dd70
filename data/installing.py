"""The shell commands that install what is missing, for messages."""

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path

from data.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[1]
CONSTRAINTS = "constraints.txt"


def extra_command(name: str, pinned: bool = True) -> str:
    """The command that installs an extra of setup.cfg, for the Python that runs this.

    Args:
        name: of the extra.
        pinned: whether to install the versions of constraints.txt.
    """
    if _is_checkout():
        return _install(pinned, "-e", f"{_short(CHECKOUT)}[{name}]")
    # pip finds this program installed, so it fetches only what the extra lists.
    return _install(pinned, f"weitblick[{name}]")


def package_command(requirement: str) -> str:
    """The same for a package that belongs to no extra."""
    return _install(True, requirement)


def need(module: str, extra: str, what: str) -> None:
    """Checks that the module which `what` needs is installed.

    Raises:
        UserError: it is missing; the message says how to install it.
    """
    if find_spec(module) is None:
        raise UserError(f"{what} needs {module}: {extra_command(extra)}")


def _install(pinned: bool, *what: str) -> str:
    pins = ["-c", _short(CHECKOUT / CONSTRAINTS)] if pinned and _is_checkout() else []
    return shlex.join([_short(sys.executable or "python3"), "-m", "pip", "install", *pins, *what])


def _is_checkout() -> bool:
    return (CHECKOUT / CONSTRAINTS).is_file()


def _short(path: Path | str) -> str:
    """A path as you would type it here: relative if it is below this folder."""
    # Links are not resolved: the one in a virtual environment is what makes its Python that of the environment.
    path, here = Path(os.path.abspath(path)), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
