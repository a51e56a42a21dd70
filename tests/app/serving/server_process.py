"""The server as a process, on a port of its own."""

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.app.toy_training import command, environment


class ServerProcess:
    """A running `weitblick serve`.

    Attributes:
        url: where it listens.
        log: the lines that it has logged.
        said: what it told the person who started it.
    """

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            command("serve", *arguments, "--port", 0),
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        for line in self.process.stderr:
            self.log.append(line)
            if '"ready"' in line:
                break
        assert self.log and '"ready"' in self.log[-1], "".join(self.log)
        self.url = json.loads(self.log[-1])["url"]
        self.port = int(self.url.rpartition(":")[2])
        self.said = self.process.stdout.readline()
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr))
        self._reader.start()

    def terminate(self) -> int:
        """Sends SIGTERM, waits for the end and returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self._reader.join()
        return code


@contextlib.contextmanager
def serving(run: Path, *options) -> Iterator[ServerProcess]:
    """A server that is stopped at the end."""
    server = ServerProcess(run, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.terminate()
