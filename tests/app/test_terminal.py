import io

import pytest
from rich.console import Console

from app import terminal as progress
from app.terminal import PairsBar, ProgressBar


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def bar(updates=1000, start=0, time_left=None, **console):
    console = Console(file=io.StringIO(), width=120, soft_wrap=True, **console)
    return ProgressBar(console, start, updates, lambda: time_left), console.file


def test_where_no_one_watches_there_is_a_line_each_half_minute_and_at_the_end(clock):
    shown, file = bar()
    with shown:
        for update in range(10, 1001, 10):
            clock[0] += 1.0
            shown.show(update, 1.2345, 0.00123, 4321.0)
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "update 300/1,000  loss 1.234  lr 1.23e-03  4,321 tok/s  1:10 left"
    assert lines[-1] == "update 1,000/1,000  loss 1.234  lr 1.23e-03  4,321 tok/s  0:00 left"


def test_a_terminal_shows_a_bar_that_goes_at_the_end():
    shown, file = bar(force_terminal=True)
    with shown:
        shown.show(500, 1.5, 1e-3, 99.0)
        shown.bar.refresh()
        assert "500/1,000  loss 1.500  lr 1.00e-03  99 tok/s" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")


@pytest.mark.parametrize(
    "start, update, time_left, left",
    [
        (0, 100, None, "9:00"),  # 60 s for 100 updates, 900 to go
        (100, 200, None, "8:00"),
        (0, 1, None, "16:39:00"),
        (0, 100, 30.0, "0:30"),
        (0, 100, 99999.0, "9:00"),
        (0, 100, -1.0, "0:00"),
    ],
)
def test_time_left(clock, start, update, time_left, left):
    shown, file = bar(start=start, time_left=time_left)
    clock[0] += 60.0
    shown.show(update, 1.0, 1e-3, 1.0)
    assert file.getvalue().strip().endswith(f"tok/s  {left} left")


def test_pairs_are_counted_as_they_pass(clock):
    file = io.StringIO()

    def slow():
        for number in range(90_000):
            clock[0] += number % 1000 == 0  # a second for a thousand
            yield number

    with PairsBar(Console(file=file, width=120), "cleaning news", 100_000) as shown:
        assert list(shown.count(slow())) == list(range(90_000))
    assert file.getvalue().splitlines() == [
        "cleaning news: 30,000/100,000 pairs  1,000 pairs/s  1:10 left",
        "cleaning news: 60,000/100,000 pairs  1,000 pairs/s  0:40 left",
        "cleaning news: 90,000/100,000 pairs  1,000 pairs/s  0:10 left",
    ]


def test_pairs_whose_number_no_one_knows():
    file = io.StringIO()
    with PairsBar(Console(file=file, width=120, force_terminal=True), "cleaning news") as shown:
        assert file.getvalue() == ""  # no bar where nothing takes long
        shown(2000)
    assert "cleaning news" in file.getvalue() and "2,000 pairs  " in file.getvalue() and "left" not in file.getvalue()
