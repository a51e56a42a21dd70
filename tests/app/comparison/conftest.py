"""A queue whose stand-in for the command line needs no process of its own."""

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import IO

import pytest

from app.comparison import queue
from app.comparison.processes import Process
from tests.app.comparison import made_up


class _Done:
    """What the stand-in does with these arguments, done when this is made; the part of `Process` that a queue needs."""

    def __init__(self, arguments: Sequence[str], log: IO[bytes]):
        self.code, said = 0, io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            patch.setattr(sys, "argv", [made_up.__file__, *arguments])
            try:
                made_up.main()
            except SystemExit as error:
                self.code = 1
                print(error)
        log.write(said.getvalue().encode())

    def end(self) -> None:
        """It has ended."""

    stop = end


@pytest.fixture
def in_process(monkeypatch):
    """Queues run the stand-in in this process, as starting one takes much longer; other programs stay processes."""

    def start(command: Sequence[str], log: IO[bytes], cores: Sequence[int] = ()) -> Process | _Done:
        count = len(made_up.PROGRAM)
        if tuple(command[:count]) == made_up.PROGRAM:
            return _Done(command[count:], log)
        return Process(command, log, cores)

    monkeypatch.setattr(queue, "Process", start)
    monkeypatch.setattr(queue, "PAUSE", 0.0)
