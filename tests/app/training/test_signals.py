import signal
from types import SimpleNamespace

import pytest

from app.training.signals import terminate_like_interrupt, wait_for_update

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


def test_sigterm_is_answered_like_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminate_like_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
