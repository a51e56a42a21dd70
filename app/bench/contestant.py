"""The benchmark's end of a contestant: a process that is sent turns and answers with what it measured."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = REPOSITORY / ".venv-peers" / "bin" / "python"
PATIENCE = 900  # seconds until a silent contestant is given up


class ContestantFailed(Exception):
    """A contestant ended, or said nothing, when an answer was due; the message says why in one line."""


class Contestant:
    """A separate process with its own memory, threads and packages.

    Args:
        module: its module in `app.bench.contestants`.
        spec: what it is to do; for JSON.
        peers: whether it runs in the environment of the peers.
        log: the file that gets what it prints.
        variables: what is added to its environment.

    Example:
        with Contestant("ours_training", spec, log=folder / "ours.log") as ours:
            ours.answer()  # {"ready": True, ...}
            ours.ask(updates=10)  # {"seconds": 4.2, "tokens": 31000, "peak_bytes": ...}
    """

    def __init__(
        self,
        module: str,
        spec: dict,
        peers: bool = False,
        log: Path | None = None,
        variables: dict[str, str] | None = None,
    ):
        self.module, self._log = module, log
        python = PEERS if peers else Path(sys.executable)
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1", **(variables or {})}
        with open(log or os.devnull, "wb") as errors:
            self._process = subprocess.Popen(
                [python, "-m", f"app.bench.contestants.{module}"],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,  # a process group that ends as one; Ctrl-C is for the benchmark to handle
            )
        self._send(spec)

    def ask(self, **values) -> dict:
        """Sends a turn and waits for what the contestant measured."""
        self._send(values)
        return self.answer()

    def answer(self, patience: float = PATIENCE) -> dict:
        """The contestant's next line.

        Args:
            patience: seconds after which it is given up.

        Raises:
            ContestantFailed: it ended or is silent for too long.
        """
        watch = threading.Timer(patience, self._process.kill)
        watch.start()
        line = self._process.stdout.readline()
        watch.cancel()
        if not line:
            raise ContestantFailed(self._why())
        return json.loads(line)

    def close(self) -> None:
        """Ends the process, and those that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, values: dict) -> None:
        with contextlib.suppress(BrokenPipeError):  # `answer` says why
            print(json.dumps(values), file=self._process.stdin, flush=True)

    def _why(self) -> str:
        """How the process ended, and the last error that it printed, or its last line."""
        code = self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log else []
        if code < 0:
            return f"ended by signal {-code}" + (" (out of memory, or silent for too long)" if code == -9 else "")
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
        return ((errors or lines or [f"ended with code {code}"])[-1])[:200]


def peers_installed() -> bool:
    """Whether the environment of the peers is there."""
    return PEERS.exists()
