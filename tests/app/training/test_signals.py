import os
import signal
import time
from types import SimpleNamespace

import pytest

from app.training.signals import Terminated, sigterm_raises, wait_for_update

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_waits_for_the_update_and_the_second_does_not(number):
    before = [signal.getsignal(each) for each in BOTH]
    supervisor = SimpleNamespace(interrupted=False)
    with pytest.raises(KeyboardInterrupt), wait_for_update(supervisor):
        signal.raise_signal(number)
        assert supervisor.interrupted
        signal.raise_signal(number)
    assert [signal.getsignal(each) for each in BOTH] == before


def test_sigterm_raises():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), sigterm_raises():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


class Dropping:
    """Gets a signal while it is deleted, where Python drops exceptions."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)
        time.sleep(0.01)


@pytest.mark.parametrize("number,kind", [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_that_comes_while_an_object_is_deleted_is_not_lost(number, kind):
    limit = time.monotonic() + 20
    with pytest.raises(kind), sigterm_raises():
        held = Dropping(number)
        del held
        while time.monotonic() < limit:
            time.sleep(0.01)


def test_other_exceptions_that_are_dropped_are_still_reported(monkeypatch):
    reported = []
    monkeypatch.setattr("sys.unraisablehook", reported.append)

    class Broken:
        def __del__(self):
            raise ValueError("broken")

    with sigterm_raises():
        Broken()
    assert [type(each.exc_value) for each in reported] == [ValueError]
