import signal
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
