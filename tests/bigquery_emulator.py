"""A BigQuery on this machine for tests: bqemulator, in a virtual environment of its own that `make test` makes."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = REPOSITORY / ".venv-bigquery" / "bin" / "python"
START_SECONDS = 120
PROJECT = "weitblick-test"
NOT_TESTED = "BIGQUERY IS NOT TESTED"


class EmulatorMissing(Exception):
    """The emulator cannot be started; says why."""


class Emulator(NamedTuple):
    """A running emulator.

    Attributes:
        process: to stop it.
        rest: the port of the REST service.
        storage: the port of the storage services.
    """

    process: subprocess.Popen
    rest: int
    storage: int

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which programs find it."""
        return environment(self.rest, self.storage)

    def stop(self) -> None:
        """Ends it; there is nothing to keep."""
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def environment(rest: int, storage: int) -> dict[str, str]:
    """The variables by which programs find an emulator at these ports."""
    return {
        "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{rest}",
        "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{storage}",
    }


def start(log: Path) -> Emulator:
    """Starts the emulator on free ports and waits until it answers.

    It ends with this process, even if this one is killed.

    Args:
        log: where it writes what it has to say.

    Raises:
        EmulatorMissing: it is not installed, or does not start.
    """
    if not PYTHON.exists():
        raise EmulatorMissing(f"{PYTHON.parents[1]} is missing: `make test` installs it")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [PYTHON, REPOSITORY / "tests" / "bigquery_server.py", str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=file,
            cwd=log.parent,
        )
    os.set_blocking(process.stdout.fileno(), False)
    said, deadline = b"", time.monotonic() + START_SECONDS
    while not said.endswith(b"}\n"):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise EmulatorMissing(f"the emulator in {PYTHON.parents[1]} does not start: {last[0]}")
        time.sleep(0.1)
        said += process.stdout.read() or b""
    ports = json.loads(said)
    return Emulator(process, ports["rest"], ports["storage"])
